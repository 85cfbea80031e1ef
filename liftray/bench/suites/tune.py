"""`tune`: the wall-clock time of a search over adapter width and cut, with and without a cache that its trials share.

Compared: `cached` with `uncached`, in searches an hour: data checks, six trials of three epochs, process starts, and
the evaluation of the best. Target: 2.5 times. The cached search starts with an empty cache, so its fill is counted. The
ceiling counts blocks alone: the start of a trial's processes takes the same time in both and keeps the ratio below it.
`start_*` is the median time from proposal to first step. It is measured for trials that are Ray Train runs with their
own worker groups, and for trials in Tune's processes, which run one trial after another.

Invariant: each search is the whole product path with its own process, cluster, tracking store and cache directory.
"""

import math
import statistics
import tempfile
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from liftray.bench import flops, process
from liftray.bench.bench_report import Row, rate_row, row
from liftray.bench.process import MeasurementError
from liftray.bench.suites import contest
from liftray.progress import progress

_UNIT = "searches/h"


@dataclass(frozen=True)
class Sizes(contest.Sizes):
    """How much is measured; a trial has `warmup + repeats` epochs, cuts and widths are those below.

    Attributes:
        cuts: Values of `adapter.skip_layers`.
        reduction_factors: Values of `adapter.reduction_factor`; all combinations are trials.
        concurrent: Trials at a time.
        searches: Searches of each kind, in turns.
    """

    chains: int = 400
    warmup: int = 0
    repeats: int = 3
    cuts: list[int] = field(default_factory=lambda: [3, 4, 5])
    reduction_factors: list[int] = field(default_factory=lambda: [64, 16])
    concurrent: int = 2
    searches: int = 1

    @property
    def epochs(self) -> int:
        """Epochs of a trial."""
        return self.warmup + self.repeats


def run(sizes: Sizes) -> tuple[list[Row], dict[str, Any]]:
    """Run the measurement.

    Returns:
        Rows in searches an hour, and the further facts that the figures depend on.
    """
    results: dict[str, list[dict[str, Any]]] = {"uncached": [], "cached": []}
    with progress("bench tune", 2 * sizes.searches + 1, "searches") as advance:
        for _ in range(sizes.searches):
            for name, done in results.items():
                done.append(_search(sizes, cached=name == "cached"))
                advance()
        # One width suffices: only the start of these trials is measured.
        grouped = _search(replace(sizes, reduction_factors=sizes.reduction_factors[:1]), in_process=False)
        advance()
    seconds = {name: [each["seconds"] for each in done] for name, done in results.items()}
    tried = [cut for cut in sizes.cuts for _ in sizes.reduction_factors]
    limit = flops.ceiling_search(
        sizes.model.blocks, tried, sizes.epochs, bottleneck=sizes.cut.enters_behind_block
    )
    uncached = rate_row("uncached", 3600, seconds["uncached"], _UNIT)
    cached = rate_row(
        "cached", 3600, seconds["cached"], _UNIT, uncached, limit if math.isfinite(limit) else None
    )
    begun = [start for each in results["cached"] for start in each["start_seconds"]]
    slow = row("start_worker_group", statistics.median(grouped["start_seconds"]), "s")
    fast = row("start_in_process", statistics.median(begun), "s", slow)
    config = {"trials": len(tried), "seconds": seconds, "searched": {**results, "worker_groups": [grouped]}}
    return [uncached, cached, slow, fast], config


def _search(sizes: Sizes, *, cached: bool = True, in_process: bool = True) -> dict[str, Any]:
    order = {"sizes": asdict(sizes), "cached": cached, "in_process": in_process}
    found: dict[str, Any] = process.run(f"{__name__}:search_once", order, threads=sizes.threads).result
    return found


def search_once(sizes: dict[str, Any], cached: bool, in_process: bool) -> dict[str, Any]:
    """Run a search in this process.

    Args:
        sizes: Fields of `Sizes`.
        cached: Whether the trials share a cache, which is empty at first.
        in_process: Whether trials train in Tune's processes, or as Ray Train runs.

    Returns:
        `seconds` of the search, those of each trial, and those from each trial's proposal to its first step.

    Raises:
        MeasurementError: A trial did not finish.
    """
    from liftray.bench import ours
    from liftray.search.tune import search

    chosen = Sizes(**sizes)
    with tempfile.TemporaryDirectory(prefix="liftray-bench-") as name:
        place = Path(name)
        prepared = ours.prepare(
            chosen.workload(),
            place,
            cache="warm" if cached else "off",
            tokens_per_batch=chosen.tokens_per_batch,
        )
        settings = prepared.settings.replace(
            {
                "search.space": {
                    "adapter.reduction_factor": chosen.reduction_factors,
                    "adapter.skip_layers": chosen.cuts,
                },
                "search.max_concurrent": chosen.concurrent,
                "search.in_process": in_process,
                "tracking.uri": f"sqlite:///{place / 'mlflow.db'}",
                "registry.name": "",
                "evaluate.baselines": [],
            }
        )
        start = time.perf_counter()
        summary = search(settings)
        seconds = time.perf_counter() - start
    states = [trial["state"] for trial in summary["trials"]]
    if set(states) != {"finished"}:
        raise MeasurementError(f"trials of the search ended as {', '.join(sorted(set(states)))}")
    return {
        "seconds": round(seconds, 2),
        "trial_seconds": [round(trial["seconds"], 2) for trial in summary["trials"]],
        "start_seconds": [trial["start_s"] for trial in summary["trials"]],
    }
