import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from liftray.errors import ConfigError
from liftray.track.promotion import hook
from liftray.track.promotion.policy import Hook

MESSAGE = {"name": "model", "version": 3, "action": "promote"}


@pytest.fixture
def receiver() -> Iterator[tuple[str, list[bytes]]]:
    """A web server that keeps what it is sent; /no answers 500, /away redirects."""
    kept: list[bytes] = []

    class Keep(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            kept.append(self.rfile.read(int(self.headers["Content-Length"])))
            code = {"/no": 500, "/away": 302}.get(self.path, 200)
            self.send_response(code)
            if code == 302:
                self.send_header("Location", "/ok")
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Keep)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", kept
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_command_reads_what_happened(tmp_path: Path) -> None:
    code = "import sys, pathlib; pathlib.Path(sys.argv[1]).write_text(sys.stdin.read())"
    outcome = hook.fire(Hook(command=[sys.executable, "-c", code, str(tmp_path / "message")]), MESSAGE)
    assert outcome == {"command": "done"}
    assert json.loads((tmp_path / "message").read_text()) == MESSAGE


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ([sys.executable, "-c", "import sys; print('secret'); sys.exit(4)"], "exit code 4"),
        (["/absent/program"], "cannot run /absent/program"),
        ([sys.executable, "-c", "import threading; threading.Event().wait()"], "no end in 1 s"),
    ],
)
def test_a_command_that_fails_is_told_and_raises_nothing(
    command: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    outcome = hook.fire(Hook(command=command, timeout_s=1), MESSAGE)
    assert outcome["command"].startswith(message)
    shown = capsys.readouterr().err
    assert message in shown
    assert "the promotion is unchanged" in shown
    assert "secret" not in shown


def test_an_address_is_sent_what_happened(
    receiver: tuple[str, list[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    address, kept = receiver
    assert hook.fire(Hook(webhook=f"{address}/ok"), MESSAGE) == {"webhook": "done"}
    monkeypatch.setenv("MY_HOOK", f"{address}/token123")
    assert hook.fire(Hook(webhook_env="MY_HOOK"), MESSAGE) == {"webhook": "done"}
    assert [json.loads(content) for content in kept] == [MESSAGE, MESSAGE]


@pytest.mark.parametrize(("path", "message"), [("/no", "answer 500"), ("/away", "answer 302")])
def test_an_address_that_refuses_is_told_without_being_shown(
    receiver: tuple[str, list[bytes]], capsys: pytest.CaptureFixture[str], path: str, message: str
) -> None:
    address, kept = receiver
    assert hook.fire(Hook(webhook=f"{address}{path}"), MESSAGE) == {"webhook": message}
    assert len(kept) == 1, "a redirect is not followed"
    shown = capsys.readouterr().err
    assert message in shown
    assert address not in shown


def test_what_cannot_be_called_is_refused_before_anything_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MY_HOOK", raising=False)
    for bad in (Hook(webhook_env="MY_HOOK"), Hook(webhook="file:///etc/passwd"), Hook(webhook="http://")):
        with pytest.raises(ConfigError):
            hook.check(bad)
    hook.check(Hook())


def test_without_a_hook_nothing_happens(capsys: pytest.CaptureFixture[str]) -> None:
    assert hook.fire(Hook(), MESSAGE) == {}
    assert capsys.readouterr().err == ""
