"""The experiments that are shipped: each is valid, pinned, the paper's, and fits the GPU that it names."""

import re
from pathlib import Path

import pytest
import yaml

from liftray import config
from liftray.backbone import hub
from liftray.bench import fits
from liftray.errors import ConfigError

FOLDER = Path(__file__).resolve().parents[3] / "configs" / "experiment"
PAPER = sorted(path for path in FOLDER.glob("*.yaml") if "base" in yaml.safe_load(path.read_text()))
each_config = pytest.mark.parametrize("path", PAPER, ids=lambda path: path.stem)


def test_all_backbones_have_one() -> None:
    known = {name for name, shape in fits.SHAPES.items() if shape.hub}
    assert {fits.fit(path).shape.name for path in PAPER} == known
    assert {path.stem for path in PAPER} == known


@each_config
def test_it_is_the_papers_and_its_backbone_is_pinned(path: Path) -> None:
    settings, found = config.load(path), fits.fit(path)
    pinned = [hub.parse(source) for source in settings.backbone.source if source.startswith("hf:")]
    assert [each.repo for each in pinned] == [found.shape.hub]
    assert re.fullmatch("[0-9a-f]{40}", pinned[0].revision)
    # Two blocks of three are skipped, as 16 of ProtT5's 24.
    assert settings.adapter.skip_layers * 3 == found.shape.blocks * 2
    assert settings.adapter.reduction_factor == 64
    assert (settings.head.kind, settings.head.temperature) == ("metric", 18)
    assert (settings.task, settings.train.lr, settings.train.weight_decay) == ("ss9", 1e-3, 1e-3)
    assert (settings.train.epochs, settings.train.patience) == (100, 5)
    # 32 chains of 225 residues, as windows of lift_train have on average, with some padding.
    assert settings.train.tokens_per_step == 8192
    assert settings.scaling.use_gpu


@each_config
def test_it_fits_the_gpu_that_it_names(path: Path) -> None:
    found = fits.fit(path)
    assert found.cached <= found.training <= found.most <= found.limit
    assert found.settings.scaling.gpu_memory_gb in fits.GPUS
    # Nor is the GPU named without need: the next smaller one would not do, or the precision would have to be lower.
    assert found.settings.backbone.dtype == "bfloat16" or found.settings.scaling.gpu_memory_gb == min(
        fits.GPUS
    )


def test_the_table_that_is_shipped_is_the_estimates() -> None:
    wanted = fits.table(fits.fit(path) for path in PAPER)
    assert wanted in (FOLDER / "README.md").read_text(), (
        f"put this into configs/experiment/README.md:\n{wanted}"
    )


def test_what_cannot_be_reported_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "own.yaml").write_text("backbone: {source: some/dir}\nscaling: {gpu_memory_gb: 48}\n")
    with pytest.raises(ConfigError, match=r"own\.yaml: no known architecture behind some/dir"):
        fits.fit(tmp_path / "own.yaml")
    assert fits.main([str(FOLDER / "base.yaml")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "base.yaml: names no GPU; set scaling.gpu_memory_gb" in line
