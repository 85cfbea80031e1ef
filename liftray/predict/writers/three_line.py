"""Three-line files: `>id description` and the model, residues, states in the model's own alphabet.

Invariant: one chain is three lines, nothing is wrapped, and the first word of the header is the id, so
`ingest` and every FASTA reader find it.
"""

from pathlib import Path

from liftray.predict.prediction import ModelStamp, Prediction
from liftray.predict.writers.base import Writer


class ThreeLineWriter(Writer):
    """Writes predictions.3line.txt; see `Writer`."""

    output = "predictions.3line.txt"

    def __init__(self, directory: Path, stamp: ModelStamp) -> None:
        super().__init__(directory, stamp)
        self._file = self.path.open("w", encoding="utf-8", newline="\n")

    def write(self, prediction: Prediction, record: int) -> None:
        """See `Writer.write`."""
        words = [prediction.id, prediction.description, self.stamp.text]
        header = " ".join(word for word in words if word)
        self._file.write(f">{header}\n{prediction.sequence}\n{prediction.states}\n")

    def close(self) -> None:
        """See `Writer.close`."""
        self._file.close()
