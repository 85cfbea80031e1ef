"""`scale`: training on several workers of one core each, against one worker.

Compared: Ray Train with 2 workers and with 1, full cache, in residues/s. Target: 85 % of linear, as in the last column.
Each worker has a batch of the same budget in every global step, so a step of 2 workers is twice as large. `apart_*` is
the same training in processes that share only the machine: cores that slow each other down by clock, cache or memory
keep these from linear scaling as well. `workers_2_of_apart` is the remaining loss.

Invariant: every run is the whole product path, Ray Data, Ray Train and DeepSpeed, in its own process and cluster.
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
        workers: Workers of each run; the others are compared with the first.
    """

    chains: int = 192
    workers: list[int] = field(default_factory=lambda: [1, 2])

    def __post_init__(self) -> None:
        """Refuse runs with equal numbers of workers, or without a worker."""
        super().__post_init__()
        if not self.workers or min(self.workers) < 1 or len(set(self.workers)) < len(self.workers):
            raise ConfigError(f"workers={self.workers}", remedy="name different counts of at least 1")


def run(sizes: Sizes) -> tuple[list[Row], dict[str, Any]]:
    """Run the measurement.

    Returns:
        Rows in residues/s, and the further facts that the figures depend on.
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
    """The total rate of processes that train at the same time, without Ray and without communication."""

    def one(_: int) -> float:
        timing, _child = competitors.measure("ours", sizes.workload(), threads=sizes.threads, options=options)
        return timing.residues_per_s

    with ThreadPoolExecutor(count) as pool:
        return row(f"apart_{count}", sum(pool.map(one, range(count))), contest.RATE, against, ceiling)
