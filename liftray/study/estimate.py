"""How long a study will take: predicted from counts before it starts, from its own runs while it runs.

Invariant: costs are counts, in units of one block's forward pass over one residue (as in `bench.flops`). Seconds come
from a rate that was measured on this machine. Flow: plan -> [this] -> preview, board.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from liftray.adapt import parameters
from liftray.backbone.dimensions import Dimensions
from liftray.cache.decide import frozen_rate
from liftray.config import HeadSettings, Settings
from liftray.data import subset
from liftray.data.dataset import ProteinDataset
from liftray.search import sharing
from liftray.search.ledger import ENDED, Ledger, Trial
from liftray.search.space import Overrides, trial_name
from liftray.train.prepare import PreparedRun

# Embedding, a linear head, optimizer and the loop itself, on each residue of training and of validation.
_OVERHEAD = 0.3
# Starting a run and predicting its validation chains, in seconds: most of the time of a small run.
_START_S = 6.0
_PROBE_RESIDUES, _PROBE_CHAIN = 2_000, 250


@dataclass(frozen=True)
class EpochResidues:
    """Residues of an epoch.

    Attributes:
        train: Trained on.
        valid: Scored after it.
        test: Scored once by the final runs of each arm.
    """

    train: int
    valid: int
    test: int = 0


def residues_of(settings: Settings, prepared: PreparedRun) -> EpochResidues:
    """Count residues, those of the chains that the study uses.

    Args:
        settings: The study.
        prepared: A run with all chains.
    """
    study, data, feed = settings.study, settings.data, prepared.feed
    every = int(feed.valid.windows.lengths.sum())
    valid = _residues(data.valid, study.valid_chains, feed.valid.windows.lengths)
    tests = [ProteinDataset.open(path).index().lengths.sum() for path in data.test.values()]
    train = _residues(data.train, study.train_chains, feed.train.windows.lengths)
    return EpochResidues(train, valid, int(sum(tests)) + every - valid)


def _residues(paths: Mapping[str, str], count: int, lengths: npt.NDArray[np.int64]) -> int:
    if not count:
        return int(lengths.sum())
    chosen = subset.first_by_digest(paths, count)
    return sum(len(record.sequence) for records in chosen.values() for record in records)


def cost(prepared: PreparedRun, size: EpochResidues, cached: bool) -> float:
    """The cost of a run at most, in forward passes of one block over one residue.

    Training runs the blocks below the cut forward (not at all where they are cached) and those above forward and
    backward. The backward pass costs two forward passes where only adapters train. It costs four where all weights
    train, whose optimizer steps are expensive (measured with batches of 1,024 tokens on a CPU).

    Args:
        prepared: The run.
        size: Residues of its data.
        cached: Whether the blocks below the cut are read from the cache.
    """
    settings, at = prepared.settings, prepared.cut.entry
    below, above = (0 if cached else at), prepared.backbone.num_blocks - at
    backward = {"features": 0, "adapter": 2, "full": 4}[settings.method] * above
    head = _head(prepared)
    trained = size.train * (below + above + backward + 3 * head + _OVERHEAD)
    return settings.train.epochs * (trained + size.valid * (below + above + head + _OVERHEAD))


def _head(prepared: PreparedRun) -> float:
    """Weights of a head beyond those of a linear one, over those of a block; `_OVERHEAD` covers a linear one."""
    settings = prepared.settings
    size = Dimensions.of(prepared.backbone.family, prepared.backbone.config)
    own, linear = (
        parameters.head_parameters(head, settings.task, size.width, prepared.cut.above)
        for head in (settings.head, HeadSettings(kind="linear"))
    )
    return (own - linear) / size.block


def prediction(residues: int, num_blocks: int) -> float:
    """The cost of predicting, in the same unit."""
    return residues * (num_blocks + _OVERHEAD)


def measure(prepared: PreparedRun) -> float:
    """Forward passes of one block over one residue, a second, by one run on this machine.

    Args:
        prepared: A run with the backbone; its `scaling` chooses the device.
    """
    import torch

    from liftray.backbone import model as backbones

    settings = prepared.settings
    device = "cuda" if settings.scaling.use_gpu and torch.cuda.is_available() else "cpu"
    if device == "cpu":
        torch.set_num_threads(max(1, int(settings.scaling.cpus_per_worker)))
    backbone = backbones.load(prepared.backbone, dtype=settings.backbone.dtype, device=device)
    chains = ["ACDEFGHIKLMNPQRSTVWY" * (_PROBE_CHAIN // 20)] * (_PROBE_RESIDUES // _PROBE_CHAIN)
    return prepared.backbone.num_blocks * frozen_rate(backbone, chains, prepared.backbone.num_blocks, device)


def seconds(costs: Sequence[float], rate: float, at_a_time: int) -> float:
    """Seconds that runs take, so many at a time.

    Args:
        costs: What `cost` returns, one for each run.
        rate: What `measure` returns.
        at_a_time: Runs at a time.
    """
    return sum(one / rate + _START_S for one in costs) / at_a_time


def left_s(costs: Mapping[str, float], trials: Mapping[str, Trial], at_a_time: int) -> float | None:
    """Seconds that a study still takes, estimated from its ended runs; None before the first one ended.

    Args:
        costs: Run's name -> cost, of all its runs.
        trials: Run's name -> its trial, of those that began.
        at_a_time: Runs at a time.
    """
    ended = [name for name in costs if name in trials and trials[name].state in ENDED]
    if not ended:
        return None
    took = sum(trials[name].seconds for name in ended)
    rate = sum(costs[name] for name in ended) / max(took - _START_S * len(ended), 0.1 * took)
    return seconds([one for name, one in costs.items() if name not in ended], max(rate, 1e-9), at_a_time)


def costs(base: Settings, runs: Sequence[Overrides], size: EpochResidues) -> dict[str, float]:
    """Run's name -> cost of each run of a study.

    Args:
        base: The settings of all runs.
        runs: What each run changes.
        size: Residues of the data.
    """
    prepare = sharing.Preparer()
    cached = base.cache.enabled is not False
    return {trial_name(run): cost(prepare(base.replace(run)), size, cached) for run in runs}


def finished(ledger: Ledger) -> dict[str, Trial]:
    """Run's name -> trial, of those that finished."""
    return {trial.name: trial for trial in ledger.trials if trial.state == "finished"}
