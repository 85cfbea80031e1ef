"""`step`: the same training loop with Ray Train and Ray Data and without, on one worker: what the orchestration costs.

Compared: `with_ray` against `without_ray`, both with a full cache, after start-up. To reach: 90 %. The row `start_up`
is the seconds from asking Ray Train for the run to its first step; `data_wait` is the share of a pass that the worker
waited for its next batch, in the worst pass.

Invariant: the code from batch to optimizer is the same; only where batches come from and checkpoints go differs.
"""

from dataclasses import dataclass
from typing import Any

from liftray.bench.bench_report import Row, row
from liftray.bench.suites import contest
from liftray.bench.suites.contest import Contestant, facts, hold, rate


@dataclass(frozen=True)
class Sizes(contest.Sizes):
    """How much is measured."""

    chains: int = 96
    repeats: int = 5


def run(sizes: Sizes) -> tuple[list[Row], dict[str, Any]]:
    """Measure.

    Returns:
        Rows in residues/s, start-up in seconds; and what else the figures depend on.
    """
    options = {"cache": "warm", "tokens_per_batch": sizes.tokens_per_batch}
    contestants = {
        "without_ray": Contestant("ours", options),
        "with_ray": Contestant("ours_with_ray", options),
    }
    outcomes = hold("step", contestants, sizes)
    alone = rate("without_ray", outcomes["without_ray"])
    details = outcomes["with_ray"].timing.details
    rows = [
        alone,
        rate("with_ray", outcomes["with_ray"], alone, 1.0),
        row("start_up", details["start_up_s"], "s"),
        row("data_wait", details["data_wait_share"], "of a pass"),
    ]
    return rows, facts(outcomes, sizes)
