"""The chains that a report draws: the best and the worst predicted of a set.

Invariant: which chains are drawn follows from the scores alone, ties by name, so nobody can choose a flattering one.
Flow: PredictedSet -> [this] -> page.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from liftray.data.labels import IGNORE_INDEX, decode
from liftray.evaluate.cartoon import chain_cartoon
from liftray.evaluate.chains import PredictedSet, ScoredChain

MIN_LABELLED = 30
"""Chains with fewer labelled residues are drawn only where there are no others: chance decides their scores."""

MAX_DRAWN = 1000
"""Residues drawn of a chain; a picture of more would be too large to read."""

_RESIDUES_PER_ROW = 80


@dataclass(frozen=True, slots=True)
class DrawnChain:
    """A picture of a chain and what it shows.

    Attributes:
        id: The chain's name.
        rank: `best` or `worst`.
        q3: Correct over labelled residues in three states.
        length: Residues.
        labelled: Labelled residues.
        file: PNG file.
    """

    id: str
    rank: str
    q3: float
    length: int
    labelled: int
    file: Path

    @property
    def caption(self) -> str:
        """What the picture shows, for readers and screen readers."""
        limit = f", the first {MAX_DRAWN:,} drawn" if self.length > MAX_DRAWN else ""
        return (
            f"{self.id}: Q3 {100 * self.q3:.1f} % of {self.labelled:,} labelled residues "
            f"({self.length:,} residues{limit})"
        )


def draw(predicted: PredictedSet, directory: Path, prefix: str, *, count: int = 2) -> list[DrawnChain]:
    """Draw the best and the worst chains of a set, in three states.

    Args:
        predicted: The set.
        directory: For the PNG files.
        prefix: Start of the files' names.
        count: How many of either; fewer where there are not that many chains.

    Returns:
        The best, best first, then the worst, worst first; no chain twice.
    """
    mapped = predicted.mapped("ss3")
    ranked = _ranked(mapped)
    best = ranked[: min(count, -(-len(ranked) // 2))]
    worst = ranked[len(best) :][-count:][::-1]
    drawn: list[DrawnChain] = []
    for rank, (q3, chain) in [("best", row) for row in best] + [("worst", row) for row in worst]:
        file = directory / f"{prefix}_{len(drawn)}.png"
        shown, labelled = slice(0, MAX_DRAWN), int((chain.true_L != IGNORE_INDEX).sum())
        chain_cartoon(
            chain.sequence[shown],
            decode(chain.true_L[shown], "ss3"),
            decode(chain.probabilities_LC[shown].argmax(axis=1), "ss3"),
            chain.probabilities_LC[shown].max(axis=1),
            file,
            title="",
            residues_per_row=_RESIDUES_PER_ROW,
        )
        drawn.append(DrawnChain(chain.id, rank, q3, len(chain.sequence), labelled, file))
    return drawn


def _ranked(mapped: PredictedSet) -> list[tuple[float, ScoredChain]]:
    """Chains with enough labels by falling Q3; all labelled ones where none has enough."""
    rows = []
    for chain in mapped.chains:
        labelled = chain.true_L != IGNORE_INDEX
        if labelled.any():
            correct = chain.probabilities_LC.argmax(axis=1)[labelled] == chain.true_L[labelled]
            rows.append((float(np.mean(correct)), int(labelled.sum()), chain))
    enough = [row for row in rows if row[1] >= MIN_LABELLED] or rows
    return [(q3, chain) for q3, _, chain in sorted(enough, key=lambda row: (-row[0], row[2].id))]
