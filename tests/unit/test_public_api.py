"""The public functions as a user imports them; what they do is tested in tests/contract/test_api_examples.py."""

import inspect
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import liftray
from liftray import LiftrayError, evaluate, ingest, load, predict, promote, search, train
from liftray.errors import BundleError, ConfigError, DataError, TrackingError

HEAVY = ["torch", "ray", "deepspeed", "mlflow", "adapters", "transformers", "pandas", "pyarrow", "numpy"]


def _modules_after(code: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(' '.join(sys.modules))"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "code",
    [
        "import liftray",
        "from liftray import load, predict, ingest, train, evaluate, search, promote, LiftrayError",
    ],
)
def test_importing_the_public_names_imports_no_heavy_library(code: str) -> None:
    assert _modules_after(code).isdisjoint(HEAVY)


def test_public_names_are_listed() -> None:
    assert set(liftray.__all__) <= set(dir(liftray))
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = liftray.no_such_name  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["evaluate", "predict", "search", "train"])
def test_a_package_and_the_function_of_its_name_are_one_object(name: str) -> None:
    package = import_module(f"liftray.{name}")

    assert getattr(liftray, name) is package
    assert inspect.signature(package) == inspect.signature(getattr(import_module("liftray.api"), name))


def test_a_submodule_of_a_callable_package_can_be_reached_by_attribute() -> None:
    import liftray.train.schedule

    assert liftray.train.schedule.__name__ == "liftray.train.schedule"  # type: ignore[attr-defined]


def test_every_public_function_has_an_example() -> None:
    api = import_module("liftray.api")

    assert all(">>> import liftray" in (inspect.getdoc(getattr(api, name)) or "") for name in api.__all__)


def test_a_missing_model_is_a_bundle_error(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no model"):
        load(tmp_path / "absent")


def test_reading_creates_no_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for uri in ("models:/absent@champion", "models:/absent/1", f"runs:/{'0' * 32}/bundle"):
        with pytest.raises(TrackingError, match="no MLflow store"):
            load(uri)
    with pytest.raises(TrackingError, match="no MLflow store"):
        promote("absent", reason="test")

    assert not list(tmp_path.iterdir())


def test_inputs_are_checked_before_the_model(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        predict("models:/absent@champion", tmp_path / "absent.fasta")
    (tmp_path / "one.fasta").write_text(">a\nMKT\n")
    with pytest.raises(ConfigError, match="unknown format"):
        predict("models:/absent@champion", tmp_path / "one.fasta", tmp_path / "out", formats=["word"])
    with pytest.raises(DataError, match="no data set"):
        evaluate("models:/absent@champion", {"valid": tmp_path / "absent"})


def test_a_mapping_of_sequences_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="in memory"):
        predict(tmp_path / "absent", {"a": "MKT"}, tmp_path / "out")  # type: ignore[call-overload]


def test_config_errors_name_the_key() -> None:
    with pytest.raises(ConfigError, match=r"the overrides: unknown key train\.epoch; did you mean"):
        train("configs/quickstart.yaml", {"train.epoch": 3})
    with pytest.raises(ConfigError, match=r"the overrides: train\.epochs"):
        train("configs/quickstart.yaml", {"train.epochs": 0})
    with pytest.raises(ConfigError, match="is not KEY=VALUE"):
        search({"task": "ss3"}, ["train.epochs"])
    with pytest.raises(ConfigError, match="unknown key trian"):
        train({"trian": {"epochs": 3}})


def test_every_error_of_the_user_is_a_liftray_error(tmp_path: Path) -> None:
    with pytest.raises(LiftrayError):
        ingest(tmp_path / "absent.txt", tmp_path / "out")
