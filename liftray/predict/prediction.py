"""What a prediction is, and the model it is from: what the predictor gives and the writers take.

Invariant: sequence, states and probabilities have one length, and each row of probabilities sums to 1. Pure
NumPy. Flow: predictor -> [this] -> writers.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from liftray.data.labels import STATES, decode, map_probabilities

UNREGISTERED = "unregistered"


@dataclass(frozen=True, slots=True, eq=False)
class Prediction:
    """The predicted states of one chain.

    Attributes:
        id: The chain's name, as its input gave it.
        sequence: (L,) upper-case residues.
        states: (L,) most probable state of each residue, letters of `STATES[alphabet]`.
        probabilities_LC: (L, C) float32, calibrated, in the order of `STATES[alphabet]`; rows sum to 1.
        alphabet: The model's task: ss3, ss8 or ss9.
    """

    id: str
    sequence: str
    states: str
    probabilities_LC: npt.NDArray[np.float32]
    alphabet: str

    def mapped(self, alphabet: str, ss3_map: str) -> "Prediction":
        """The prediction in a poorer alphabet: probabilities summed by the map, states the most probable.

        Args:
            alphabet: The wanted alphabet, not richer than the prediction's.
            ss3_map: `dssp` or `lift`; matters only from ss9 to ss3.
        """
        if alphabet == self.alphabet:
            return self
        summed = map_probabilities(self.probabilities_LC, self.alphabet, alphabet, ss3_map).astype(np.float32)
        return Prediction(self.id, self.sequence, decode(summed.argmax(axis=1), alphabet), summed, alphabet)


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
        """The alphabets the model's states can be told in, poorest first."""
        return [name for name in sorted(STATES) if len(STATES[name]) <= len(STATES[self.alphabet])]

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
    """A name as one word that no file header can be broken with."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in "_".join(str(value).split()))
