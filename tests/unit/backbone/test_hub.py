"""A local server with the hub's protocol, and the real client in a process of its own."""

import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from liftray.backbone.model import Backbone, load
from liftray.backbone.sources import resolve
from liftray.errors import BackboneError

Writer = Callable[..., Backbone]

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SOURCE = f"hf:org/tiny@{COMMIT}"
_ASK = """
import json, sys
from liftray.backbone.sources import resolve
from liftray.errors import BackboneError
from liftray.errors import BackboneError
try:
    found = resolve(sys.argv[1:])
    print(json.dumps({**found.as_dict(), "directory": str(found.directory), "line": found.describe()}))
except BackboneError as error:
    print(json.dumps({"error": str(error)}))
"""


class Hub:
    """One repository `org/tiny` with the tag v1, served over HTTP as the hub does."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.requests: list[str] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                hub.answer(self, body=False)

            def do_GET(self) -> None:
                hub.answer(self, body=True)

            def log_message(self, format: str, *args: object) -> None:
                """Stay silent."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def answer(self, request: BaseHTTPRequestHandler, body: bool) -> None:
        path = request.path.partition("?")[0].replace("/v1", f"/{COMMIT}")
        self.requests.append(f"{request.command} {path}")
        names = sorted(path.name for path in self.directory.iterdir())
        if path == f"/api/models/org/tiny/revision/{COMMIT}":
            siblings = [{"rfilename": name} for name in [*names, "../escaped.txt", "onnx/model.safetensors"]]
            self._send(
                request, json.dumps({"id": "org/tiny", "sha": COMMIT, "siblings": siblings}).encode(), body
            )
            return
        name = path.removeprefix(f"/org/tiny/resolve/{COMMIT}/")
        if name in names:
            self._send(request, (self.directory / name).read_bytes(), body)
        else:
            request.send_response(404)
            request.send_header("X-Error-Code", "RevisionNotFound" if "/tiny/" in path else "RepoNotFound")
            request.send_header("Content-Length", "0")
            request.end_headers()

    def _send(self, request: BaseHTTPRequestHandler, content: bytes, body: bool) -> None:
        request.send_response(200)
        request.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        request.send_header("X-Repo-Commit", COMMIT)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        if body:
            request.wfile.write(content)


@pytest.fixture
def hub(tmp_path: Path, write_checkpoint: Writer) -> Iterator[Hub]:
    write_checkpoint(tmp_path / "repo")
    (tmp_path / "repo" / "modeling_evil.py").write_text("raise SystemExit")
    (tmp_path / "repo" / "README.md").write_text("# tiny")
    standin = Hub(tmp_path / "repo")
    yield standin
    if standin.thread.is_alive():
        standin.stop()


