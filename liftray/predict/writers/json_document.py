"""JSON: one document, one object for each chain, one line for each object.

Invariant: the file is one valid JSON document however many chains there are, written without more than one chain in
memory. The document's `states` gives the order of the columns of the probabilities; five decimals. Fields of a chain:
`record`, `id`, `description`, `sequence`, `length`, `ss`, `confidence`, `probabilities`, and where the model has more
states also `ss8` and `ss3` with `ss8_probabilities` and `ss3_probabilities`.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from liftray.data.labels import STATES
from liftray.predict.prediction import ModelStamp, Prediction
from liftray.predict.writers.base import Writer
from liftray.predict.writers.views import views


class JsonWriter(Writer):
    """Writes predictions.json; see `Writer`."""

    output = "predictions.json"

    def __init__(self, directory: Path, stamp: ModelStamp) -> None:
        super().__init__(directory, stamp)
        self._file = self.path.open("w", encoding="utf-8", newline="\n")
        states = {"ss": STATES[stamp.alphabet], **{name: STATES[name] for name in stamp.reduced}}
        head = json.dumps({"model": stamp.as_dict(), "states": states}, ensure_ascii=False)
        self._file.write(f'{head[:-1]}, "predictions": [')
        self._separator = "\n"

    def write(self, prediction: Prediction, record: int) -> None:
        """See `Writer.write`."""
        content: dict[str, Any] = {
            "record": record,
            "id": prediction.id,
            "description": prediction.description,
            "sequence": prediction.sequence,
            "length": len(prediction.sequence),
        }
        for name, view in views(prediction, self.stamp).items():
            content[name] = view.states
            if name == "ss":
                content["confidence"] = _rounded(view.confidence)
            content["probabilities" if name == "ss" else f"{name}_probabilities"] = _rounded(
                view.probabilities_LC
            )
        text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        self._file.write(self._separator + text)
        self._separator = ",\n"

    def close(self) -> None:
        """See `Writer.close`."""
        self._file.write("\n]}\n")
        self._file.close()


def _rounded(values: npt.NDArray[np.float32]) -> Any:
    return np.round(values.astype(np.float64), 5).tolist()
