"""A bundle that is stored in a real MLflow store is read back unchanged; a changed one is refused."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from liftray.config import Settings
from liftray.errors import BundleError, TrackingError
from liftray.track.mlflow import versions
from liftray.track.mlflow.runs import start_run
from liftray.track.mlflow.store import client
from liftray.track.promotion import registry
from tests.parts.registry_parts import LENIENT, NAME, add_version, files_of, write_bundle


def test_a_version_has_all_that_a_reader_needs(mlflow_uri: str, tmp_path: Path) -> None:
    import mlflow

    made = add_version(mlflow_uri, tmp_path / "a")
    version = client(mlflow_uri).get_model_version(NAME, str(made["version"]))
    assert made["version"] == 1
    assert version.run_id == made["run_id"]
    assert version.status == "READY"
    assert version.aliases == ["candidate"]
    assert version.description.startswith("# LiftRay model, task ss3")
    assert version.tags["liftray.task"] == "ss3"
    assert version.tags["liftray.backbone_digest"] == "b1"
    assert version.tags["liftray.valid_q3"] == "0.800000"
    folder = Path(client(mlflow_uri).get_logged_model(made["model_id"]).artifact_location)
    described = mlflow.models.Model.load(str(folder))
    assert described.signature.params.to_dict()[0]["name"] == "probabilities"
    assert described.signature.inputs.required_input_names() == ["sequence"]
    assert described.signature.inputs.optional_input_names() == ["id"]
    assert [column.name for column in described.signature.outputs.inputs][:4] == [
        "id",
        "sequence",
        "ss",
        "mean_confidence",
    ]
    assert json.loads((folder / "input_example.json").read_text())
    required = (folder / "requirements.txt").read_text()
    assert "liftray==" in required
    assert "+cpu" not in required
    outputs = client(mlflow_uri).get_run(made["run_id"]).outputs.model_outputs
    assert [output.model_id for output in outputs] == [made["model_id"]]


def test_no_stored_file_is_a_pickle(mlflow_uri: str, tmp_path: Path) -> None:
    add_version(mlflow_uri, tmp_path / "a")
    stored = [
        path for path in (Path(mlflow_uri.removeprefix("sqlite:///")).parent).rglob("*") if path.is_file()
    ]
    assert any(path.name == "pyfunc.py" for path in stored)
    for path in stored:
        assert path.suffix not in (".pkl", ".pickle", ".pt", ".bin", ".joblib")
        assert path.suffix == ".db" or not path.read_bytes().startswith(b"\x80"), "the first byte of a pickle"


def test_registering_prints_nothing(
    mlflow_uri: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    add_version(mlflow_uri, tmp_path / "a")
    assert capfd.readouterr() == ("", "")


def test_a_bundle_may_have_any_name(mlflow_uri: str, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "my best model")
    with start_run(Settings().replace({"tracking.uri": mlflow_uri}), system_metrics_s=None) as run:
        made = versions.register(bundle, run.run_id, mlflow_uri, NAME)
    for uri in (made["bundle_uri"], made["model_uri"]):
        assert files_of(versions.resolve(uri, mlflow_uri)) == files_of(bundle)


def test_every_name_of_a_model_gives_the_same_bundle(mlflow_uri: str, tmp_path: Path) -> None:
    made = add_version(mlflow_uri, tmp_path / "a")
    registry.promote(NAME, uri=mlflow_uri, reason="first", policy=LENIENT)
    original = files_of(tmp_path / "a" / "bundle")
    for uri in (
        str(tmp_path / "a" / "bundle"),
        f"runs:/{made['run_id']}/bundle",
        f"models:/{NAME}/1",
        f"models:/{NAME}@candidate",
        f"models:/{NAME}@champion",
    ):
        assert files_of(versions.resolve(uri, mlflow_uri)) == original
    assert versions.locate(f"models:/{NAME}@champion", mlflow_uri) == {"name": NAME, "version": 1}
    assert versions.locate(str(tmp_path), mlflow_uri) == {}


def test_a_directory_resolves_without_mlflow(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    code = (
        "import sys; from liftray.track.mlflow.versions import resolve; resolve(sys.argv[1], 'sqlite:///missing/x.db');"
        "sys.exit('mlflow' in sys.modules)"
    )
    assert (
        subprocess.run([sys.executable, "-c", code, str(bundle)], cwd=tmp_path, check=False).returncode == 0
    )
    assert not (tmp_path / "missing").exists()


@pytest.mark.parametrize(
    "uri",
    [
        "nowhere",
        "models:/",
        "models:/tagger",
        "models:/tagger/0",
        "models:/tagger/../../etc",
        "models:/../tagger/1",
        "models:/tagger/1/../../x",
        "models:/tagger@",
        "models:/%2e%2e/1",
        "runs:/abc/bundle",
        f"runs:/{'0' * 32}/../../bundle",
        f"runs:/{'0' * 32}/other",
    ],
)
def test_an_invalid_model_name_is_refused_before_the_store_is_read(uri: str, tmp_path: Path) -> None:
    store = tmp_path / "mlflow.db"
    with pytest.raises(BundleError, match="models:/NAME@champion"):
        versions.resolve(uri, f"sqlite:///{store}")
    assert not store.exists()


def test_what_is_missing_is_reported_with_what_there_is(mlflow_uri: str, tmp_path: Path) -> None:
    add_version(mlflow_uri, tmp_path / "a")
    for uri, message in (
        ("models:/other/1", f"there are: {NAME}"),
        (f"models:/{NAME}/9", "@candidate, 1"),
        (f"models:/{NAME}@champion", "@candidate, 1"),
    ):
        with pytest.raises(TrackingError, match=message):
            versions.resolve(uri, mlflow_uri)
    with pytest.raises(TrackingError):
        versions.resolve(f"runs:/{'0' * 32}/bundle", mlflow_uri)


def test_a_stored_bundle_that_was_changed_is_refused(mlflow_uri: str, tmp_path: Path) -> None:
    made = add_version(mlflow_uri, tmp_path / "a")
    folder = Path(client(mlflow_uri).get_logged_model(made["model_id"]).artifact_location)
    changed = folder / "artifacts" / "bundle" / "bundle.json"
    changed.write_text(changed.read_text().replace("0.8", "0.9"))
    with pytest.raises(BundleError, match="not the one that was registered"):
        versions.resolve(f"models:/{NAME}/1", mlflow_uri)


def test_links_and_unsafe_formats_are_refused_on_write_and_read(mlflow_uri: str, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    with start_run(Settings().replace({"tracking.uri": mlflow_uri}), system_metrics_s=None) as run:
        pass
    (bundle / "extra.pkl").write_bytes(pickle.dumps(1))
    with pytest.raises(BundleError, match=r"extra\.pkl"):
        versions.register(bundle, run.run_id, mlflow_uri, NAME)
    (bundle / "extra.pkl").unlink()
    (bundle / "secret").symlink_to("/etc/hostname")
    with pytest.raises(BundleError, match="link"):
        versions.resolve(str(bundle), mlflow_uri)
    with pytest.raises(BundleError, match="link"):
        versions.register(bundle, run.run_id, mlflow_uri, NAME)
    assert not client(mlflow_uri).search_registered_models()
    (bundle / "secret").unlink()
    versions.register(bundle, run.run_id, mlflow_uri, "")
    stored = Path(client(mlflow_uri).get_run(run.run_id).info.artifact_uri) / "bundle"
    (stored / "evil.pkl").write_bytes(pickle.dumps(1))
    with pytest.raises(BundleError, match=r"evil\.pkl"):
        versions.resolve(f"runs:/{run.run_id}/bundle", mlflow_uri)


def test_without_a_model_name_only_the_run_has_the_bundle(mlflow_uri: str, tmp_path: Path) -> None:
    with start_run(Settings().replace({"tracking.uri": mlflow_uri}), system_metrics_s=None) as run:
        made = versions.register(write_bundle(tmp_path / "bundle"), run.run_id, mlflow_uri, "")
    assert made == {"run_id": run.run_id, "bundle_uri": f"runs:/{run.run_id}/bundle"}
    assert not client(mlflow_uri).search_registered_models()


def test_a_name_that_mlflow_refuses_is_reported(mlflow_uri: str, tmp_path: Path) -> None:
    with (
        start_run(Settings().replace({"tracking.uri": mlflow_uri}), system_metrics_s=None) as run,
        pytest.raises(TrackingError),
    ):
        versions.register(write_bundle(tmp_path / "bundle"), run.run_id, mlflow_uri, "a/b:c")
