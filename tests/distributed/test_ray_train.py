"""Training through Ray Train: N workers == 1 worker, and a killed run ends with the losses of an uninterrupted one.

Tolerances. Two workers and one sum the same gradients in another order: 1e-4 over 24 steps. A run that resumes from a
checkpoint on the same number of workers does the same operations: none.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from ray import cloudpickle

from liftray.errors import ConfigError, DivergedError
from liftray.train import checkpoint, launch
from liftray.train.checkpoint import Checkpoint
from liftray.train.prepare import prepare_run
from liftray.train.reporter import Reporter, follow
from tests.parts import killer, tiny
from tests.parts.killer import KillOnce

# The controller's process cannot import this module.
cloudpickle.register_pickle_by_value(killer)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.distributed,
    pytest.mark.timeout(1500),
    pytest.mark.usefixtures("ray_cluster"),
]


def _fit(
    parts: dict[str, Any], run_dir: Path, callbacks: list[Any] | None = None, **overrides: Any
) -> Checkpoint:
    chosen = tiny.settings(**{**parts, "run__dir": str(run_dir), **overrides})
    return launch.fit(prepare_run(chosen), run_dir, callbacks or [])


@pytest.fixture(scope="module")
def unbroken_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("unbroken")


@pytest.fixture(scope="module")
def unbroken(ray_cluster: None, parts: dict[str, Any], unbroken_dir: Path) -> Checkpoint:
    """One worker, checkpoints at the ends of epochs only."""
    return _fit(parts, unbroken_dir)


def _same(one: Checkpoint, other: Checkpoint) -> None:
    assert one.progress.step_losses == other.progress.step_losses
    timed = ("train/seconds", "train/residues_per_s", "train/data_wait_share")
    for mine, theirs in zip(one.progress.history, other.progress.history, strict=True):
        assert {k: v for k, v in mine.items() if k not in timed} == {
            k: v for k, v in theirs.items() if k not in timed
        }
    for name in ("weights", "moments", "best"):
        mine, theirs = getattr(one, name), getattr(other, name)
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[key], theirs[key]) for key in mine)


def test_two_workers_take_the_steps_of_one(
    parts: dict[str, Any], unbroken: Checkpoint, tmp_path: Path
) -> None:
    losses = unbroken.progress.step_losses
    assert len(losses) == unbroken.progress.global_step >= 20
    assert sum(losses[-3:]) < 0.97 * sum(losses[:3])
    two = _fit(parts, tmp_path, scaling__num_workers=2)
    assert two.progress.step_losses == pytest.approx(losses, abs=1e-4)
    for mine, theirs in zip(two.progress.history, unbroken.progress.history, strict=True):
        assert mine["valid/loss"] == pytest.approx(theirs["valid/loss"], abs=1e-4)
        # A residue on the border between two states may fall to the other side: 2 of some 250.
        assert mine["valid/q3"] == pytest.approx(theirs["valid/q3"], abs=0.01)


def test_killed_workers_are_replaced_and_the_run_ends_as_if_uninterrupted(
    parts: dict[str, Any], unbroken: Checkpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    killed = tmp_path / "killed.jsonl"
    steps = {"train__checkpoint_steps": 1, "train__keep_checkpoints": 1000}
    with follow(tmp_path / "run", 4, "train", lambda epoch: 6, max_failures=1):
        kept = _fit(
            parts,
            tmp_path / "run",
            [KillOnce(reports=9, record=killed), Reporter("", None, tmp_path / "run")],
            train__max_failures=1,
            **steps,
        )
    records = [json.loads(line) for line in killed.read_text().splitlines()]
    assert records[0]["killed"] == 1
    assert records[1]["met"], "the controller never noticed"
    _same(kept, unbroken)
    shown = capsys.readouterr().err
    assert "train: worker 0 lost (its process was killed or crashed), restart 1 of 1\n" in shown
    assert re.search(r"train: resumed at step \d+ of \d+\n", shown)
    assert _first_step(tmp_path / "run") < records[0]["when_ns"], "the run began again instead of resuming"


def test_a_loss_that_is_no_number_restarts_no_worker(
    parts: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with (
        follow(tmp_path, 4, "train", lambda epoch: 6, max_failures=3),
        pytest.raises(DivergedError, match=r"lower train\.lr=1e\+30"),
    ):
        _fit(parts, tmp_path, [Reporter("", None, tmp_path)], train__lr=1e30, scaling__num_workers=2)
    assert "restart" not in capsys.readouterr().err


def test_a_run_stopped_within_an_epoch_resumes_with_more_workers(
    parts: dict[str, Any], unbroken: Checkpoint, tmp_path: Path
) -> None:
    """The first run allows no failure and ends; the second has two workers and another ZeRO stage."""
    from ray.train import WorkerGroupError

    every_step = {"train__checkpoint_steps": 1, "train__keep_checkpoints": 1000}
    with pytest.raises(WorkerGroupError):
        _fit(
            parts,
            tmp_path / "run",
            [KillOnce(reports=3, record=tmp_path / "killed.jsonl")],
            train__max_failures=0,
            **every_step,
        )
    written = _first_step(tmp_path / "run")
    went_on = _fit(parts, tmp_path / "run", scaling__num_workers=2, zero__stage=3, **every_step)
    assert went_on.progress.step_losses == pytest.approx(unbroken.progress.step_losses, abs=1e-4)
    assert _first_step(tmp_path / "run") == written, "the run began again instead of resuming"


def test_a_finished_run_is_not_trained_again(
    parts: dict[str, Any], unbroken: Checkpoint, unbroken_dir: Path
) -> None:
    before = sorted(path.name for path in (unbroken_dir / "checkpoints").iterdir())
    _same(_fit(parts, unbroken_dir), unbroken)
    assert sorted(path.name for path in (unbroken_dir / "checkpoints").iterdir()) == before


def test_other_settings_in_its_directory_are_refused(
    parts: dict[str, Any], unbroken: Checkpoint, unbroken_dir: Path
) -> None:
    with pytest.raises(ConfigError, match=r"other settings.*train\.resume=false") as caught:
        _fit(parts, unbroken_dir, train__lr=5e-3)
    assert "\n" not in str(caught.value)


def test_without_resume_a_run_starts_from_the_beginning(parts: dict[str, Any], tmp_path: Path) -> None:
    short = {"train__epochs": 1}
    first = _fit(parts, tmp_path, **short)
    other = _fit(parts, tmp_path, train__resume=False, train__seed=1, **short)
    assert other.progress.step_losses != first.progress.step_losses
    assert len(other.progress.history) == 1
    assert len(other.progress.step_losses) == other.progress.global_step == first.progress.global_step


def test_early_stopping_keeps_the_best_weights_and_not_the_last(
    parts: dict[str, Any], tmp_path: Path
) -> None:
    """A learning rate that is too high: validation gets worse after its best epoch."""
    stopped = _fit(parts, tmp_path, train__epochs=30, train__lr=0.3, train__patience=2, train__grad_clip=0.0)
    progress = stopped.progress
    scores = [record["valid/q3"] for record in progress.history]
    best = scores.index(max(scores))
    assert progress.finished
    assert progress.best_epoch == best
    assert progress.best_score == scores[best]
    assert len(scores) == best + 3 < 30
    assert any(not torch.equal(stopped.best[name], stopped.weights[name]) for name in stopped.best)


def test_the_run_directory_holds_no_pickle_and_nothing_of_the_backbone(
    unbroken: Checkpoint, unbroken_dir: Path
) -> None:
    paths = [path for path in unbroken_dir.rglob("*") if path.is_file()]
    # Ray's own marker files have no suffix and no content.
    assert {path.suffix for path in paths if path.stat().st_size} == {".json", ".jsonl", ".safetensors"}
    stored = sorted((unbroken_dir / "checkpoints").glob("step-*/"))
    assert 1 <= len(stored) <= 2  # train.keep_checkpoints
    trained = sum(tensor.numel() for tensor in unbroken.weights.values())
    for directory in stored:
        checkpoint.load(directory)
        tensors = sum(path.stat().st_size for path in directory.glob("*.safetensors"))
        assert (
            4 * 4 * trained <= tensors <= 4 * 4 * trained + 16384
        )  # weights, best, two moments, and headers


def _first_step(run_dir: Path) -> int:
    """When the checkpoint of the first global step was written: a run that began again would write it again."""
    return (run_dir / "checkpoints" / "step-00000001" / "state.json").stat().st_mtime_ns
