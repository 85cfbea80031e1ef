"""Chains to measure with: real ones where they are at hand, and made-up ones with the lengths of a real set.

Invariant: both follow from count and seed alone. Speed depends on shapes and lengths, not on letters or weights.
Imports no torch, so that what measures memory can use it.
"""

from pathlib import Path

import numpy as np

import liftray
from liftray.data.formats.three_line import read
from liftray.data.labels import STATES
from liftray.data.records import ProteinRecord

RESIDUES = "ACDEFGHIKLMNPQRSTVWY"
Chain = tuple[str, str, str]
# Log-normal, fitted by its two moments to chains of the PDB that are used for training: median 200, mean 237 residues.
_LOG_MEAN, _LOG_SD = 5.30, 0.58
_SHORTEST = 50

_PACKAGE = Path(liftray.__file__).parent
# The larger set lies beside a checkout where it was fetched; the embedded sample is part of the package.
_SETS = (
    _PACKAGE.parent.parent / "shared" / "data" / "train" / "lift_train.ss9.txt",
    _PACKAGE / "data" / "sample" / "train.ss9.txt",
)


def sample(count: int, seed: int, *, longest: int) -> tuple[list[Chain], str]:
    """Draw real chains with nine-state labels.

    Args:
        count: How many; where the set has fewer, each of its chains is taken as often as needed.
        seed: Of the draw and the order.
        longest: Residues that a longer chain is cut to.

    Returns:
        (id, sequence, labels) of each, all ids different; and the name of the file they are from.
    """
    path = next(path for path in _SETS if path.is_file())
    records = [record for record in read(path, alphabet="ss9") if isinstance(record, ProteinRecord)]
    rng = np.random.default_rng(seed)
    rounds = -(-count // len(records))
    order = np.concatenate([rng.permutation(len(records)) for _ in range(rounds)])[:count]
    drawn = [
        (f"{records[row].id}.{number}", records[row].sequence[:longest], records[row].ss[:longest])
        for number, row in enumerate(order.tolist())
    ]
    return drawn, path.name


def chains(count: int, seed: int, *, longest: int, alphabet: str = "ss9") -> list[Chain]:
    """Draw chains of made-up letters.

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
