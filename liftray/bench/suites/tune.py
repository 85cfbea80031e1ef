"""`tune`: a search over adapter width and cut, wall clock, with the cache that its trials share and without.

Compared: `cached` against `uncached`, in searches an hour: data checks, six trials of three epochs, process starts, and
the evaluation of the best. To reach: 2.5 times. The cached search begins with an empty cache, so its fill is counted.
The ceiling counts blocks alone: what a trial's processes take to start is the same for both and keeps the ratio below.

Invariant: each search is the whole product path in a process, cluster, tracking store and cache directory of its own.
"""

import math
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from liftray.bench import flops, process
from liftray.bench.process import MeasurementFailed
from liftray.bench.report import Row, rate_row
from liftray.bench.suites import contest
from liftray.progress import progress

_UNIT = "searches/h"


@dataclass(frozen=True)
class Sizes(contest.Sizes):
    """How much is measured; a trial has `warmup + repeats` epochs, cuts and widths are those below.

    Attributes:
        cuts: Values of `adapter.skip_layers` that are tried.
        reduction_factors: Values of `adapter.reduction_factor`; all combinations are tried.
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
    """Measure.

    Returns:
        Rows in searches an hour, and what else the figures depend on.
    """
    results: dict[str, list[dict[str, Any]]] = {"uncached": [], "cached": []}
    with progress("bench tune", 2 * sizes.searches, "searches") as advance:
        for _ in range(sizes.searches):
            for name, done in results.items():
                order = {"sizes": asdict(sizes), "cached": name == "cached"}
                done.append(process.run(f"{__name__}:search_once", order, threads=sizes.threads).result)
                advance()
    seconds = {name: [each["seconds"] for each in done] for name, done in results.items()}
    tried = [cut for cut in sizes.cuts for _ in sizes.reduction_factors]
    limit = flops.ceiling_search(
        sizes.model.blocks, tried, sizes.epochs, bottleneck=sizes.kind == "bottleneck"
    )
    uncached = rate_row("uncached", 3600, seconds["uncached"], _UNIT)
    cached = rate_row(
        "cached", 3600, seconds["cached"], _UNIT, uncached, limit if math.isfinite(limit) else None
    )
    return [uncached, cached], {"trials": len(tried), "seconds": seconds, "searched": results}


def search_once(sizes: dict[str, Any], cached: bool) -> dict[str, Any]:
    """Search in this process.

    Args:
        sizes: Fields of `Sizes`.
        cached: Whether the trials share a cache, empty at first.

    Returns:
        `seconds` of the search, those of each trial, and those that its epochs trained.

    Raises:
        MeasurementFailed: A trial did not finish.
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
        raise MeasurementFailed(f"trials of the search ended as {', '.join(sorted(set(states)))}")
    return {
        "seconds": round(seconds, 2),
        "trial_seconds": [round(trial["seconds"], 2) for trial in summary["trials"]],
    }
