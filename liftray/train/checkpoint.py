"""Checkpoints of the trained parameters: safetensors and JSON, nothing of the backbone, no pickle.

Invariant: a checkpoint is whole or refused: it appears under its name in one move, and `state.json` holds the sha256
of every other file and its own seal. Flow: worker -> [this] -> a store that all nodes share -> a resumed worker, or the
bundle.

It holds the current weights with Adam's moments (and their average where the run has one): training resumes from these.
It also holds the best weights so far, which are the result. So the newest checkpoint alone is enough to finish a run.
Any number of workers and any ZeRO stage can read it.

2026-11-23: the store is ours, not Ray Train's. Ray records a checkpoint in a separate file some moments after it has
written the checkpoint. A driver killed between the two resumed from an older checkpoint, or from the start.
"""

import logging
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from liftray import files, sealed
from liftray.errors import DataError

_STATE = "state.json"
_TENSORS = ("weights", "moments", "best")
_AVERAGE = "average"  # only where there is one
_NAME = "step-{:08d}"
_log = logging.getLogger(__name__)


@dataclass
class Progress:
    """The progress of a run.

    Attributes:
        epoch: Next epoch, from 0.
        step: Next global step of that epoch, from 0.
        global_step: Optimizer steps taken.
        best_score: Best validation score so far.
        best_epoch: Epoch it was reached in; -1 before the first.
        history: One record for each finished epoch.
        step_losses: Mean loss of every global step taken.
        epoch_seconds: Training time spent in the unfinished epoch.
        finished: Whether the run has ended.
        config_digest: Digest of the settings that a resumed run must share.
    """

    epoch: int = 0
    step: int = 0
    global_step: int = 0
    best_score: float = -1.0
    best_epoch: int = -1
    history: list[dict[str, Any]] = field(default_factory=list)
    step_losses: list[float] = field(default_factory=list)
    epoch_seconds: float = 0.0
    finished: bool = False
    config_digest: str = ""


@dataclass
class Checkpoint:
    """A checkpoint in memory.

    Attributes:
        progress: The progress of the run.
        weights: Trained weights by name, float32.
        moments: Adam's moments by `NAME/exp_avg` and `NAME/exp_avg_sq`.
        best: Trained weights of the best epoch so far; averaged ones where the run has an average.
        average: The running average of the trained weights; empty where the run has none.
    """

    progress: Progress
    weights: dict[str, Tensor]
    moments: dict[str, Tensor]
    best: dict[str, Tensor]
    average: dict[str, Tensor] = field(default_factory=dict)


def save(checkpoint: Checkpoint, directory: Path) -> None:
    """Write a checkpoint into an empty directory."""
    names = [*_TENSORS, _AVERAGE] if checkpoint.average else _TENSORS
    for name in names:
        tensors = {key: value.contiguous() for key, value in getattr(checkpoint, name).items()}
        save_file(tensors, directory / _file(name))
    digests = {_file(name): files.sha256_file(directory / _file(name)) for name in names}
    sealed.write_json(directory / _STATE, {"progress": asdict(checkpoint.progress), "sha256": digests})


def load(directory: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        DataError: A file is missing or its bytes are not those that were written.
    """
    try:
        state = sealed.read_json(directory / _STATE)
        progress, written = Progress(**state["progress"]), dict(state["sha256"])
        _check_kinds(progress)
        names = [*_TENSORS, _AVERAGE] if _file(_AVERAGE) in written else _TENSORS
        digests = {name: files.sha256_file(directory / _file(name)) for name in names}
    except DataError as error:
        raise _damaged(directory, f"{_STATE}: {error.what}") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(directory, str(error)) from error
    for name in names:
        if digests[name] != written.get(_file(name)):
            raise _damaged(directory, f"{_file(name)} has changed since it was written")
    try:
        tensors = {name: load_file(directory / _file(name)) for name in names}
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        raise _damaged(directory, str(error)) from error
    return Checkpoint(progress=progress, **tensors)


def commit(checkpoint: Checkpoint, store: Path, keep: int) -> None:
    """Add a checkpoint to a store and remove all but the newest ones; one process at a time may do this.

    Args:
        checkpoint: What to add; it takes the place of one of the same global step.
        store: The run's directory of checkpoints.
        keep: Checkpoints to keep.
    """
    files.make_directories(store)
    files.sweep(store)
    with files.new_directory(store / _NAME.format(checkpoint.progress.global_step)) as fresh:
        save(checkpoint, fresh)
    for old in _stored(store)[keep:]:
        files.remove_directory(old)


def newest(store: Path) -> Checkpoint | None:
    """The newest whole checkpoint of a store; damaged ones are ignored with a warning.

    Raises:
        DataError: There are checkpoints, and all are damaged.
    """
    failure = None
    for directory in _stored(store):
        try:
            return load(directory)
        except DataError as error:
            _log.warning("%s; trying an older one", error)
            failure = error
    if failure is not None:
        raise failure
    return None


def at_step(store: Path, global_step: int) -> Checkpoint:
    """The checkpoint of one global step.

    Raises:
        DataError: It is missing or damaged.
    """
    return load(store / _NAME.format(global_step))


def _check_kinds(progress: Progress) -> None:
    """Refuse values of other types than the ones that are written; a whole number may stand for a real one.

    Raises:
        TypeError: A value has another type.
    """
    for name, example in asdict(Progress()).items():
        value = getattr(progress, name)
        allowed = (int, float) if isinstance(example, float) else (type(example),)
        if type(value) not in allowed:
            raise TypeError(f"progress.{name} is {value!r:.40}")


def _file(name: str) -> str:
    return f"{name}.safetensors"


def _stored(store: Path) -> list[Path]:
    """Newest first: names sort as their steps do."""
    return sorted(store.glob("step-*"), reverse=True)


def _damaged(directory: Path, why: str) -> DataError:
    return DataError(
        f"damaged checkpoint ({why})",
        where=str(directory),
        remedy="remove it, or start again with train.resume=false",
    )
