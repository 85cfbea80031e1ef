"""A run with averaged weights validates and keeps the average; an interrupted run ends like an uninterrupted one.

Tolerance: none; the same operations in one process. The engine's part is in test_heads_engine.
"""

from pathlib import Path
from typing import Any

import pytest
import torch

from liftray.adapt.tagger import TaggerSettings
from liftray.data.feed import Feed
from liftray.predict import bundle
from liftray.search import inprocess
from liftray.train import checkpoint, step
from liftray.train.checkpoint import Checkpoint
from liftray.train.prepare import PreparedRun, prepare_run
from tests.parts import tiny

_COUNTED = {"loss__class_weights": "inverse_frequency"}


class _PulledPlugError(Exception):
    """The process that trained is gone."""


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    root = tmp_path_factory.mktemp("averaged")
    return {
        "data__train": {"t": tiny.dataset(root / "t", tiny.chains(range(20, 80, 6), seed=1))},
        "data__valid": {"v": tiny.dataset(root / "v", tiny.chains([40, 25], seed=2))},
        "data__max_length": 100,
        "backbone__source": [tiny.write_backbone(root / "esm")],
        "adapter__skip_layers": 1,
        "adapter__reduction_factor": 8,
        "train__tokens_per_batch": 128,
        "train__micro_batches_per_step": 1,
        "train__lr": 5e-3,
        "train__epochs": 3,
        "train__average": "ema",
        "train__average_decay": 0.8,
    }


def _prepared(parts: dict[str, Any], **overrides: Any) -> PreparedRun:
    return prepare_run(tiny.settings(**{**parts, **overrides}))


def _fit(prepared: PreparedRun, run_dir: Path, stop_after: int | None = None) -> list[Checkpoint]:
    """Train and return the checkpoint of each epoch; stop after `stop_after` epochs where that is given."""
    ends: list[Checkpoint] = []

    def report(metrics: dict[str, Any], state: Checkpoint) -> None:
        ends.append(checkpoint.at_step(run_dir / "checkpoints", state.progress.global_step))
        if len(ends) == stop_after:
            raise _PulledPlugError

    inprocess.fit(prepared, run_dir, report)
    return ends


def _same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def _validation(prepared: PreparedRun, weights: dict[str, torch.Tensor]) -> dict[str, float]:
    """The scores of a model with these weights, counted as the loop counts them, on a model of its own."""
    settings = prepared.settings
    model = bundle.assemble(prepared.backbone, TaggerSettings.of(settings), "float32", weights)
    counts = step.Confusion(settings.task, settings.ss3_map, torch.device("cpu"))
    for batch in Feed(prepared.feed, 0, 1).local_batches(1):
        if batch.split == "valid":
            inputs = step.Inputs.of(batch, torch.device("cpu"))
            with torch.no_grad():
                counts.add(model(*inputs.model), inputs.labels_T, tiny.loss(settings))
    return counts.scores(counts.packed())


def test_what_is_validated_and_kept_is_the_average(parts: dict[str, Any], tmp_path: Path) -> None:
    prepared = _prepared(parts)
    ends = _fit(prepared, tmp_path)
    assert len(ends) == 3
    for epoch, ended in enumerate(ends):
        record = ended.progress.history[epoch]
        scores = _validation(prepared, ended.average)
        assert {name: record[f"valid/{name}"] for name in scores} == scores
        assert record["valid/loss"] != _validation(prepared, ended.weights)["loss"]
        if ended.progress.best_epoch == epoch:
            assert _same(ended.best, ended.average)
    assert not _same(ends[0].average, ends[-1].average)


def test_a_run_without_an_average_keeps_the_weights_themselves(parts: dict[str, Any], tmp_path: Path) -> None:
    prepared = _prepared(
        {name: value for name, value in parts.items() if "average" not in name}, train__epochs=1
    )
    (ended,) = _fit(prepared, tmp_path)
    assert ended.average == {}
    assert _same(ended.best, ended.weights)


@pytest.mark.parametrize("chosen", [{}, _COUNTED], ids=["plain", "counted"])
def test_an_interrupted_run_ends_like_an_uninterrupted_one(
    parts: dict[str, Any], tmp_path: Path, chosen: dict[str, Any]
) -> None:
    straight = _fit(_prepared(parts, **chosen), tmp_path / "straight")[-1]
    broken = _prepared(parts, **chosen, train__checkpoint_steps=2)
    with pytest.raises(_PulledPlugError):
        _fit(broken, tmp_path / "broken", stop_after=2)
    store = tmp_path / "broken" / "checkpoints"
    checkpoint_of_epoch = checkpoint.newest(store)
    assert checkpoint_of_epoch is not None
    # Remove the newest checkpoint: the one that is left is from the middle of the second epoch.
    (store / f"step-{checkpoint_of_epoch.progress.global_step:08d}").rename(tmp_path / "lost")
    left = checkpoint.newest(store)
    assert left is not None
    assert left.progress.step > 0
    resumed = _fit(broken, tmp_path / "broken")[-1]
    assert resumed.progress.step_losses == straight.progress.step_losses
    for name in ("weights", "moments", "best", "average"):
        assert _same(getattr(resumed, name), getattr(straight, name)), name
