"""A server with MLflow's own users: the right one may do all, a wrong one is refused, and no secret is kept."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from liftray.errors import TrackingError
from liftray.track.mlflow import versions
from liftray.track.mlflow.runs import start_run
from liftray.track.mlflow.store import check
from liftray.track.promotion import history, registry
from liftray.track.promotion.policy import Policy
from tests.parts import tiny
from tests.parts.servers import mlflow_server

pytestmark = pytest.mark.slow

USER, PASSWORD = "keeper", "a-long-secret-4711"
POLICY = Policy.model_validate(
    {
        "floors": {"sov99": None, "f1": {}},
        "calibration": {"max_ece": None},
        "leakage": {"allow_unknown": True},
        "replay": {"required": False},
        "budgets": {"max_latency_s": None},
    }
)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Address and folder of a server that knows one user."""
    pytest.importorskip("flask_wtf", reason="the basic-auth server needs mlflow[auth]")
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "auth.ini").write_text(
        f"[mlflow]\ndefault_permission = READ\ndatabase_uri = sqlite:///{folder}/users.db\n"
        f"admin_username = {USER}\nadmin_password = {PASSWORD}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    environment = {
        "MLFLOW_AUTH_CONFIG_PATH": str(folder / "auth.ini"),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "for-tests-only",
    }
    with mlflow_server(folder, options=["--app-name", "basic-auth"], environment=environment) as server:
        yield server.address, folder


def _bundle(directory: Path, run_id: str) -> Path:
    directory.mkdir()
    save_file({"weight": np.zeros(3, dtype=np.float32)}, directory / "head.safetensors")
    content = {
        "format_version": 1,
        "task": "ss3",
        "ss3_map": "dssp",
        "backbone": {"name": "tiny", "digest": "b1", "licence": "MIT"},
        "data": {"valid": {"small": "d1"}},
        "metrics": {"valid": {"q3": 0.8}},
        "run_id": run_id,
    }
    (directory / "bundle.json").write_text(json.dumps(content))
    return directory


def test_with_a_user_everything_works_and_no_secret_is_stored(
    guarded: tuple[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    address, folder = guarded
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", USER)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
    with start_run(tiny.settings(tracking__uri=address), system_metrics_s=None) as run:
        run.log_dataset("valid", "small", "d1", "/absent")
        versions.register(_bundle(tmp_path / "bundle", run.run_id), run.run_id, address, "guarded")
    promoted = registry.promote("guarded", uri=address, reason="first", policy=POLICY)
    assert promoted["entry"]["who"].startswith(f"{USER}@")
    assert versions.resolve("models:/guarded@champion", address).is_dir()
    shown = "".join(capfd.readouterr())
    assert PASSWORD not in shown
    assert PASSWORD not in json.dumps(history.entries("guarded", uri=address))
    for file in [*(folder / "files").rglob("*"), folder / "server.db", *tmp_path.rglob("*")]:
        assert not file.is_file() or PASSWORD.encode() not in file.read_bytes(), file


@pytest.mark.parametrize(
    "environment", [{}, {"USERNAME": USER, "PASSWORD": "wrong-one"}, {"TOKEN": "not-a-token"}]
)
def test_without_the_right_user_it_is_reported_how_to_name_one(
    guarded: tuple[str, Path], monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]
) -> None:
    for name in ("USERNAME", "PASSWORD", "TOKEN"):
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", value)
    with pytest.raises(TrackingError, match="MLFLOW_TRACKING_USERNAME") as caught:
        check(guarded[0])
    assert "\n" not in str(caught.value)
    assert not any(value in str(caught.value) for value in environment.values() if value != USER)
