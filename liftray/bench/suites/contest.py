"""What the suites share: sizes, and contestants that run one after the other, each in its own process.

Invariant: all contestants of a suite get the same workload. Flow: suite -> [this] -> competitors -> rows and settings.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

from liftray.bench import competitors
from liftray.bench.bench_report import Row, rate_row
from liftray.bench.process import Child
from liftray.bench.workload import Timing, Workload
from liftray.progress import progress

RATE = "residues/s"
# Too long for a report.
_LONG = ("states",)


@dataclass(frozen=True)
class Sizes(Workload):
    """How much is measured: a workload and what runs it.

    Attributes:
        threads: Of torch, in each process.
        tokens_per_batch: Budget of a batch of our own path.
    """

    threads: int = 1
    tokens_per_batch: int = 4096

    def workload(self) -> Workload:
        """The workload alone."""
        return Workload(**{each.name: getattr(self, each.name) for each in fields(Workload)})


@dataclass(frozen=True)
class Contestant:
    """A program that is measured, with its options.

    Attributes:
        program: One of `competitors.PROGRAMS`.
        options: Further arguments, ready for JSON.
    """

    program: str
    options: dict[str, Any] = field(default_factory=dict)


class Outcome(NamedTuple):
    """The timing of a contestant, and its process."""

    timing: Timing
    child: Child


def hold(suite: str, contestants: Mapping[str, Contestant], sizes: Sizes) -> dict[str, Outcome]:
    """Run the contestants one after the other.

    Args:
        suite: Name of the suite, for the progress line.
        contestants: By the name under which they are reported.
        sizes: The workload that all of them get.
    """
    workload = sizes.workload()
    outcomes = {}
    with progress(f"bench {suite}", len(contestants), "contestants") as advance:
        for name, each in contestants.items():
            measured = competitors.measure(
                each.program, workload, threads=sizes.threads, options=each.options
            )
            outcomes[name] = Outcome(*measured)
            advance()
    return outcomes


def rate(name: str, outcome: Outcome, against: Row | None = None, ceiling: float | None = None) -> Row:
    """A contestant's row, in residues/s."""
    return rate_row(name, outcome.timing.residues, outcome.timing.seconds, RATE, against, ceiling)


def facts(outcomes: Mapping[str, Outcome], sizes: Sizes) -> dict[str, Any]:
    """Further facts about the contestants for the report: seconds of each pass, memory, and their own details."""
    known = bool(sizes.model.weights) and sizes.pretrained
    return {
        "backbone": f"{sizes.model.title}, {'pretrained' if known else 'random'} weights",
        "residues_per_pass": next(iter(outcomes.values())).timing.residues,
        "seconds": {
            name: [round(value, 4) for value in each.timing.seconds] for name, each in outcomes.items()
        },
        "mib_beyond_libraries": {
            name: round(each.child.beyond_bytes / 2**20, 1) for name, each in outcomes.items()
        },
        "details": {
            name: {key: value for key, value in each.timing.details.items() if key not in _LONG}
            for name, each in outcomes.items()
        },
    }
