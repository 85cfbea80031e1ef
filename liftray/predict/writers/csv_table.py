"""CSV as NetSurfP writes it: a row a residue, `id, seq, n, q3, p[q3_H], ...`, then q8 and q9 where the model
has them.

Invariant: the first line is the header and every line has its columns; there are no comment lines, so any CSV
reader takes the file. The last columns are `record` (number of the chain in the input, since ids may repeat)
and `model`.

Decisions: five decimals, so a row's classes sum to 1 within 5e-5. A text that a spreadsheet would run as a
formula (it starts with `=`, `+`, `-` or `@`) gets a `'` in front, in this format alone.
"""

import csv
from pathlib import Path

import numpy as np

from liftray.predict.prediction import ModelStamp, Prediction
from liftray.predict.writers.base import Writer
from liftray.predict.writers.netsurfp import classes, tell

_FORMULA = ("=", "+", "-", "@")


class CsvWriter(Writer):
    """Writes predictions.csv; see `Writer`."""

    output = "predictions.csv"

    def __init__(self, directory: Path, stamp: ModelStamp) -> None:
        super().__init__(directory, stamp)
        self._file = self.path.open("w", encoding="utf-8", newline="")
        self._rows = csv.writer(self._file, lineterminator="\n")
        columns = ["id", "seq", "n"]
        for stem, letters in classes(stamp).items():
            columns += [stem, *(f"p[{stem}_{letter}]" for letter in letters)]
        self._rows.writerow([*columns, "record", "model"])
        self._model = _safe(f"{stamp.name} version={stamp.version} digest={stamp.digest[:16]}")

    def write(self, prediction: Prediction, record: int) -> None:
        """See `Writer.write`."""
        length = len(prediction.sequence)
        columns: list[list[str]] = [
            [_safe(prediction.id)] * length,
            list(prediction.sequence),
            [str(number) for number in range(1, length + 1)],
        ]
        for told in tell(prediction, self.stamp).values():
            columns.append(list(told.states))
            columns += np.char.mod("%.5f", told.probabilities_LC.T).tolist()
        columns += [[str(record)] * length, [self._model] * length]
        self._rows.writerows(zip(*columns, strict=True))

    def close(self) -> None:
        """See `Writer.close`."""
        self._file.close()


def _safe(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text
