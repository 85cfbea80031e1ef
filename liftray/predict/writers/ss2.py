"""PSIPRED's vertical format: a line for each residue, probabilities of coil, helix and strand with three decimals.

Invariant: the first line starts with `# PSIPRED VFORMAT` and names the model, the second is blank, and each other line
is a residue. So readers that skip two lines and readers that skip `#` both work. A model of 8 or 9 states is reduced to
3: its probabilities are summed by its own map. One file for each chain, as PSIPRED writes them.
"""

import numpy as np

from liftray.predict.prediction import Prediction
from liftray.predict.writers.base import ChainFiles, in_order


class Ss2Writer(ChainFiles):
    """Writes predictions_ss2/; see `Writer`."""

    output = "predictions_ss2"
    suffix = ".ss2"

    def text(self, prediction: Prediction) -> str:
        """See `ChainFiles.text`."""
        three = prediction.mapped("ss3", self.stamp.ss3_map)
        columns = np.char.mod("%6.3f", in_order(three.probabilities_LC, "ss3", "CHE").T).tolist()
        lines = [f"# PSIPRED VFORMAT (LiftRay {self.stamp.text} {self.named(prediction)})", ""]
        rows = zip(prediction.sequence, three.states, *columns, strict=True)
        for number, (residue, state, coil, helix, strand) in enumerate(rows, start=1):
            lines.append(f"{number:4d} {residue} {state}  {coil} {helix} {strand}")
        return "\n".join(lines) + "\n"
