"""`step`: the cost of orchestration: one training loop with and without Ray Train and Ray Data, on one worker.

Compared: `with_ray` with `without_ray`, both with a full cache, after start-up. Target: 90 %. The row `start_up` is the
time in seconds from the call of Ray Train to the first step; `data_wait` is the largest share of a pass that the worker
waited for its next batch.

Invariant: the code from batch to optimizer is the same; only the source of batches and the place of checkpoints differ.
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
    """Run the measurement.

    Returns:
        Rows in residues/s, start-up in seconds; and the further facts that the figures depend on.
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
