"""`scale`: training on several workers of one core each, against one worker.

Compared: Ray Train with 2 workers against 1, full cache, in residues/s. To reach: 85 % of linear, which the last column
tells. Each worker has a batch of the same budget in every global step, so a step of 2 workers is twice as large.
`apart_*` is the same training in processes that share nothing but the machine: cores that slow each other down by
clock, cache or memory keep them from linear as well, and `workers_2_of_apart` tells what is lost beside that.

Invariant: every run is the whole product path, Ray Data, Ray Train and DeepSpeed, in a process and cluster of its own.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from liftray.bench import competitors
from liftray.bench.bench_report import Row, row
from liftray.bench.suites import contest
from liftray.bench.suites.contest import Contestant, facts, hold, rate
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
    fewest, *more = sizes.workers
    workers = {fewest: rate(f"workers_{fewest}", outcomes[f"workers_{fewest}"])}
    apart = {fewest: _apart(sizes, fewest, options)}
    shares = []
    for count in more:
        name = f"workers_{count}"
        workers[count] = rate(name, outcomes[name], workers[fewest], count / fewest)
        apart[count] = _apart(sizes, count, options, apart[fewest], count / fewest)
        shares.append(row(f"{name}_of_apart", workers[count].value, contest.RATE, apart[count], 1.0))
    rows = [*workers.values(), *apart.values(), *shares]
    return rows, {**facts(outcomes, sizes), "cores": len(os.sched_getaffinity(0))}


def _apart(
    sizes: Sizes,
    count: int,
    options: dict[str, Any],
    against: Row | None = None,
    ceiling: float | None = None,
) -> Row:
    """The rate of so many processes at once that train without Ray and know nothing of each other."""

    def one(_: int) -> float:
        timing, _child = competitors.measure("ours", sizes.workload(), threads=sizes.threads, options=options)
        return timing.residues_per_s

    with ThreadPoolExecutor(count) as pool:
        return row(f"apart_{count}", sum(pool.map(one, range(count))), contest.RATE, against, ceiling)
