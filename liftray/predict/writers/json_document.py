"""JSON with NetSurfP's field names: one document, one object a chain, one line an object.

Invariant: the file is one valid JSON document however many chains there are, written without holding more
than one. `states` tells the order of the columns of each `..._prob`; five decimals.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from liftray.predict.prediction import ModelStamp, Prediction
from liftray.predict.writers.base import Writer
from liftray.predict.writers.netsurfp import classes, tell


class JsonWriter(Writer):
    """Writes predictions.json; see `Writer`."""

    output = "predictions.json"

    def __init__(self, directory: Path, stamp: ModelStamp) -> None:
        super().__init__(directory, stamp)
        self._file = self.path.open("w", encoding="utf-8", newline="\n")
        head = json.dumps({"model": stamp.as_dict(), "states": classes(stamp)}, ensure_ascii=False)
        self._file.write(f'{head[:-1]}, "predictions": [')
        self._separator = "\n"

    def write(self, prediction: Prediction, record: int) -> None:
        """See `Writer.write`."""
        content: dict[str, Any] = {"record": record, "id": prediction.id, "seq": prediction.sequence}
        for stem, told in tell(prediction, self.stamp).items():
            content[stem] = told.states
            content[f"{stem}_prob"] = np.round(told.probabilities_LC.astype(np.float64), 5).tolist()
        text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        self._file.write(self._separator + text)
        self._separator = ",\n"

    def close(self) -> None:
        """See `Writer.close`."""
        self._file.write("\n]}\n")
        self._file.close()
