"""How sure a search's scores are: each trial's interval over validation chains, and its difference to the best trial.

Invariant: the chain is the unit that is drawn, and all trials see the same draws, so a difference is a paired one.
Pure NumPy. Flow: each trial's validation.parquet -> [this] -> report.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from liftray.errors import DataError

FloatArray = npt.NDArray[np.float64]
Interval = tuple[float, float]
_LEVELS = (0.025, 0.975)


@dataclass(frozen=True)
class Weighed:
    """A trial's score over the validation chains, and its difference to the best trial's.

    Attributes:
        score: Correct over labelled residues, a fraction.
        ci95: Interval over chains.
        difference: Score minus the best trial's.
        difference_ci95: Its interval, over the same drawn chains.
        chains: Number of chains with a label.
    """

    score: float
    ci95: Interval
    difference: float
    difference_ci95: Interval
    chains: int

    def suffices(self, margin: float) -> bool:
        """Whether it is shown to lose no more than a margin against the best (non-inferiority)."""
        return self.difference_ci95[0] > -margin

    @property
    def worse(self) -> bool:
        """Whether it is shown to be worse than the best."""
        return self.difference_ci95[1] < 0


def read(file: Path, score: str, ss3_map: str) -> dict[str, tuple[float, float]]:
    """Correct and labelled residues by chain.

    Args:
        file: A trial's `validation.parquet`.
        score: `q3`, `q8` or `q9`.
        ss3_map: Which Q3, where there are two.
    """
    import pyarrow.parquet as pq

    table = pq.read_table(file)
    column = score if score in table.column_names else f"{score}_{ss3_map}"
    rows = zip(*(table.column(name).to_pylist() for name in ("id", column, "labelled")), strict=True)
    return {name: (float(round(share * count)), float(count)) for name, share, count in rows if count}


def weigh(
    counts: Mapping[int, Mapping[str, tuple[float, float]]], best: int, *, seed: int, resamples: int
) -> dict[int, Weighed]:
    """Score trials and compare each with the best one by a paired bootstrap over chains.

    Args:
        counts: Trial's number -> chain -> correct and labelled residues.
        best: Number of the best trial.
        seed: Of the draws.
        resamples: How many.

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
    rng = np.random.default_rng(seed)
    weights_RN = rng.multinomial(len(chains), np.full(len(chains), 1 / len(chains)), size=resamples).astype(
        float
    )
    found: dict[int, tuple[float, FloatArray]] = {}
    for number, theirs in counts.items():
        matrix_N2 = np.array([theirs[name] for name in chains])
        drawn_R2 = weights_RN @ matrix_N2
        found[number] = float(matrix_N2[:, 0].sum() / matrix_N2[:, 1].sum()), drawn_R2[:, 0] / drawn_R2[:, 1]
    top, top_R = found[best]
    return {
        number: Weighed(score, _interval(drawn_R), score - top, _interval(drawn_R - top_R), len(chains))
        for number, (score, drawn_R) in found.items()
    }


def _interval(values_R: FloatArray) -> Interval:
    low, high = np.quantile(values_R, _LEVELS)
    return float(low), float(high)
