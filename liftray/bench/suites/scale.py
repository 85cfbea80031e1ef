"""`scale`: training on several workers of one core each, against one worker.

Compared: Ray Train with 2 workers against 1, full cache, in residues/s. To reach: 85 % of linear, which the last column
tells. Each worker has a batch of the same budget in every global step, so a step of 2 workers is twice as large.

Invariant: every run is the whole product path, Ray Data, Ray Train and DeepSpeed, in a process and cluster of its own.
"""

import os
from dataclasses import dataclass, field
from typing import Any

from liftray.bench.report import Row
from liftray.bench.suites import contest
from liftray.bench.suites.contest import Contestant, hold, rate, told
from liftray.errors import ConfigError


@dataclass(frozen=True)
class Sizes(contest.Sizes):
    """How much is measured.

    Attributes:
        workers: Workers of each run; the first is what the others are held against.
    """

    chains: int = 192
    workers: list[int] = field(default_factory=lambda: [1, 2])

    def __post_init__(self) -> None:
        """Refuse runs that cannot be told from each other, or have no worker."""
        super().__post_init__()
        if not self.workers or min(self.workers) < 1 or len(set(self.workers)) < len(self.workers):
            raise ConfigError(f"workers={self.workers}", remedy="name different counts of at least 1")


def run(sizes: Sizes) -> tuple[list[Row], dict[str, Any]]:
    """Measure.

    Returns:
        Rows in residues/s, and what else the figures depend on.
    """
    options = {"cache": "warm", "tokens_per_batch": sizes.tokens_per_batch}
    contestants = {
        f"workers_{count}": Contestant("ours_with_ray", {**options, "workers": count})
        for count in sizes.workers
    }
    outcomes = hold("scale", contestants, sizes)
    base, *others = zip(sizes.workers, outcomes.items(), strict=True)
    first = rate(*base[1])
    rows = [rate(name, outcome, first, count / base[0]) for count, (name, outcome) in others]
    return [first, *rows], {**told(outcomes, sizes), "cores": len(os.sched_getaffinity(0))}
