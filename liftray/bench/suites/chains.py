"""Made-up chains with the lengths of a real set, and a backbone of a real shape with random weights.

Invariant: a function of count and seed alone. Speed depends on shapes and lengths, not on letters or weights. Imports
no torch, so that what measures memory can use it.
"""

import numpy as np

from liftray.data.labels import STATES

RESIDUES = "ACDEFGHIKLMNPQRSTVWY"
# Log-normal, fitted by its two moments to chains of the PDB that are used for training: median 200, mean 237 residues.
_LOG_MEAN, _LOG_SD = 5.30, 0.58
_SHORTEST = 50


def chains(count: int, seed: int, *, longest: int, alphabet: str = "ss9") -> list[tuple[str, str, str]]:
    """Draw chains.

    Args:
        count: How many.
        seed: What they are drawn from.
        longest: Residues that a longer draw is cut to.
        alphabet: Of the labels.

    Returns:
        (id, sequence, labels) of each; all residues are labelled.
    """
    rng = np.random.default_rng(seed)
    drawn = np.exp(rng.normal(_LOG_MEAN, _LOG_SD, count))
    lengths = np.clip(drawn, min(_SHORTEST, longest), longest).astype(np.int64)
    return [
        (f"chain{number}", _letters(rng, RESIDUES, length), _letters(rng, STATES[alphabet], length))
        for number, length in enumerate(lengths.tolist())
    ]


def _letters(rng: np.random.Generator, letters: str, length: int) -> str:
    choice = np.frombuffer(letters.encode("ascii"), dtype=np.uint8)
    return choice[rng.integers(len(choice), size=length)].tobytes().decode("ascii")
