"""What the first version of LiftRay wrote is read by this one: bundles, a checkpoint, a registered version.

`tests/fixtures/first_version` was written by that version's own code; `tests/fixtures/make_first_version.py` shows how.
Tolerance: none for weights and predicted states; 1e-5 for probabilities, which other processors round otherwise.
"""

import hashlib
import json
import lzma
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from liftray.predict import bundle
from liftray.predict.predictor import Predictor

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
