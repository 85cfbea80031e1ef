"""Whenever a run dies while it commits a checkpoint, the store gives the old one or the new one, whole."""

from pathlib import Path

import pytest
import torch

from liftray import files
from liftray.train import checkpoint
from liftray.train.checkpoint import Checkpoint, Progress
from tests.parts import crash


def made(step: int, value: float) -> Checkpoint:
    tensors = {"a": torch.full((3, 2), value), "b": torch.arange(5.0)}
    moments = {
        f"{name}/{kind}": tensor * 2 for name, tensor in tensors.items() for kind in ("exp_avg", "exp_avg_sq")
    }
    return Checkpoint(Progress(global_step=step, best_score=value), tensors, moments, tensors)


def value_of(store: Path) -> tuple[int, float] | None:
    """Step and value of the newest checkpoint, every tensor of it checked."""
    found = checkpoint.newest(store)
    if found is None:
        return None
    step, value = found.progress.global_step, found.progress.best_score
    expected = made(step, value)
    for name in ("weights", "moments", "best"):
        mine, theirs = getattr(found, name), getattr(expected, name)
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[key], theirs[key]) for key in mine)
    return step, value


@pytest.mark.parametrize(
    ("before", "new", "keep"),
    [
        pytest.param([], (1, 0.25), 2, id="the first"),
        pytest.param([(1, 0.25)], (2, 0.5), 2, id="one more"),
        pytest.param([(1, 0.25)], (1, 0.5), 2, id="in the place of one of the same step"),
    ],
)
def test_every_crash_leaves_the_old_or_the_new_checkpoint(
    before: list[tuple[int, float]],
    new: tuple[int, float],
    keep: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    live = tmp_path / "live"
    live.mkdir()
    for step, value in before:
        checkpoint.commit(made(step, value), live / "store", keep)
    disk = crash.RecordingDisk(live)
    monkeypatch.setattr(files, "DISK", disk)
    checkpoint.commit(made(*new), live / "store", keep)
    monkeypatch.setattr(files, "DISK", files.Disk())

    old = before[-1] if before else None
    found = []
    for label, place in crash.states(disk.log, tmp_path / "states"):
        found.append(value_of(place / "store"))
        assert found[-1] in (old, new), label
        # The next commit works, and removes what the crash left.
        checkpoint.commit(made(7, 0.75), place / "store", keep)
        assert value_of(place / "store") == (7, 0.75), label
        assert all(path.name.startswith("step-") for path in (place / "store").iterdir()), label
    assert len(found) > 20
    assert old in found
    assert new in found
