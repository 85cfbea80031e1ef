"""Who is related to whom: exact local alignments of one chain against many, and the rule that keeps splits apart.

Invariant: scores are those of Smith-Waterman with affine gaps, not a heuristic; among alignments of the best score
the one with most identities counts. Pure NumPy. Flow: chosen chains -> [this] -> clusters -> splits (see `build`).

Two chains are related if either holds for their best local alignment (BLOSUM62, gap of n: 10 + n):
- its identical pairs are more than 30 % of the shorter chain's length;
- its score is significant, E <= 1e-3, where E = K m n exp(-lambda S) with K 0.041 and lambda 0.267 (Altschul & Gish
  1996, for this matrix and these gaps), m and n the two lengths. This also finds shared domains and distant
  homologues below 30 %.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

MAX_IDENTITY = 0.30
MAX_E_VALUE = 1e-3

_GAP_OPEN, _GAP_EXTEND = 11, 1  # cost of the first residue in a gap, and of each further one
_K, _LAMBDA = 0.041, 0.267
_LETTERS = "ARNDCQEGHILKMFPSTWYVX"
# Henikoff & Henikoff 1992; lower triangle in the order of _LETTERS.
_BLOSUM62 = """
4
-1 5
-2 0 6
-2 -2 1 6
0 -3 -3 -3 9
-1 1 0 0 -3 5
-1 0 0 2 -4 2 5
0 -2 0 -1 -3 -2 -2 6
-2 0 1 -1 -3 0 0 -2 8
-1 -3 -3 -3 -1 -3 -3 -4 -3 4
-1 -2 -3 -4 -1 -2 -3 -4 -3 2 4
-1 2 0 -1 -3 1 1 -2 -1 -3 -2 5
-1 -1 -2 -3 -1 0 -2 -3 -2 1 2 -1 5
-2 -3 -3 -3 -2 -3 -3 -3 -1 0 0 -3 0 6
-1 -2 -2 -1 -3 -1 -1 -2 -2 -3 -3 -1 -2 -4 7
1 -1 1 0 -1 0 0 0 -1 -2 -2 0 -1 -2 -1 4
0 -1 0 -1 -1 -1 -1 -2 -2 -1 -1 -1 -1 -2 -1 1 5
-3 -3 -4 -4 -2 -2 -3 -2 -2 -3 -2 -3 -1 1 -4 -3 -2 11
-2 -2 -2 -3 -2 -1 -2 -3 2 -1 -1 -2 -1 3 -3 -2 -2 2 7
0 -3 -3 -3 -1 -2 -2 -3 -3 3 1 -2 1 -1 -2 -2 0 -3 -1 4
0 -1 -1 -1 -2 -1 -1 -1 -1 -1 -1 -1 -1 -1 -2 0 0 -2 -1 -1 -1
"""
_STAND_IN = str.maketrans("UOBZJ", "CKDEL")
# One integer holds score and identities: the maximum is that of the score, then of the identities.
_UNIT = 1 << 12


def related(query: str, targets: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Which of the targets are related to the query by the rule above, (len(targets),)."""
    scores, identities = local_alignments(query, targets)
    lengths = np.array([len(target) for target in targets], dtype=np.float64)
    identity = identities / np.minimum(lengths, len(query))
    e_value = _K * len(query) * lengths * np.exp(-_LAMBDA * scores)
    return (identity > MAX_IDENTITY) | (e_value <= MAX_E_VALUE)


def local_alignments(
    query: str, targets: Sequence[str]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Align one sequence with many.

    All targets are end to end in one row of the matrix, so a step of the loop is one query residue against every
    target residue. A gap along the row is a running maximum; a barrier that rises from target to target, larger than
    any score, keeps it from crossing into the next.

    Args:
        query: One-letter residues, up to 4,095 of them.
        targets: N sequences.

    Returns:
        (N,) best scores and (N,) identical pairs of the best alignment.

    Raises:
        ValueError: The query is empty or too long.
    """
    if not 0 < len(query) < _UNIT:
        raise ValueError(f"a query of {len(query)} residues; 1 to {_UNIT - 1} can be aligned")
    starts = np.concatenate([[0], np.cumsum([len(target) for target in targets])])
    codes, row = encode("".join(targets)), np.arange(starts[-1])
    values = _PAIR_VALUE[:, codes]
    number = np.repeat(np.arange(len(targets)), np.diff(starts))
    slope = row * (_GAP_EXTEND * _UNIT) + number * (_UNIT * _UNIT * 64)
    best = np.zeros(len(row), dtype=np.int64)
    before = np.zeros(len(row) + 1, dtype=np.int64)
    down = np.full(len(row), -_UNIT * _UNIT, dtype=np.int64)
    for code in encode(query):
        diagonal = before[:-1].copy()
        diagonal[starts[:-1]] = 0
        np.maximum(down - _GAP_EXTEND * _UNIT, before[1:] - _GAP_OPEN * _UNIT, out=down)
        here = np.maximum(np.maximum(diagonal + values[code], down), 0)
        running = np.maximum.accumulate(here + slope)
        across = running[:-1] - slope[1:] - (_GAP_OPEN - _GAP_EXTEND) * _UNIT
        np.maximum(here[1:], across, out=here[1:])
        np.maximum(best, here, out=best)
        before[1:] = here
    top = np.maximum.reduceat(best, starts[:-1])
    return top // _UNIT, top % _UNIT


def clusters(sequences: Sequence[str]) -> list[list[int]]:
    """Single-linkage clusters of related sequences, as index lists in order of their first member."""
    parent = list(range(len(sequences)))

    def root(i: int) -> int:
        while parent[i] != i:
            i = parent[i]
        return i

    for i in range(1, len(sequences)):
        for j in np.flatnonzero(related(sequences[i], sequences[:i])):
            low, high = sorted((root(i), root(int(j))))
            parent[high] = low
    found: dict[int, list[int]] = {}
    for i in range(len(sequences)):
        found.setdefault(root(i), []).append(i)
    return list(found.values())


def encode(sequence: str) -> npt.NDArray[np.intp]:
    """Rows of the substitution matrix, one for each residue: (L,)."""
    return np.array([_LETTERS.index(letter) for letter in sequence.translate(_STAND_IN)], dtype=np.intp)


def _pair_values() -> npt.NDArray[np.int64]:
    """(21, 21) score and identity of a pair of residues as one integer; an unknown residue is identical to none."""
    scores = np.zeros((len(_LETTERS), len(_LETTERS)), dtype=np.int64)
    for i, line in enumerate(_BLOSUM62.split("\n")[1:-1]):
        for j, score in enumerate(line.split()):
            scores[i, j] = scores[j, i] = int(score)
    identical = np.eye(len(_LETTERS), dtype=np.int64)
    identical[-1, -1] = 0
    return scores * _UNIT + identical


_PAIR_VALUE = _pair_values()
