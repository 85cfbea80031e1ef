"""The registered model as MLflow runs it: sequences in, a table of predicted states out.

Invariant: one row for each sequence, in the order of the input, also where the sequence is refused. MLflow stores this
file's text with the model and runs it on load (models-from-code), so nothing is pickled. A text that an earlier
version stored still runs: `Predictor` and `BadChain`, which it imports, keep their names and places.
Flow: registry -> [this] -> predictor.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pyarrow as pa

from liftray.data.labels import STATES
from liftray.errors import DataError

COLUMNS = ["id", "sequence", "ss", "mean_confidence", "error"]
_TABLES = ("dataframe_split", "dataframe_records", "instances")
_FORMS = "give a list of sequences, or a table or dicts with `sequence` and optionally `id`"


class LiftrayModel(mlflow.pyfunc.PythonModel):  # type: ignore[misc]  # MLflow's base class is untyped
    """A bundle behind MLflow's interface."""

    def load_context(self, context: Any) -> None:
        """Load the bundle and its backbone.

        Raises:
            BundleError: The bundle is damaged.
            BackboneError: No backbone source is reachable.
        """
        from liftray.predict.predictor import Predictor

        self._predictor = Predictor.load(context.artifacts["bundle"])
        _let_the_server_take_tables()

    # MLflow reads the type hint: this one demands no conversion, so lists, dicts, Series and arrays arrive as they are.
    def predict(
        self, context: Any, model_input: pd.DataFrame, params: Mapping[str, Any] | None = None
    ) -> pd.DataFrame:
        """Predict sequences.

        Args:
            context: MLflow's context; not used.
            model_input: A sequence, a list, Series or array of them, a table (pandas or Arrow) with the column
                `sequence` and optionally `id`, a dict of such columns, or a list of dicts. Ids default to 1, 2, ...
            params: `probabilities` (False) adds a column of that name with L x C lists, and a column `classes` with
                the C states that they are of, in their order; `batch_tokens` (4096) is the budget of a batch.

        Returns:
            Columns `id`, `sequence` (as given), `ss`, `mean_confidence` (mean probability of the predicted states) and
            `error` (the reason where a sequence was refused; its states are then empty and its confidence missing).

        Raises:
            DataError: The input has none of these forms.
        """
        from liftray.predict.fasta import BadChain
        from liftray.predict.predictor import Predictor

        chosen = {"probabilities": False, "batch_tokens": 4096, **(params or {})}
        if chosen["batch_tokens"] < 1:
            raise DataError(f"batch_tokens is {chosen['batch_tokens']}", remedy="give 1 or more")
        loaded = self._predictor
        predictor = Predictor(loaded.tagger, loaded.info, tokens_per_batch=int(chosen["batch_tokens"]))
        chains = _chains(model_input)
        rows: list[list[Any]] = []
        probabilities: list[list[list[float]]] = []
        for (name, sequence), found in zip(chains, predictor.predict(chains), strict=True):
            if isinstance(found, BadChain):
                rows.append([name, sequence, "", None, f"{found.reason}: {found.detail}"])
                probabilities.append([])
            else:
                confidence = float(np.mean(found.probabilities_LC.max(axis=1)))
                rows.append([name, sequence, found.states, confidence, None])
                probabilities.append(found.probabilities_LC.tolist())
        # Objects keep None, which JSON has; pandas' own NaN would reach HTTP clients as invalid JSON.
        table = pd.DataFrame(rows, columns=COLUMNS, dtype=object)
        if chosen["probabilities"]:
            table["probabilities"] = probabilities
            table["classes"] = STATES[predictor.alphabet]
        return table


def _let_the_server_take_tables() -> None:
    """Let MLflow's server give this model the tables of its protocol as well.

    A signature that MLflow enforces would refuse a plain list, and for one that it does not enforce its server takes
    `inputs` alone. A server process has one model, so the change reaches no other.
    """
    server = sys.modules.get("mlflow.pyfunc.scoring_server")
    parse = getattr(server, "_parse_json_data", None)
    if parse is None or getattr(parse, "takes_tables", False):
        return

    def parse_tables(data: Any, *arguments: Any, **options: Any) -> Any:
        return parse(_as_inputs(data), *arguments, **options)

    parse_tables.takes_tables = True  # type: ignore[attr-defined]
    server._parse_json_data = parse_tables  # type: ignore[union-attr]


def _as_inputs(data: Any) -> Any:
    """A request with a table as one with `inputs`; any other request as it is, for MLflow to judge."""
    try:
        request = json.loads(data)
    except (TypeError, ValueError, RecursionError):
        return data
    names = [name for name in _TABLES if isinstance(request, dict) and name in request]
    if len(names) != 1 or "inputs" in request:
        return data
    table = request.pop(names[0])
    if names[0] == "dataframe_split":
        if not isinstance(table, dict) or not isinstance(table.get("data"), list):
            return data
        columns, rows = table.get("columns", []), table["data"]
        named = isinstance(columns, list) and all(isinstance(column, str) for column in columns)
        if not named or not all(isinstance(row, list) and len(row) == len(columns) for row in rows):
            return data
        table = [dict(zip(columns, row, strict=True)) for row in rows]
    return json.dumps({**request, "inputs": table})


def _chains(given: Any) -> list[tuple[str, str]]:
    """(id, sequence) pairs from any of the forms that `predict` takes."""
    if isinstance(given, pa.Array | pa.ChunkedArray):
        given = given.to_pylist()
    if isinstance(given, pa.Table | pa.RecordBatch):
        given = given.to_pydict()
    if isinstance(given, str):
        given = [given]
    if isinstance(given, Mapping) and isinstance(given.get("sequence"), str):
        given = [given]
    if isinstance(given, pd.Series):
        given = given.tolist()
    if isinstance(given, np.ndarray):
        given = given.ravel().tolist()
    if isinstance(given, Sequence) and given and all(isinstance(item, Mapping) for item in given):
        given = {
            "sequence": [item.get("sequence") for item in given],
            "id": [item.get("id", place) for place, item in enumerate(given, start=1)],
        }
    if isinstance(given, pd.DataFrame | Mapping):
        if "sequence" not in given:
            raise DataError(f"no column `sequence` among {', '.join(map(str, given))}", remedy=_FORMS)
        sequences = list(given["sequence"])
        names = list(given["id"]) if "id" in given else list(range(1, len(sequences) + 1))
    elif isinstance(given, Sequence):
        sequences, names = list(given), list(range(1, len(given) + 1))
    else:
        raise DataError(f"{type(given).__name__} is no input of this model", remedy=_FORMS)
    if len(names) != len(sequences):
        raise DataError(f"{len(names)} ids for {len(sequences)} sequences", remedy=_FORMS)
    for place, sequence in enumerate(sequences, start=1):
        if not isinstance(sequence, str):
            raise DataError(f"sequence {place} is {type(sequence).__name__}, not text", remedy=_FORMS)
    # A missing id, as tables have: None, or the NaN that no value equals, itself included.
    names = [place if name is None or name != name else name for place, name in enumerate(names, start=1)]
    return [(str(name), sequence) for name, sequence in zip(names, sequences, strict=True)]


mlflow.models.set_model(LiftrayModel())