def _ask(hub: Hub, home: Path, *sources: str, **environment: str) -> dict[str, Any]:
    """Resolve in a new process: the client reads its addresses from the environment once."""
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith("HF_") and "proxy" not in key.lower()
    }
    done = subprocess.run(
        [sys.executable, "-c", _ASK, *sources],
        env={**kept, "HF_ENDPOINT": hub.address, "HF_HOME": str(home), **environment},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def test_fetched_once_then_taken_from_the_cache_without_the_hub(tmp_path: Path, hub: Hub) -> None:
    first = _ask(hub, tmp_path / "home", SOURCE)
    assert first["commit"] == COMMIT
    assert first["name"] == "org/tiny"
    assert first["digest"] == resolve([str(tmp_path / "repo")]).digest
    assert sorted(path.name for path in Path(first["directory"]).iterdir()) == [
        "config.json",
        "model.safetensors",
    ]
    asked = len(hub.requests)
    assert _ask(hub, tmp_path / "home", SOURCE)["digest"] == first["digest"]
    assert len(hub.requests) == asked, "a pinned commit in the cache needs no network"
    hub.stop()
    assert _ask(hub, tmp_path / "home", SOURCE)["digest"] == first["digest"]


def test_only_config_vocabulary_and_weights_are_asked_for(tmp_path: Path, hub: Hub) -> None:
    _ask(hub, tmp_path / "home", SOURCE)
    fetched = {line.rpartition("/")[2] for line in hub.requests if "/resolve/" in line}
    assert fetched == {"config.json", "model.safetensors"}
    assert not [line for line in hub.requests if "onnx" in line]


def test_a_tag_is_resolved_to_its_commit_and_survives_offline(tmp_path: Path, hub: Hub) -> None:
    first = _ask(hub, tmp_path / "home", "hf:org/tiny@v1")
    assert first["commit"] == COMMIT
    assert f"at commit {COMMIT[:8]}" in first["line"]
    offline = _ask(hub, tmp_path / "home", "hf:org/tiny@v1", HF_HUB_OFFLINE="1")
    assert (offline["digest"], offline["commit"]) == (first["digest"], COMMIT)
    hub.stop()
    assert _ask(hub, tmp_path / "home", "hf:org/tiny@v1")["digest"] == first["digest"]


def test_unreachable_hub_lets_the_next_source_win_and_is_named(tmp_path: Path, hub: Hub) -> None:
    hub.stop()
    answer = _ask(hub, tmp_path / "home", SOURCE, str(tmp_path / "repo"))
    assert answer["source"] == str(tmp_path / "repo")
    assert answer["not_reachable"] == [{"source": SOURCE, "reason": "Connection refused"}]
    assert f"not reachable: {SOURCE}: Connection refused" in answer["line"]


def test_a_silent_hub_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hub that takes the connection and never answers; only the patience is shortened."""
    monkeypatch.setattr("liftray.backbone.hub._TIMEOUT_S", 0.2)
    monkeypatch.setenv("NO_PROXY", "*")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(BackboneError, match="timed out"):
            resolve([SOURCE])


def test_offline_mode_asks_nothing(tmp_path: Path, hub: Hub) -> None:
    answer = _ask(hub, tmp_path / "home", SOURCE, HF_HUB_OFFLINE="1")
    assert "no backbone source is reachable" in answer["error"]
    assert "offline" in answer["error"].lower()
    assert hub.requests == []


@pytest.mark.parametrize("source", [f"hf:org/other@{COMMIT}", "hf:org/tiny@v9"])
def test_unknown_repository_or_revision_is_not_reachable(tmp_path: Path, hub: Hub, source: str) -> None:
    answer = _ask(hub, tmp_path / "home", source)
    assert "no such repository or revision (HTTP 404)" in answer["error"]


def test_weights_broken_off_in_the_cache_are_fetched_again(tmp_path: Path, hub: Hub) -> None:
    first = _ask(hub, tmp_path / "home", SOURCE)
    weights = Path(first["directory"]) / "model.safetensors"
    weights.resolve().unlink()
    weights.unlink()
    assert _ask(hub, tmp_path / "home", SOURCE)["digest"] == first["digest"]


def test_sharded_and_pickled_repositories(tmp_path: Path, hub: Hub, write_checkpoint: Writer) -> None:
    (tmp_path / "repo" / "model.safetensors").unlink()
    made = write_checkpoint(tmp_path / "repo", form="shards")
    answer = _ask(hub, tmp_path / "shards", SOURCE)
    assert answer["digest"] == resolve([str(tmp_path / "repo")]).digest
    loaded = load(resolve([answer["directory"]]))
    assert all((loaded.state_dict()[name] == tensor).all() for name, tensor in made.state_dict().items())
    for path in (tmp_path / "repo").glob("*.safetensors*"):
        path.unlink()
    write_checkpoint(tmp_path / "repo", form="bin")
    assert _ask(hub, tmp_path / "bin", SOURCE)["digest"] == resolve([str(tmp_path / "repo")]).digest


def test_unsafe_config_from_the_hub_stops_everything(
    tmp_path: Path, hub: Hub, write_checkpoint: Writer
) -> None:
    write_checkpoint(tmp_path / "safe")
    write_checkpoint(tmp_path / "repo", keys={"auto_map": {"AutoModel": "modeling_evil.Model"}})
    answer = _ask(hub, tmp_path / "home", SOURCE, str(tmp_path / "safe"))
    assert "'auto_map' is refused" in answer["error"]


def test_shard_index_from_the_hub_cannot_climb(tmp_path: Path, hub: Hub) -> None:
    (tmp_path / "repo" / "model.safetensors").unlink()
    index = {"weight_map": {"embeddings.word_embeddings.weight": "../escaped.txt"}}
    (tmp_path / "repo" / "model.safetensors.index.json").write_text(json.dumps(index))
    answer = _ask(hub, tmp_path / "home", SOURCE)
    assert "no plain weight file name" in answer["error"]
    assert not [line for line in hub.requests if "escaped" in line]
