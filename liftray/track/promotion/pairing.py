"""Two versions on the same chains: the difference of a pooled accuracy, with its interval.

Invariant: the interval is the one that reports give for the same pair (`statistics.paired`). Pure.
Flow: per-chain counts -> [this] -> gates.
"""

from typing import Any

import numpy as np

from liftray.statistics.paired import ChainCounts, compare_counts
from liftray.track.promotion.evidence import ChainScores


def paired(candidate: ChainScores | None, champion: ChainScores | None) -> dict[str, Any] | None:
    """Paired bootstrap over chains of the pooled difference.

    Returns:
        `difference`, `ci95` (percentile interval) and `num_chains`; None where the two cannot be paired:
        results are missing, the chains differ, or there are fewer than two.
    """
    if candidate is None or champion is None or dict(candidate.labelled) != dict(champion.labelled):
        return None
    chains = tuple(name for name, count in candidate.labelled.items() if count)
    if len(chains) < 2:
        return None
    size_N = np.array([candidate.labelled[name] for name in chains], dtype=np.float64)
    ours, theirs = (
        ChainCounts(chains, np.array([[float(scores.correct[name]) for name in chains]]), size_N)
        for scores in (candidate, champion)
    )
    compared = compare_counts(ours, theirs)
    if compared.ci95 is None:
        return None
    return {
        "difference": compared.difference,
        "ci95": list(compared.ci95),
        "num_chains": len(chains),
    }
