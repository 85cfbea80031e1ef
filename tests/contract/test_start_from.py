"""A run that starts from a bundle has its weights at step 0, with or without a cache; another shape is refused."""

from pathlib import Path
from typing import Any

import pytest
import torch

from liftray.config import Settings
from liftray.data.feed import FeedSpec
from liftray.errors import BundleError, ConfigError
from liftray.predict import bundle
from liftray.predict.merge import merge
from liftray.train import train_job
from liftray.train.prepare import PreparedRun, prepare_run
from liftray.train.rank import build_model
from liftray.train.rank_job import RankJob
from tests.parts import tiny

_METHODS: dict[str, dict[str, Any]] = {
    "adapter": {"adapter__reduction_factor": 4, "adapter__skip_layers": 1},
    "mam": {"adapter__kind": "mam", "adapter__prefix_hidden": 0, "adapter__skip_layers": 1},
    "full": {"method": "full", "adapter__skip_layers": 1},
    "features": {"method": "features"},
    "mixed": {"method": "features", "head__mix_blocks": True, "adapter__skip_layers": 1},
}


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    root = tmp_path_factory.mktemp("start")
    return {
        "backbone__source": [tiny.write_backbone(root / "esm")],
        "data__train": {"t": tiny.dataset(root / "t", tiny.chains([30, 40], seed=1))},
        "data__valid": {"v": tiny.dataset(root / "v", tiny.chains([35], seed=2, name="v"))},
        "data__max_length": 100,
    }


def _bundle(settings: Settings, folder: Path) -> dict[str, torch.Tensor]:
    """Write a bundle of weights far from initial ones, and return them."""
    model = build_model(RankJob.of(prepare_run(settings), folder / "run"), None)
    moved = tiny.move(model, 5)
    bundle.save(moved, folder / "bundle", settings.backbone.source, {})
    return {name: weight.detach().clone() for name, weight in moved.trained().items()}


@pytest.mark.parametrize("method", _METHODS)
def test_the_weights_of_the_bundle_are_the_initial_ones(
    method: str, places: dict[str, Any], tmp_path: Path
) -> None:
    settings = tiny.settings(**places, **_METHODS[method])
    weights = _bundle(settings, tmp_path)
    started = settings.replace({"train.start_from": str(tmp_path / "bundle"), "train.seed": 9})
    prepared = prepare_run(started)
    job = RankJob.of(prepared, tmp_path / "second")
    # All nodes see the run's own copy.
    assert job.start is not None
    assert job.start.is_relative_to(tmp_path / "second")
    found = build_model(job, None).trained()
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[name], weights[name]) for name in weights)
    above = build_model(_cached(job, prepared), None).trained()
    assert all(torch.equal(above[name], weights[name]) for name in weights)


def test_a_run_that_starts_again_takes_the_bundle_of_its_settings(
    places: dict[str, Any], tmp_path: Path
) -> None:
    settings = tiny.settings(**places, **_METHODS["features"])
    first, second = tmp_path / "first", tmp_path / "second"
    for folder, seed in ((first, 5), (second, 6)):
        model = tiny.move(build_model(RankJob.of(prepare_run(settings), folder / "run"), None), seed)
        bundle.save(model, folder / "bundle", settings.backbone.source, {})
    run_dir = tmp_path / "run"

    def begun_from(folder: Path) -> bool:
        started = settings.replace({"train.start_from": str(folder / "bundle")})
        job = RankJob.of(prepare_run(started), run_dir)
        weights, given = bundle.trained_weights(job.start), bundle.trained_weights(folder / "bundle")
        return all(torch.equal(weights[name], given[name]) for name in given)

    assert begun_from(first)
    assert begun_from(second)
    (run_dir / "checkpoints").mkdir()
    assert not begun_from(first)  # its checkpoints come from the second


def _cached(job: Any, prepared: PreparedRun) -> Any:
    """The job of a run that reads its frozen prefix from the cache: only the blocks above are loaded."""
    from dataclasses import replace

    feed: FeedSpec = replace(job.feed, prefix=prepared.stored_prefix())
    return replace(job, feed=feed)


@pytest.mark.parametrize(
    ("method", "change", "named"),
    [
        ("adapter", {"adapter.reduction_factor": 8}, "another adapter than"),
        ("adapter", {"head.kind": "conv"}, "another head than"),
        (
            "adapter",
            {"method": "features", "head.kind": "conv"},
            "another method and adapter and head than",
        ),
        ("mixed", {"adapter.skip_layers": 0}, "another adapter than"),
    ],
)
def test_another_shape_is_refused(
    method: str, change: dict[str, Any], named: str, places: dict[str, Any], tmp_path: Path
) -> None:
    settings = tiny.settings(**places, **_METHODS[method])
    _bundle(settings, tmp_path)
    with pytest.raises(ConfigError, match=named):
        prepare_run(settings.replace({"train.start_from": str(tmp_path / "bundle"), **change}))
    with pytest.raises(BundleError, match="no model"):
        prepare_run(settings.replace({"train.start_from": str(tmp_path / "nothing")}))


def test_the_frozen_baseline_of_such_a_run_starts_from_random_weights(
    places: dict[str, Any], tmp_path: Path
) -> None:
    settings = tiny.settings(**places, **_METHODS["adapter"])
    _bundle(settings, tmp_path)
    started = settings.replace({"train.start_from": str(tmp_path / "bundle")})
    assert prepare_run(started).start is not None
    assert prepare_run(train_job.frozen_settings(started)).start is None


def test_an_ensemble_is_refused_and_each_member_is_accepted(places: dict[str, Any], tmp_path: Path) -> None:
    settings = tiny.settings(**places, **_METHODS["features"])
    model = build_model(RankJob.of(prepare_run(settings), tmp_path / "run"), None)
    for seed in (5, 6):
        bundle.save(tiny.move(model, seed), tmp_path / str(seed), settings.backbone.source, {})
    merge([tmp_path / "5", tmp_path / "6"], tmp_path / "merged")
    member = tmp_path / "merged" / "member-2"
    with pytest.raises(BundleError, match=r"an ensemble, not one model.*member-1"):
        prepare_run(settings.replace({"train.start_from": str(tmp_path / "merged")}))
    started = RankJob.of(
        prepare_run(settings.replace({"train.start_from": str(member)})), tmp_path / "second"
    )
    found = build_model(started, None).trained()
    assert all(torch.equal(found[name], weight) for name, weight in model.trained().items())
