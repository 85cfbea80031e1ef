"""Filling the frozen-prefix cache over Ray Data, and training that reads it, by whole jobs."""

from pathlib import Path
from typing import Any

import pytest
import torch

from liftray.cache.store import Store
from liftray.config import Settings
from liftray.train import launch
from liftray.train.checkpoint import Checkpoint
from liftray.train.prepare import prepare_run
from tests.parts import tiny

pytestmark = [
    pytest.mark.slow,
    pytest.mark.distributed,
    pytest.mark.timeout(1500),
    pytest.mark.usefixtures("ray_cluster"),
]


def _settings(parts: dict[str, Any], root: Path, **overrides: Any) -> Settings:
    return tiny.settings(**{**parts, "cache__enabled": True, "cache__dir": str(root / "cache"), **overrides})


def _fit(chosen: Settings, run_dir: Path) -> Checkpoint:
    return launch.fit(prepare_run(chosen), run_dir, [])


def _rows(root: Path) -> dict[str, bytes]:
    """Shard files and their contents."""
    return {str(path): path.read_bytes() for path in (root / "cache").rglob("*.rows")}


def test_two_workers_that_read_a_cache_take_the_steps_of_two_that_compute(
    parts: dict[str, Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    two = {"scaling__num_workers": 2, "train__epochs": 2}
    computed = _fit(_settings(parts, tmp_path, cache__enabled=False, **two), tmp_path / "computed")
    read = _fit(_settings(parts, tmp_path, **two), tmp_path / "read")
    assert "cache: on: cache.enabled=true" in capfd.readouterr().err
    assert read.progress.step_losses == computed.progress.step_losses
    for name, tensor in computed.weights.items():
        assert torch.equal(read.weights[name], tensor)


def test_a_second_run_fills_only_what_is_new_and_a_deeper_cut_starts_from_it(
    parts: dict[str, Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    short = {"train__epochs": 1}
    _fit(_settings(parts, tmp_path, **short), tmp_path / "one")
    before = _rows(tmp_path)
    more = {
        **parts["data__train"],
        "u": tiny.dataset(tmp_path / "u", tiny.chains([35, 61], seed=11, name="u")),
    }
    capfd.readouterr()
    _fit(_settings(parts, tmp_path, data__train=more, **short), tmp_path / "two")
    assert "cache: block 2: 96 residues" in capfd.readouterr().err
    after = _rows(tmp_path)
    assert before.items() < after.items()
    deeper = {**short, "adapter__skip_layers": 2, "data__train": more}
    chosen = _settings(parts, tmp_path, **deeper)
    stepwise = _fit(chosen, tmp_path / "three")
    direct = _fit(_settings(parts, tmp_path / "direct", **deeper), tmp_path / "direct" / "run")
    assert stepwise.progress.step_losses == direct.progress.step_losses


def test_damaged_entries_are_detected_and_computed_again(
    parts: dict[str, Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    chosen = _settings(parts, tmp_path, train__epochs=1)
    whole = _fit(chosen, tmp_path / "one")
    for path in (tmp_path / "cache").rglob("*.rows"):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    capfd.readouterr()
    again = _fit(chosen, tmp_path / "two")
    assert "damaged entries are computed again" in capfd.readouterr().err
    assert again.progress.step_losses == whole.progress.step_losses


def test_auto_prints_its_reason(
    parts: dict[str, Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    chosen = _settings(parts, tmp_path, cache__enabled="auto", train__epochs=2)
    _fit(chosen, tmp_path / "one")
    assert "2 epochs are predicted to compute the frozen blocks for" in capfd.readouterr().err
    _fit(_settings(parts, tmp_path, train__epochs=1), tmp_path / "fill")
    capfd.readouterr()
    _fit(chosen, tmp_path / "two")
    assert "residues are stored already" in capfd.readouterr().err
    prefix = prepare_run(chosen).stored_prefix()
    assert prefix is not None
    assert Store.open(prefix.root, prefix.key).size().entries > 0
