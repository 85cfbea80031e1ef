"""Parquet: a row for each chain, full precision, the model in the schema's metadata.

Invariant: `id`, `sequence`, `ss` and `length` are the columns of a LiftRay data set, with the same metadata key for the
alphabet; `probabilities` is a list of L rows of C floats in the order of `STATES[alphabet]`, and `confidence` is the
largest of each row. `record` is the number of the chain in the input. Where the model has more states, `ss8` and `ss3`
are the states of the reduced alphabets.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from liftray.data.labels import STATES
from liftray.data.records import ALPHABET_KEY
from liftray.predict.prediction import ModelStamp, Prediction
from liftray.predict.writers.base import Writer
from liftray.predict.writers.views import views

_GROUP_CHAINS = 1024
_GROUP_RESIDUES = 1 << 18


class ParquetWriter(Writer):
    """Writes predictions.parquet; see `Writer`."""

    output = "predictions.parquet"

    def __init__(self, directory: Path, stamp: ModelStamp) -> None:
        super().__init__(directory, stamp)
        self._schema = _schema(stamp)
        self._writer = pq.ParquetWriter(self.path, self._schema, compression="zstd")
        self._waiting: list[tuple[int, Prediction]] = []
        self._residues = 0

    def write(self, prediction: Prediction, record: int) -> None:
        """See `Writer.write`."""
        self._waiting.append((record, prediction))
        self._residues += len(prediction.sequence)
        if len(self._waiting) >= _GROUP_CHAINS or self._residues >= _GROUP_RESIDUES:
            self._flush()

    def close(self) -> None:
        """See `Writer.close`."""
        if self._waiting:
            self._flush()
        self._writer.close()

    def _flush(self) -> None:
        self._writer.write_batch(_batch(self._waiting, self._schema, self.stamp))
        self._waiting, self._residues = [], 0


def _schema(stamp: ModelStamp) -> pa.Schema:
    row = pa.list_(pa.field("element", pa.float32(), nullable=False), len(STATES[stamp.alphabet]))
    fields = [
        pa.field("record", pa.int64(), nullable=False),
        pa.field("id", pa.string(), nullable=False),
        pa.field("description", pa.large_string(), nullable=False),
        pa.field("sequence", pa.large_string(), nullable=False),
        pa.field("ss", pa.large_string(), nullable=False),
        *(pa.field(alphabet, pa.large_string(), nullable=False) for alphabet in stamp.reduced),
        pa.field("length", pa.int32(), nullable=False),
        pa.field("confidence", pa.list_(pa.float32()), nullable=False),
        pa.field("probabilities", pa.list_(row), nullable=False),
    ]
    metadata: dict[str | bytes, str] = {
        f"liftray.model.{key}": value for key, value in stamp.as_dict().items()
    }
    metadata["liftray.states"] = STATES[stamp.alphabet]
    metadata[ALPHABET_KEY] = stamp.alphabet
    return pa.schema(fields, metadata=metadata)


def _batch(waiting: list[tuple[int, Prediction]], schema: pa.Schema, stamp: ModelStamp) -> pa.RecordBatch:
    predictions = [prediction for _, prediction in waiting]
    columns: dict[str, Any] = {
        "record": [record for record, _ in waiting],
        "id": [prediction.id for prediction in predictions],
        "sequence": [prediction.sequence for prediction in predictions],
        "description": [prediction.description for prediction in predictions],
        "length": [len(prediction.sequence) for prediction in predictions],
    }
    shown = [views(prediction, stamp) for prediction in predictions]
    columns |= {name: [view[name].states for view in shown] for name in ("ss", *stamp.reduced)}
    all_TC = np.concatenate([prediction.probabilities_LC for prediction in predictions])
    offsets = pa.array(np.cumsum([0, *columns["length"]]), type=pa.int32())
    row_type = schema.field("probabilities").type.value_type
    rows = pa.FixedSizeListArray.from_arrays(pa.array(all_TC.reshape(-1)), type=row_type)
    columns["confidence"] = pa.ListArray.from_arrays(offsets, pa.array(all_TC.max(axis=1)))
    columns["probabilities"] = pa.ListArray.from_arrays(
        offsets, rows, type=schema.field("probabilities").type
    )
    arrays = [
        column if isinstance(column := columns[field.name], pa.Array) else pa.array(column, type=field.type)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
