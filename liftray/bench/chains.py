"""Chains to measure with: real chains where a set is available, and random chains with the lengths of a real set.

Invariant: both depend on count and seed alone. Speed depends on shapes and lengths, not on letters or weights.
Imports no torch, so that a measurement of memory can use it.
"""

from collections.abc import Sequence
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
# The embedded sample is part of the package; a larger set may be next to a checkout.
SAMPLE = _PACKAGE / "data" / "sample" / "train.ss9.txt"
_SETS = (_PACKAGE.parent.parent / "shared" / "data" / "train" / "lift_train.ss9.txt", SAMPLE)


def sample(count: int, seed: int, *, longest: int, sets: Sequence[Path] = _SETS) -> tuple[list[Chain], str]:
    """Draw real chains with nine-state labels.

    Args:
        count: Number of chains; from a smaller set, each chain is drawn as often as needed.
        seed: Seed of the draw and the order.
        longest: Residues to which a longer chain is cut.
        sets: Three-line files; the first that exists is read.

    Returns:
        (id, sequence, labels) of each chain, all ids different; and the name of the file.
    """
    path = next(path for path in sets if path.is_file())
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
    """Draw chains of random letters.

    Args:
        count: Number of chains.
        seed: Seed of the draw.
        longest: Residues to which a longer chain is cut.
        alphabet: Alphabet of the labels.

    Returns:
        (id, sequence, labels) of each chain; all residues are labelled.
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
