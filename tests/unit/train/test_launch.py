"""Whatever the user can have got wrong is found before anything starts, in one line with the remedy."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from liftray import sealed
from liftray.config import Settings
from liftray.errors import BackboneError, ConfigError, DataError, LiftrayError
from liftray.train import batch_report, checkpoint, launch
from liftray.train.checkpoint import Checkpoint, Progress
from liftray.train.prepare import prepare_run
from liftray.train.rank_job import RankJob
from tests.parts import tiny


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    root = tmp_path_factory.mktemp("launch")
    return {
        "data__train": {"t": tiny.dataset(root / "t", tiny.chains([30, 200, 40]))},
        "data__valid": {"v": tiny.dataset(root / "v", tiny.chains([30, 50], seed=1))},
        "backbone__source": [tiny.write_backbone(root / "esm")],
    }


def _settings(parts: dict[str, Any], **overrides: Any) -> Settings:
    return tiny.settings(**{**parts, **overrides})


def test_a_good_run_is_ready(parts: dict[str, Any]) -> None:
    prepared = prepare_run(_settings(parts))
    assert prepared.backbone.num_blocks == tiny.BLOCKS
    assert prepared.feed.train.windows.lengths.sum() == 270
    assert prepared.feed.valid.windows.lengths.tolist() == [30, 50]


@pytest.mark.parametrize(
    ("overrides", "kind", "message"),
    [
        ({"data__train": {}}, ConfigError, "data.train names no data set"),
        ({"data__valid": {}}, ConfigError, "data.valid names no data set"),
        ({"data__train": {"t": "/absent/set"}}, DataError, "/absent/set"),
        ({"data__test": {"t": "/absent/set"}}, DataError, "/absent/set"),
        ({"task": "ss9"}, DataError, "cannot be mapped up"),
        ({"train__tokens_per_batch": 512}, ConfigError, "data.max_length=511"),
        ({"adapter__skip_layers": tiny.BLOCKS}, ConfigError, "choose 0 to 2"),
        ({"backbone__source": ["/absent/model"]}, BackboneError, "no backbone source is reachable"),
    ],
)
def test_what_is_wrong_is_reported_in_one_line(
    parts: dict[str, Any], overrides: dict[str, Any], kind: type[LiftrayError], message: str
) -> None:
    with pytest.raises(kind, match=message) as caught:
        prepare_run(_settings(parts, **overrides))
    assert "\n" not in str(caught.value)
    assert caught.value.remedy
    assert caught.value.exit_code == 2


def test_features_need_no_block_to_adapt(parts: dict[str, Any]) -> None:
    prepare_run(_settings(parts, method="features", adapter__skip_layers=99))


def test_a_frozen_mix_of_blocks_needs_blocks_above_the_cut(parts: dict[str, Any]) -> None:
    mixed = {"method": "features", "head__mix_blocks": True}
    prepare_run(_settings(parts, **mixed, adapter__skip_layers=2))
    with pytest.raises(ConfigError, match="choose 0 to 2"):
        prepare_run(_settings(parts, **mixed, adapter__skip_layers=3))


def test_a_frozen_mix_reads_the_cache_of_a_bottleneck_of_the_same_cut(
    parts: dict[str, Any], tmp_path: Path
) -> None:
    shared = {"adapter__skip_layers": 1, "cache__dir": str(tmp_path)}
    mixed, adapted, plain = (
        prepare_run(_settings(parts, **shared, **chosen)).stored_prefix()
        for chosen in (
            {"method": "features", "head__mix_blocks": True},
            {"head__mix_blocks": True},
            {"method": "features"},
        )
    )
    assert mixed is not None
    assert adapted is not None
    assert plain is not None
    assert mixed.key == adapted.key
    assert (mixed.block, plain.block) == (2, tiny.BLOCKS)


def test_states_that_cannot_be_counted_are_reported_before_anything_starts(
    parts: dict[str, Any], tmp_path: Path
) -> None:
    path = Path(tiny.dataset(tmp_path, tiny.chains([30])))
    info = json.loads((path / "dataset.json").read_text())
    del info["label_histogram"]
    sealed.write_json(path / "dataset.json", info)
    data = {"data__train": {"t": str(path)}}
    prepare_run(_settings(parts, **data))
    with pytest.raises(DataError, match="label histogram"):
        prepare_run(_settings(parts, **data, loss__class_weights="inverse_sqrt"))


@pytest.mark.parametrize(
    "overrides",
    [
        {"scaling__num_workers": 2},
        {"zero__stage": 3},
        {"train__resume": False},
        {"train__checkpoint_steps": 1},
        {"train__keep_checkpoints": 7},
        {"run__dir": "elsewhere"},
        {"tracking__experiment": "other"},
    ],
)
def test_how_a_run_is_kept_may_change_on_resume(parts: dict[str, Any], overrides: dict[str, Any]) -> None:
    assert _digest(_settings(parts, **overrides)) == _digest(_settings(parts))


@pytest.mark.parametrize(
    "overrides",
    [
        {"train__lr": 2e-3},
        {"train__epochs": 3},
        {"train__seed": 1},
        {"train__micro_batches_per_step": 3},
        {"adapter__reduction_factor": 8},
        {"head__kind": "conv"},
        {"head__kind": "metric", "head__temperature": 9},
        {"head__mix_blocks": True},
        {"loss__label_smoothing": 0.1},
        {"loss__class_weights": "inverse_sqrt"},
        {"train__average": "ema"},
        {"method": "features"},
        {"data__max_length": 100},
        {"backbone__dtype": "bfloat16"},
    ],
)
def test_what_a_run_computes_may_not(parts: dict[str, Any], overrides: dict[str, Any]) -> None:
    assert _digest(_settings(parts, **overrides)) != _digest(_settings(parts))


def test_other_data_or_another_backbone_is_another_run(parts: dict[str, Any], tmp_path: Path) -> None:
    data = {"t": tiny.dataset(tmp_path / "t", tiny.chains([30, 200, 40], seed=9))}
    assert _digest(_settings(parts, data__train=data)) != _digest(_settings(parts))
    source = [tiny.write_backbone(tmp_path / "esm", seed=2)]
    assert _digest(_settings(parts, backbone__source=source)) != _digest(_settings(parts))


def test_a_directory_of_another_run_is_refused_before_ray_is_asked(
    parts: dict[str, Any], tmp_path: Path
) -> None:
    _store(tmp_path, Progress(config_digest="other"))
    with pytest.raises(ConfigError, match=r"other settings.*train\.resume=false") as caught:
        launch.fit(prepare_run(_settings(parts)), tmp_path, [])
    assert "\n" not in str(caught.value)


def test_an_ended_run_gives_its_last_checkpoint(parts: dict[str, Any], tmp_path: Path) -> None:
    digest = _digest(_settings(parts))
    _store(tmp_path, Progress(config_digest=digest, global_step=3))
    _store(tmp_path, Progress(config_digest=digest, global_step=4, finished=True))
    ended = launch.fit(prepare_run(_settings(parts)), tmp_path, [])
    assert ended.progress.global_step == 4


def _store(run_dir: Path, progress: Progress) -> None:
    one = {"a": torch.zeros(1)}
    checkpoint.commit(Checkpoint(progress, one, one, one), run_dir / "checkpoints", keep=9)


def _digest(settings: Settings) -> str:
    return RankJob.of(prepare_run(settings), Path()).config_digest


def test_a_step_in_tokens_has_the_same_chains_on_any_number_of_workers(parts: dict[str, Any]) -> None:
    one, four = (
        prepare_run(
            _settings(
                parts,
                data__max_length=60,
                train__micro_batches_per_step=4,
                train__tokens_per_step=400,
                scaling__num_workers=workers,
            )
        )
        for workers in (1, 4)
    )
    assert (one.feed.turns(1), four.feed.turns(4)) == (1, 1)
    assert one.digest == four.digest
    ours, theirs = one.feed.plan(1), four.feed.plan(1)
    assert (ours.per_step, theirs.per_step) == (1, 4)
    assert ours.num_steps == theirs.num_steps
    for number in range(ours.num_steps):
        assert sorted(ours.step(number).tolist()) == sorted(theirs.step(number).tolist())


def test_workers_without_work_are_reported_with_the_setting_that_gives_them_some(
    parts: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = {"train__tokens_per_batch": 600, "train__micro_batches_per_step": 1}
    batch_report.report(prepare_run(_settings(parts, **chosen, scaling__num_workers=4)))
    first, second = capsys.readouterr().err.splitlines()
    assert "4 workers x 1 micro-batch of up to 600 tokens; workers are idle" in first
    assert "3 of 4 workers have nothing to do in any step" in second
    assert "set train.tokens_per_step=600" in second
