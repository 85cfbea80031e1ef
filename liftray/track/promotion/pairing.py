"""Two versions on the same chains: the difference of a pooled accuracy, with its interval.

Invariant: the chain is the unit that is drawn, never the residue; the same evidence gives the same interval.
Pure. Flow: per-chain counts -> [this] -> gates.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from liftray.track.promotion.evidence import ChainScores

RESAMPLES = 2000
_BLOCK = 4_000_000  # draws held at once


def paired(candidate: ChainScores | None, champion: ChainScores | None) -> dict[str, Any] | None:
    """Paired bootstrap over chains of the pooled difference.

    Returns:
        `difference`, `ci95` (percentile interval) and `num_chains`; None where the two cannot be paired:
        results are missing, the chains differ, or there are fewer than two.
    """
    if candidate is None or champion is None or dict(candidate.labelled) != dict(champion.labelled):
        return None
    names = [name for name, count in candidate.labelled.items() if count]
    count = len(names)
    if count < 2:
        return None
    labelled_N = np.array([candidate.labelled[name] for name in names], dtype=np.float64)
    gain_N = np.array([candidate.correct[name] - champion.correct[name] for name in names], dtype=np.float64)
    rng = np.random.default_rng(0)
    drawn: list[npt.NDArray[np.float64]] = []
    for start in range(0, RESAMPLES, max(1, _BLOCK // count)):
        size = min(max(1, _BLOCK // count), RESAMPLES - start)
        drawn_RN = rng.multinomial(count, np.full(count, 1 / count), size=size)
        drawn.append((drawn_RN @ gain_N) / (drawn_RN @ labelled_N))
    low, high = np.quantile(np.concatenate(drawn), (0.025, 0.975))
    difference = float(gain_N.sum() / labelled_N.sum())
    return {"difference": difference, "ci95": [float(low), float(high)], "num_chains": count}
