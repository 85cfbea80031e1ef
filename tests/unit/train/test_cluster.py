"""A Ray address that cannot be used is reported at once, in one line, before anything starts."""

import re
import socket

import pytest
import torch

from liftray.config import Settings
from liftray.errors import ClusterError
from liftray.train import cluster
from tests.parts import tiny


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _check(settings: Settings) -> None:
    cluster.check(settings.run, settings.scaling)


def _refusal(settings: Settings) -> str:
    with pytest.raises(ClusterError) as caught:
        _check(settings)
    assert caught.value.remedy
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 2
    return str(caught.value)


@pytest.mark.parametrize("form", ["127.0.0.1:{}", "ray://127.0.0.1:{}", "localhost:{}"])
def test_an_address_where_nothing_listens(form: str, free_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    address = form.format(free_port)
    assert f"no Ray cluster answers at {address}" in _refusal(tiny.settings(run__ray_address=address))
    monkeypatch.setenv("RAY_ADDRESS", address)
    assert address in _refusal(tiny.settings())
    settings = tiny.settings()
    joined = cluster.connected(settings.run, settings.scaling)
    with pytest.raises(ClusterError, match="no Ray cluster answers"), joined:
        pytest.fail("it connected")


def test_the_address_that_jobs_are_submitted_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:8265")
    assert "ray job submit" in _refusal(tiny.settings())


def test_the_settings_address_wins_over_the_environment(
    free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:8265")
    assert f"127.0.0.1:{free_port}" in _refusal(tiny.settings(run__ray_address=f"127.0.0.1:{free_port}"))


def test_more_gpus_than_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    wanted = torch.cuda.device_count() + 1
    message = _refusal(tiny.settings(scaling__use_gpu=True, scaling__num_workers=wanted))
    assert "scaling.use_gpu=false" in message


@pytest.mark.parametrize(
    ("workers", "cpus", "cores", "warning"),
    [
        (2, 1.0, 2, None),
        (6, 1.0, 2, "num_workers=6 needs 6 CPUs and this machine has 2, .*; scaling.num_workers=2 fits"),
        (2, 1.5, 2, "num_workers=2 needs 3 CPUs and this machine has 2, .*; scaling.num_workers=1 fits"),
        (1, 4.0, 2, "num_workers=1 needs 4 CPUs .*; scaling.cpus_per_worker=2 fits"),
    ],
)
def test_workers_that_crowd_a_machine(workers: int, cpus: float, cores: int, warning: str | None) -> None:
    scaling = tiny.settings(scaling__num_workers=workers, scaling__cpus_per_worker=cpus).scaling
    found = cluster.crowding(scaling, cores)
    assert (found is None) == (warning is None)
    assert warning is None or re.search(warning, str(found))


def test_a_cpu_run_of_its_own_is_warned_of_too_few_cores(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    _check(tiny.settings(scaling__num_workers=1, scaling__cpus_per_worker=1))
    assert capsys.readouterr().err == ""
    _check(tiny.settings(scaling__num_workers=10_000))
    assert capsys.readouterr().err.startswith("warning: scaling.num_workers=10000 needs 10000 CPUs")


@pytest.mark.parametrize("name", ["RAY_TMPDIR", "TMPDIR"])
def test_a_temporary_directory_too_long_for_rays_sockets_is_refused_with_the_remedy(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv(name, "/tmp/" + "ä" * 20)
    with pytest.raises(ClusterError, match=f"{name} has 45 bytes.*leave it 39; set RAY_TMPDIR"):
        _check(tiny.settings())
    monkeypatch.setenv(name, "/tmp/" + "a" * 34)
    _check(tiny.settings())
