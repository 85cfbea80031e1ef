"""The prediction of one chain, and the stamp of the model that made it.

Invariant: sequence, states and probabilities have one length, and each row of probabilities sums to 1. No torch.
Flow: predictor -> [this] -> writers, `liftray.api`.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from liftray.data.labels import STATES, decode, map_probabilities

if TYPE_CHECKING:
    import pandas as pd

UNREGISTERED = "unregistered"
_LINE = 60


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """The predicted secondary structure of one chain.

    Attributes:
        id: The chain's name in the input.
        sequence: (L,) upper-case residues.
        states: (L,) most probable state of each residue, letters of `classes`.
        probabilities_LC: (L, C) float32, calibrated, columns in the order of `classes`; rows sum to 1.
        alphabet: The model's task: ss3, ss8 or ss9.
        description: Text after the id in the FASTA header; "" where there is none.
    """

    id: str
    sequence: str
    states: str
    probabilities_LC: npt.NDArray[np.float32]
    alphabet: str
    description: str = ""

    @property
    def classes(self) -> str:
        """(C,) letters of the states in the order of the probabilities' columns, such as `CEH`."""
        return STATES[self.alphabet]

    @property
    def probabilities(self) -> npt.NDArray[np.float32]:
        """(L, C) probabilities; the same array as `probabilities_LC`."""
        return self.probabilities_LC

    @property
    def confidence(self) -> npt.NDArray[np.float32]:
        """(L,) probability of the predicted state of each residue."""
        confidence_L: npt.NDArray[np.float32] = self.probabilities_LC.max(axis=1)
        return confidence_L

    def __len__(self) -> int:
        """Number of residues."""
        return len(self.sequence)

    def __repr__(self) -> str:
        """One line: id, length, mean confidence and the first states."""
        shown = self.states if len(self.states) <= _LINE else f"{self.states[:_LINE]}..."
        confidence = float(np.mean(self.confidence))
        return f"Prediction({self.id!r}, {len(self)} residues, confidence {confidence:.2f}, {shown})"

    def __str__(self) -> str:
        """The sequence above its states, in blocks of 60 residues, with the confidence of each in tenths."""
        digits = "".join(str(digit) for digit in np.minimum(self.confidence * 10, 9).astype(int))
        lines = [repr(self)[: repr(self).rindex(",")] + ")"]
        for start in range(0, len(self), _LINE):
            block = slice(start, start + _LINE)
            lines += [
                f"{start + 1:>6} {self.sequence[block]}",
                f"{'':6} {self.states[block]}",
                f"{'':6} {digits[block]}",
            ]
        return "\n".join(lines)

    def mapped(self, alphabet: str, ss3_map: str) -> "Prediction":
        """Map the prediction to an alphabet with fewer states.

        Args:
            alphabet: An alphabet that is not richer than the prediction's.
            ss3_map: `dssp` or `lift`; it matters only from ss9 to ss3.

        Returns:
            A prediction whose probabilities are sums over the map and whose states are the most probable ones.
        """
        if alphabet == self.alphabet:
            return self
        summed = map_probabilities(self.probabilities_LC, self.alphabet, alphabet, ss3_map).astype(np.float32)
        states = decode(summed.argmax(axis=1), alphabet)
        return Prediction(self.id, self.sequence, states, summed, alphabet, self.description)

    def to_pandas(self) -> "pd.DataFrame":
        """Give the prediction as a table with a row for each residue.

        Returns:
            Columns `position` (from 1), `residue`, `ss`, `confidence`, and `p_X` for each state X.
        """
        import pandas as pd

        columns: dict[str, Any] = {
            "position": np.arange(1, len(self) + 1),
            "residue": list(self.sequence),
            "ss": list(self.states),
            "confidence": self.confidence,
        }
        columns |= {f"p_{state}": self.probabilities_LC[:, at] for at, state in enumerate(self.classes)}
        return pd.DataFrame(columns)


@dataclass(frozen=True, slots=True)
class ModelStamp:
    """The model that every output file names.

    Attributes:
        name: Registered name, or that of the bundle's directory.
        version: Registered version, or `unregistered`.
        digest: Digest of the bundle in hex.
        alphabet: The model's task: ss3, ss8 or ss9.
        ss3_map: Map from nine states to three: dssp or lift.
    """

    name: str
    version: str
    digest: str
    alphabet: str
    ss3_map: str

    @property
    def text(self) -> str:
        """One line for file headers."""
        return f"model={self.name} version={self.version} digest={self.digest}"

    @property
    def alphabets(self) -> list[str]:
        """The alphabets that the model's states can be mapped to, fewest states first, its own last."""
        return [name for name in sorted(STATES) if len(STATES[name]) <= len(STATES[self.alphabet])]

    @property
    def reduced(self) -> list[str]:
        """The alphabets with fewer states than the model's own, most states first."""
        return self.alphabets[-2::-1]

    def as_dict(self) -> dict[str, Any]:
        """The fields, for JSON."""
        return {
            "name": self.name,
            "version": self.version,
            "digest": self.digest,
            "alphabet": self.alphabet,
            "ss3_map": self.ss3_map,
        }


def one_line(value: object) -> str:
    """A name as one word without characters that could break a file header."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in "_".join(str(value).split()))
