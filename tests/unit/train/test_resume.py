"""What counts as the same command on a finished run."""

import json
from pathlib import Path
from typing import Any

import pytest

from liftray.train import resume
from liftray.train.prepare import PreparedRun, prepare_run
from tests.parts import tiny


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    root = tmp_path_factory.mktemp("resume")
    return {
        "data__train": {"t": tiny.dataset(root / "t", tiny.chains([30, 60]))},
        "data__valid": {"v": tiny.dataset(root / "v", tiny.chains([30], seed=1))},
        "data__test": {"h": tiny.dataset(root / "h", tiny.chains([50], seed=2))},
        "backbone__source": [tiny.write_backbone(root / "esm")],
    }


def _prepared(parts: dict[str, Any], **overrides: Any) -> PreparedRun:
    return prepare_run(tiny.settings(**{**parts, **overrides}))


def _finish(prepared: PreparedRun, run_dir: Path) -> dict[str, Any]:
    (run_dir / "bundle").mkdir(parents=True)
    summary = {"bundle": str(run_dir / "bundle"), "model_uri": "models:/name/1"}
    (run_dir / resume.SUMMARY).write_text(json.dumps(summary))
    (run_dir / resume.RUN_FILE).write_text(json.dumps({"request": resume.request_digest(prepared)}))
    return summary


def test_a_directory_without_a_finished_run_has_something_to_do(
    parts: dict[str, Any], tmp_path: Path
) -> None:
    assert resume.finished_summary(_prepared(parts), tmp_path / "absent") is None
    summary = _finish(_prepared(parts), tmp_path / "run")
    assert resume.finished_summary(_prepared(parts), tmp_path / "run") == summary
    (tmp_path / "run" / "bundle").rmdir()
    assert resume.finished_summary(_prepared(parts), tmp_path / "run") is None


@pytest.mark.parametrize(
    "overrides",
    [{"scaling__num_workers": 2}, {"zero__stage": 3}, {"cache__dir": "other"}, {"run__ray_address": "auto"}],
)
def test_other_resources_ask_for_the_same_result(
    parts: dict[str, Any], tmp_path: Path, overrides: dict[str, Any]
) -> None:
    summary = _finish(_prepared(parts), tmp_path / "run")
    assert resume.finished_summary(_prepared(parts, **overrides), tmp_path / "run") == summary


@pytest.mark.parametrize(
    "overrides",
    [
        {"train__resume": False},
        {"train__lr": 2e-3},
        {"data__test": {}},
        {"evaluate__baselines": ["majority"]},
        {"registry__name": "other"},
        {"tracking__uri": "sqlite:///other.db"},
    ],
)
def test_another_result_evaluation_or_place_is_something_to_do(
    parts: dict[str, Any], tmp_path: Path, overrides: dict[str, Any]
) -> None:
    _finish(_prepared(parts), tmp_path / "run")
    assert resume.finished_summary(_prepared(parts, **overrides), tmp_path / "run") is None
