"""CSV: a row for each residue.

Invariant: the first line is the header and every line has its columns; there are no comment lines, so that any CSV
reader accepts the file. Columns: `record` (number of the chain in the input, since ids may repeat), `id`, `position`
from 1, `residue`, `ss`, `confidence`, `p_X` for each state X, the same for `ss8` and `ss3` where the model has more
states (`ss3`, `p_ss3_X`), and `model`.

Decisions: five decimals, so the probabilities of a row sum to 1 within 5e-5. A text that a spreadsheet would run as a
formula gets a `'` in front, in CSV formats alone (see `csv_cell`).
"""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from liftray.data.labels import STATES
from liftray.predict.prediction import ModelStamp, Prediction
from liftray.predict.writers.base import Writer
from liftray.predict.writers.views import views
from liftray.reporting.tables import csv_cell


class CsvWriter(Writer):
    """Writes predictions.csv; see `Writer`."""

    output = "predictions.csv"

    def __init__(self, directory: Path, stamp: ModelStamp) -> None:
        super().__init__(directory, stamp)
        self._file = self.path.open("w", encoding="utf-8", newline="")
        self._rows = csv.writer(self._file, lineterminator="\n")
        columns = ["record", "id", "position", "residue", "ss", "confidence"]
        columns += [f"p_{state}" for state in STATES[stamp.alphabet]]
        for alphabet in stamp.reduced:
            columns += [alphabet, *(f"p_{alphabet}_{state}" for state in STATES[alphabet])]
        self._rows.writerow([*columns, "model"])
        self._model = model_cell(stamp)

    def write(self, prediction: Prediction, record: int) -> None:
        """See `Writer.write`."""
        length = len(prediction.sequence)
        columns: list[list[str]] = [
            [str(record)] * length,
            [csv_cell(prediction.id)] * length,
            [str(position) for position in range(1, length + 1)],
            list(prediction.sequence),
        ]
        for name, view in views(prediction, self.stamp).items():
            columns.append(list(view.states))
            if name == "ss":
                columns.append(decimals(view.confidence))
            columns += decimals(view.probabilities_LC.T)
        columns.append([self._model] * length)
        self._rows.writerows(zip(*columns, strict=True))

    def close(self) -> None:
        """See `Writer.close`."""
        self._file.close()


def decimals(values: npt.NDArray[np.float32]) -> Any:
    """Probabilities as text with five decimals, a nested list of the array's shape."""
    return np.char.mod("%.5f", values).tolist()


def model_cell(stamp: ModelStamp) -> str:
    """The model in one cell."""
    return csv_cell(f"{stamp.name} version={stamp.version} digest={stamp.digest[:16]}")
