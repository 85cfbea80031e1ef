"""`memory`: peak memory of a training process with a full cache and of one that computes the frozen prefix.

Compared: `cached` with `uncached`, resident memory without interpreter and libraries. The same is measured where the
blocks above the cut recompute their activations in the backward pass (`train.recompute_activations`), which saves
memory: otherwise the activations of a batch, equal for both, are larger than a small backbone. Target: under 50 %. Less
is better here, so the column `ceiling` holds a floor: the share of the backbone's weights above the cut, without
anything else.

Invariant: an earlier process made data, backbone and cache, so that no measured process pays for them.
"""

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from liftray.bench import process
from liftray.bench.bench_report import Row, row
from liftray.bench.process import MeasurementError
from liftray.bench.suites import contest
from liftray.bench.suites.contest import Contestant, Outcome, facts, hold

_WAYS = ("", "_recomputing")


@dataclass(frozen=True)
class Sizes(contest.Sizes):
    """How much is measured."""

    shape: str = "esm2_150m"
    skip_layers: int = 22
    chains: int = 12
    tokens_per_batch: int = 1024
    warmup: int = 0
    repeats: int = 1


def run(sizes: Sizes) -> tuple[list[Row], dict[str, Any]]:
    """Run the measurement.

    Returns:
        Rows in MiB, and the further facts that the figures depend on.
    """
    with tempfile.TemporaryDirectory(prefix="liftray-bench-") as name:
        where = {"tokens_per_batch": sizes.tokens_per_batch, "folder": name}
        order = {"workload": asdict(sizes.workload()), "cache": "warm", **where}
        process.run("liftray.bench.ours:set_up", order, threads=sizes.threads)
        if not any(Path(name).iterdir()):
            raise MeasurementError("the set-up wrote nothing", where=name)
        contestants = {
            f"{name}{way}": Contestant("ours", {"cache": cache, "recompute": bool(way), **where})
            for way in _WAYS
            for name, cache in (("uncached", "off"), ("cached", "warm"))
        }
        outcomes = hold("memory", contestants, sizes)
    rows = []
    for way in _WAYS:
        uncached = row(f"uncached{way}", _beyond(outcomes[f"uncached{way}"]), "MiB")
        cached = _beyond(outcomes[f"cached{way}"])
        rows += [uncached, row(f"cached{way}", cached, "MiB", uncached, share_above(sizes))]
    for name, each in outcomes.items():
        rows.append(row(f"{name}_whole_process", _mib(each.child.peak_bytes), "MiB"))
    rows.append(row("libraries", _mib(outcomes["cached"].child.libraries_bytes), "MiB"))
    return rows, facts(outcomes, sizes)


def share_above(sizes: Sizes) -> float:
    """Weights of the blocks that a cached run holds / weights of all blocks and the embedding.

    A block has `4 D I + 2 D F` weights; norms and biases are not counted.
    """
    shape = sizes.model
    block = 4 * shape.width * shape.inner + 2 * shape.width * shape.feed_forward
    above = shape.blocks - sizes.cut.entry
    return above * block / (shape.blocks * block + shape.config["vocab_size"] * shape.width)


def _beyond(outcome: Outcome) -> float:
    return _mib(outcome.child.beyond_bytes)


def _mib(count: int) -> float:
    return count / 2**20
