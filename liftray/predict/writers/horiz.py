"""PSIPRED's horizontal format: blocks of 60 residues with confidence, state, residue and a ruler.

Invariant: each `Conf:`, `Pred:` and `AA:` line of a block is as long as the others, and joined they are the
chain. Confidence is ten times the lead of the most probable of the three states over the second, rounded
down, 9 at most. A model of 8 or 9 states is reduced to 3, as in ss2. One file for each chain.
"""

import numpy as np

from liftray.predict.prediction import Prediction
from liftray.predict.writers.base import ChainFiles

_BLOCK = 60


class HorizWriter(ChainFiles):
    """Writes predictions_horiz/; see `Writer`."""

    output = "predictions_horiz"
    suffix = ".horiz"

    def text(self, prediction: Prediction) -> str:
        """See `ChainFiles.text`."""
        three = prediction.mapped("ss3", self.stamp.ss3_map)
        ranked_LC = np.sort(three.probabilities_LC, axis=1)
        lead = ranked_LC[:, -1] - ranked_LC[:, -2]
        digits = "".join(str(digit) for digit in np.minimum(np.floor(lead * 10), 9).astype(int))
        blocks = [f"# PSIPRED HFORMAT (LiftRay {self.stamp.text} {self.named(prediction)})\n"]
        for start in range(0, len(digits), _BLOCK):
            stop = min(start + _BLOCK, len(digits))
            ruler = "".join(f"{ten:10d}" for ten in range(start + 10, stop + 1, 10))
            blocks.append(
                f"Conf: {digits[start:stop]}\nPred: {three.states[start:stop]}\n"
                f"  AA: {prediction.sequence[start:stop]}\n{' ' * 6 if ruler else ''}{ruler}\n"
            )
        return "\n".join(blocks)
