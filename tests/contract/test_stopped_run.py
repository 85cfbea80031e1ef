"""A run that is stopped in the middle of an epoch resumes as if nothing had happened.

Tolerance: none; the same process takes the same steps on the same CPU.
"""

import itertools
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from liftray.data.feed import Feed
from liftray.errors import DivergedError
from liftray.train import checkpoint
from liftray.train.checkpoint import Checkpoint
from liftray.train.prepare import PreparedRun, prepare_run
from liftray.train.rank import join_group_of_one, run_rank
from liftray.train.rank_job import RankJob
from liftray.train.step_log import StepLog
from tests.parts import tiny

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedRun:
    root = tmp_path_factory.mktemp("stopped")
    return prepare_run(
        tiny.settings(
            data__train={"t": tiny.dataset(root / "t", tiny.chains(range(20, 98, 4), seed=1))},
            data__valid={"v": tiny.dataset(root / "v", tiny.chains([40, 25], seed=2))},
            data__max_length=100,
            backbone__source=[tiny.write_backbone(root / "esm")],
            adapter__skip_layers=1,
            head__dropout=0.1,
            train__tokens_per_batch=300,
            train__micro_batches_per_step=1,
            train__epochs=3,
        )
    )


def _run(prepared: PreparedRun, run_dir: Path, stop_at: int | None = None) -> Checkpoint:
    """Train in this process; stop at the reading of this number, from 1."""
    job = RankJob.of(prepared, run_dir)
    readings = itertools.count(1)

    def keep(metrics: dict[str, Any], state: Checkpoint) -> None:
        checkpoint.commit(state, job.store, keep=1)

    join_group_of_one(CPU)
    # A reading at every step.
    log = StepLog(None, every_s=0.0)
    run_rank(job, 0, 1, CPU, Feed.local_batches, keep, log, lambda: next(readings) == stop_at)
    newest = checkpoint.newest(job.store)
    assert newest is not None
    return newest


def test_a_stopped_run_resumes_as_if_nothing_had_happened(prepared: PreparedRun, tmp_path: Path) -> None:
    unbroken = _run(prepared, tmp_path / "unbroken")
    steps = unbroken.progress.global_step // 3
    assert steps >= 4
    # In the middle of an epoch, at its last step, and at the first step of the last epoch.
    for at in (2, steps, 2 * steps + 1):
        run_dir = tmp_path / str(at)
        stopped = _run(prepared, run_dir, stop_at=at)
        assert stopped.progress.global_step == at
        assert not stopped.progress.finished
        resumed = _run(prepared, run_dir)
        assert resumed.progress.finished
        assert resumed.progress.step_losses == unbroken.progress.step_losses
        assert all(torch.equal(resumed.weights[name], unbroken.weights[name]) for name in unbroken.weights)
        assert all(torch.equal(resumed.best[name], unbroken.best[name]) for name in unbroken.best)


def test_a_loss_that_is_no_number_ends_a_run_with_the_setting_to_change(
    prepared: PreparedRun, tmp_path: Path
) -> None:
    diverging = replace(prepared, settings=prepared.settings.replace({"train.lr": 1e30}))
    with pytest.raises(DivergedError, match=r"loss is (nan|inf) at step \d+ of \d+; lower train\.lr=1e\+30"):
        _run(diverging, tmp_path)
    # What a checkpoint holds was trained with finite losses.
    newest = checkpoint.newest(tmp_path / "checkpoints")
    assert newest is None or all(map(math.isfinite, newest.progress.step_losses))
