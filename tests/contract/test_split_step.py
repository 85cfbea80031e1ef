"""A global step that is split over workers takes the same optimizer step as one that is whole.

Tolerance: relative 1e-4 on the loss of each step, without dropout. The sums of the gradient are taken in another order,
and Adam divides by their size.
"""

from pathlib import Path
from typing import Any

import pytest

from liftray.search import inprocess
from liftray.train.prepare import PreparedRun, prepare_run
from tests.parts import tiny


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    root = tmp_path_factory.mktemp("split")
    return {
        "data__train": {"t": tiny.dataset(root / "t", tiny.chains(range(20, 98, 4), seed=1))},
        "data__valid": {"v": tiny.dataset(root / "v", tiny.chains([40, 25], seed=2))},
        "data__max_length": 100,
        "backbone__source": [tiny.write_backbone(root / "esm")],
        "adapter__skip_layers": 1,
        "adapter__reduction_factor": 8,
        "head__dropout": 0.0,
        "train__tokens_per_batch": 600,
        "train__tokens_per_step": 540,
        "train__epochs": 2,
    }


def _prepared(parts: dict[str, Any], workers: int, head: str) -> PreparedRun:
    return prepare_run(tiny.settings(**parts, scaling__num_workers=workers, head__kind=head))


@pytest.mark.parametrize("head", ["linear", "lstm"])
def test_a_split_step_trains_like_a_whole_one(parts: dict[str, Any], head: str, tmp_path: Path) -> None:
    losses = []
    for workers in (1, 4):
        prepared = _prepared(parts, workers, head)
        assert prepared.feed.by_length == (head == "lstm")
        # One rank takes the micro-batches of all workers, one after the other.
        assert prepared.feed.turns(1) == workers
        ended = inprocess.fit(prepared, tmp_path / str(workers), lambda metrics, state: None)
        losses.append(ended.progress.step_losses)
    assert len(losses[0]) > 4
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)
