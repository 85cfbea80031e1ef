"""How sure a search's scores are: each trial's interval over validation chains, and its difference to the best trial.

Invariant: all trials are scored on the same drawn chains, so a difference is a paired one. Flow: each trial's
validation.parquet -> [this] -> search_report.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from liftray import sealed
from liftray.errors import DataError
from liftray.statistics.resampling import RESAMPLES, Interval, bootstrap_sums, percentile_interval


@dataclass(frozen=True)
class ComparedScore:
    """A trial's score over the validation chains, and its difference to the best trial's.

    Attributes:
        score: Correct over labelled residues, a fraction.
        ci95: Interval over chains; None for a single chain.
        difference: Score minus the best trial's.
        difference_ci95: Its interval, over the same drawn chains; None for a single chain.
        chains: Number of chains with a label.
    """

    score: float
    ci95: Interval
    difference: float
    difference_ci95: Interval
    chains: int

    def suffices(self, margin: float) -> bool:
        """Whether it is shown to lose no more than a margin against the best (non-inferiority)."""
        return self.difference_ci95 is not None and self.difference_ci95[0] > -margin

    @property
    def worse(self) -> bool:
        """Whether it is shown to be worse than the best."""
        return self.difference_ci95 is not None and self.difference_ci95[1] < 0


def read_counts(file: Path, score: str, ss3_map: str) -> dict[str, tuple[float, float]]:
    """Correct and labelled residues by chain; chains without a label are left out.

    Args:
        file: A trial's `validation.parquet`.
        score: `q3`, `q8` or `q9`.
        ss3_map: Which Q3, where there are two.
    """
    table = sealed.read_table(file)
    column = score if score in table.column_names else f"{score}_{ss3_map}"
    rows = zip(*(table.column(name).to_pylist() for name in ("id", column, "labelled")), strict=True)
    return {name: (float(round(share * count)), float(count)) for name, share, count in rows if count}


def compare_to_best(
    counts: Mapping[int, Mapping[str, tuple[float, float]]], best: int, *, resamples: int = RESAMPLES
) -> dict[int, ComparedScore]:
    """Score trials and compare each with the best one by a paired bootstrap over chains.

    Args:
        counts: Trial's number -> chain -> correct and labelled residues.
        best: Number of the best trial.
        resamples: Bootstrap resamples.

    Returns:
        By the trial's number; percentile intervals at 95 %.

    Raises:
        DataError: Two trials predicted different chains.
    """
    chains = sorted(counts[best])
    for number, theirs in counts.items():
        if sorted(theirs) != chains:
            raise DataError(
                "the trials' validation chains differ", where=f"trial {number}", remedy="use another run.dir"
            )
    labelled_N = [counts[best][name][1] for name in chains]
    # One column of correct residues for each trial, and the labelled residues last.
    columns = [[theirs[name][0] for name in chains] for theirs in counts.values()]
    matrix_NK = np.array([*columns, labelled_N]).T
    sums_SK = bootstrap_sums(chains, matrix_NK, resamples)
    scores_K = matrix_NK[:, :-1].sum(axis=0) / matrix_NK[:, -1].sum()
    drawn_SK = sums_SK[:, :-1] / sums_SK[:, -1:]
    at_best = list(counts).index(best)
    compared = {}
    for at, number in enumerate(counts):
        difference_S = drawn_SK[:, at] - drawn_SK[:, at_best]
        compared[number] = ComparedScore(
            float(scores_K[at]),
            percentile_interval(drawn_SK[:, at], len(chains)),
            float(scores_K[at] - scores_K[at_best]),
            # Nothing differs from itself, however few chains there are.
            (0.0, 0.0) if number == best else percentile_interval(difference_S, len(chains)),
            len(chains),
        )
    return compared
