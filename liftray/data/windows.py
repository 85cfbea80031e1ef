"""Windows over long chains: the residues that a model sees at once, and those of them that count.

Invariant: the scored parts of a chain's windows cover each of its residues exactly once. Pure NumPy; training and
prediction share it.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class Windows(NamedTuple):
    """Windows as parallel (N,) int64 columns; residue positions are from 0, ends exclusive.

    Attributes:
        row: Index of the chain.
        start: First residue the model sees.
        stop: End of what it sees.
        score_start: First residue that counts.
        score_stop: End of what counts.
    """

    row: npt.NDArray[np.int64]
    start: npt.NDArray[np.int64]
    stop: npt.NDArray[np.int64]
    score_start: npt.NDArray[np.int64]
    score_stop: npt.NDArray[np.int64]

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Residues the model sees of each window."""
        return self.stop - self.start

    def take(self, index: npt.NDArray[np.int64]) -> "Windows":
        """The chosen windows, in the order of `index`."""
        return Windows(*(column[index] for column in self))


def divide(lengths: npt.NDArray[np.integer], max_length: int) -> Windows:
    """Divide chains into windows of at most `max_length` residues.

    A chain that fits is one window. A longer chain is cut into the fewest equal scored parts that are no wider than 3/4
    of a window. Every window is `max_length` wide, with its scored part as central as the chain's ends allow. Up to 1.5
    times `max_length` these are two overlapping halves, each scored on its own half only, as in Yang, Liu & Li (2023).
    For longer chains, the same rule keeps every window within the lengths of the backbone's training.

    Args:
        lengths: (chains,) residues of each chain.
        max_length: Widest window.

    Returns:
        Windows in the order of chains, then of positions.
    """
    columns: list[tuple[int, int, int, int, int]] = []
    for row, length in enumerate(np.asarray(lengths).tolist()):
        if length <= max_length:
            columns.append((row, 0, length, 0, length))
            continue
        # Parts of at most 3/4 of a window leave at least an eighth of one as context on each inner side.
        parts = max(2, -(-length * 4 // (max_length * 3)))
        edges = [length * part // parts for part in range(parts + 1)]
        for left, right in pairwise(edges):
            margin = max_length - (right - left)
            start = min(max(left - margin // 2, 0), length - max_length)
            columns.append((row, start, start + max_length, left, right))
    table = np.array(columns, dtype=np.int64).reshape(-1, 5)
    return Windows(*(np.ascontiguousarray(table[:, column]) for column in range(5)))
