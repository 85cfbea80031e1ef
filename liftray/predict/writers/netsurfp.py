"""CSV with the columns of NetSurfP: `id, seq, n, q3, p[q3_H], p[q3_E], p[q3_C]`, then q8 where the model has it.

Invariant: q3 and q8 have NetSurfP's order of states and its letter for coil, `C`; q9, which NetSurfP lacks, has
LiftRay's own order and letters (coil `L`). The last columns are `record` and `model`. All else is as in csv_table.
"""

import csv
from pathlib import Path

from liftray.data.labels import STATES
from liftray.predict.prediction import ModelStamp, Prediction
from liftray.predict.writers.base import Writer, in_order
from liftray.predict.writers.csv_table import decimals, model_cell
from liftray.reporting.tables import csv_cell

# LiftRay's states in NetSurfP's order of columns.
_ORDER = {"ss3": "HEC", "ss8": "GHIBESTL", "ss9": STATES["ss9"]}


class NetSurfPWriter(Writer):
    """Writes predictions.netsurfp.csv; see `Writer`."""

    output = "predictions.netsurfp.csv"

    def __init__(self, directory: Path, stamp: ModelStamp) -> None:
        super().__init__(directory, stamp)
        self._file = self.path.open("w", encoding="utf-8", newline="")
        self._rows = csv.writer(self._file, lineterminator="\n")
        columns = ["id", "seq", "n"]
        for alphabet in stamp.alphabets:
            stem = _stem(alphabet)
            columns += [stem, *(f"p[{stem}_{state}]" for state in _letters(_ORDER[alphabet], alphabet))]
        self._rows.writerow([*columns, "record", "model"])
        self._model = model_cell(stamp)

    def write(self, prediction: Prediction, record: int) -> None:
        """See `Writer.write`."""
        length = len(prediction.sequence)
        columns: list[list[str]] = [
            [csv_cell(prediction.id)] * length,
            list(prediction.sequence),
            [str(number) for number in range(1, length + 1)],
        ]
        for alphabet in self.stamp.alphabets:
            view = prediction.mapped(alphabet, self.stamp.ss3_map)
            columns.append(list(_letters(view.states, alphabet)))
            columns += decimals(in_order(view.probabilities_LC, alphabet, _ORDER[alphabet]).T)
        columns += [[str(record)] * length, [self._model] * length]
        self._rows.writerows(zip(*columns, strict=True))

    def close(self) -> None:
        """See `Writer.close`."""
        self._file.close()


def _stem(alphabet: str) -> str:
    return alphabet.replace("ss", "q")


def _letters(states: str, alphabet: str) -> str:
    return states.replace("L", "C") if alphabet == "ss8" else states
