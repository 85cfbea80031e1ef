"""What the first version of LiftRay wrote is read by this one: bundles, a checkpoint, a registered version.

`tests/fixtures/first_version` was written by that version's own code; `tests/fixtures/make_first_version.py` shows how.
Tolerance: none for weights and predicted states; 1e-5 for probabilities, which other processors round otherwise.
"""

import hashlib
import json
import lzma
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
import torch

from liftray.config import Settings
from liftray.errors import ConfigError
from liftray.predict import bundle
from liftray.predict.predictor import Predictor
from liftray.search import inprocess
from liftray.track.mlflow import versions
from liftray.track.mlflow.store import process_wide
from liftray.track.promotion import history
from liftray.train import checkpoint
from liftray.train.checkpoint import Checkpoint
from liftray.train.prepare import prepare_run

_FIXTURE = Path(__file__).resolve().parents[1] / "fixtures" / "first_version"
_EXPECTED: dict[str, Any] = json.loads((_FIXTURE / "expected.json").read_text())
_CHAINS = [(str(number), sequence) for number, sequence in enumerate(_EXPECTED["sequences"])]


@pytest.fixture
def first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The fixture in a working directory of its own: bundles name their backbone by a relative path."""
    root = tmp_path / "first"
    shutil.copytree(_FIXTURE, root, ignore=shutil.ignore_patterns("bundles"))
    monkeypatch.chdir(root)
    return root


def _bundle(name: str, root: Path) -> Path:
    directory = root / "bundles" / name
    shutil.copytree(_FIXTURE / "bundles" / name, directory)
    for file in directory.rglob("*.xz"):
        file.with_suffix("").write_bytes(lzma.decompress(file.read_bytes()))
        file.unlink()
    return directory


def _digest(weight: torch.Tensor) -> str:
    return hashlib.sha256(weight.detach().contiguous().numpy().tobytes()).hexdigest()[:16]


@pytest.mark.parametrize("name", sorted(_EXPECTED["bundles"]))
def test_a_bundle_has_the_recorded_weights_and_predictions(name: str, first: Path) -> None:
    directory, expected = _bundle(name, first), _EXPECTED["bundles"][name]
    weights = dict(bundle.load(directory).tagger.named_parameters())
    assert {key: _digest(weights[key]) for key in expected["weights"]} == expected["weights"]
    predicted = list(Predictor.load(directory).predict(_CHAINS))
    assert [one.states for one in predicted] == expected["states"]
    for one, probabilities in zip(predicted, expected["probabilities"], strict=True):
        np.testing.assert_allclose(one.probabilities_LC, probabilities, rtol=0, atol=1e-5)


@pytest.fixture
def run(first: Path) -> Settings:
    """Settings of the first version's run, whose directory holds the checkpoint of its second epoch."""
    return Settings().replace(_EXPECTED["run"]["settings"])


def _resume(settings: Settings) -> Checkpoint:
    return inprocess.fit(prepare_run(settings), Path(settings.run.dir), lambda metrics, state: None)


def test_a_run_resumes_and_takes_the_steps_it_would_have_taken(run: Settings) -> None:
    recorded, done = _EXPECTED["run"]["step_losses"], _EXPECTED["run"]["steps_done"]
    before = checkpoint.newest(Path("run/checkpoints"))
    assert before is not None
    assert before.progress.global_step == done
    ended = _resume(run)
    assert ended.progress.finished
    assert ended.progress.step_losses[:done] == recorded[:done]
    np.testing.assert_allclose(ended.progress.step_losses, recorded, rtol=1e-5)


def test_a_run_with_other_settings_is_refused_as_before(run: Settings) -> None:
    with pytest.raises(ConfigError, match="other settings"):
        _resume(run.replace({"train.lr": 2e-3}))


@pytest.fixture
def store(first: Path) -> str:
    """The first version's MLflow store, with its artifacts, at a place of its own."""
    text = (first / "mlflow.sql").read_text()
    with sqlite3.connect(first / "mlflow.db") as database:
        database.executescript(text.replace("@ROOT@", str(first)))
    for file in (first / "mlartifacts").rglob("MLmodel"):
        file.write_text(file.read_text().replace("@ROOT@", str(first)))
    return f"sqlite:///{first}/mlflow.db"


def test_a_registered_version_is_found_judged_and_predicts(store: str) -> None:
    entries = history.entries("first", uri=store)
    assert [entry["version"] for entry in entries] == [1]
    directory = versions.resolve("models:/first@champion", store)
    states = [one.states for one in Predictor.load(directory).predict(_CHAINS)]
    with process_wide(store):
        model = mlflow.pyfunc.load_model("models:/first/1")
    assert list(model.predict(_EXPECTED["sequences"])["states"]) == states
    table = model.predict([*_EXPECTED["sequences"], "M-V"], params={"probabilities": True})
    assert list(table["error"].notna()) == [False] * len(states) + [True]
