"""While a job runs, stderr holds its own lines; what libraries write is in a log that the user is shown."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("from C++", "from Python", "from logging", "from print", "from a child")


@pytest.fixture
def run(tmp_path: Path):
    """Runs a job with a body; its temporary files go to the folder `temporary`."""

    def start(body: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        path = tmp_path / "some.py"
        body = body.replace("\n", "\n    ")
        path.write_text(
            '"""Do one thing."""\n'
            "import logging, os, signal, subprocess, sys, warnings\nfrom pathlib import Path\n"
            "from liftray.cli import job\nfrom liftray.errors import ConfigError, LiftrayError\n"
            "from liftray.library_log import keep_in\nfrom liftray.progress import show_line\n\n"
            "def noise():\n"
            "    os.write(2, b'from C++\\n')\n"
            "    warnings.warn('from Python')\n"
            "    logging.getLogger('some.library').warning('from logging')\n"
            "    print('from print', file=sys.stderr)\n"
            "    subprocess.run(['sh', '-c', 'echo from a child >&2'], check=True)\n\n"
            f"@job\ndef main():\n    {body}\n"
            "main()\n"
        )
        (tmp_path / "temporary").mkdir(exist_ok=True)
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path / "temporary")}
        return subprocess.run(
            [sys.executable, str(path), *arguments],
            capture_output=True, text=True, cwd=tmp_path, env=environment,
        )  # fmt: skip

    return start


def _left(tmp_path: Path) -> list[str]:
    return [path.read_text() for path in (tmp_path / "temporary").iterdir()]


def _untimed(stderr: str) -> list[str]:
    return [re.sub(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ", "", line) for line in stderr.splitlines()]


def test_a_run_directory_keeps_the_log_and_the_user_is_shown_where_once(run, tmp_path: Path) -> None:
    body = (
        "show_line('first')\nnoise()\nkeep_in(Path('run/logs/train.log'))\n"
        "keep_in(Path('other/train.log'))\nshow_line('second')\nnoise()"
    )
    done = run(body)
    assert done.returncode == 0
    assert _untimed(done.stderr) == ["first", "log: run/logs/train.log", "second"]
    log = (tmp_path / "run/logs/train.log").read_text()
    for source in SOURCES:
        assert log.count(source) >= 2 if source != "from Python" else source in log
    assert log.index("first") < log.index("from C++") < log.index("second")
    assert _left(tmp_path) == []
    assert not (tmp_path / "other").exists()
    run(body)
    assert (tmp_path / "run/logs/train.log").read_text().startswith(log), "a second run appends"


def test_lines_outside_a_terminal_begin_with_the_time(run) -> None:
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d hello\n", run("show_line('hello')").stderr)


def test_without_a_run_directory_a_log_is_left_only_if_libraries_wrote(run, tmp_path: Path) -> None:
    assert _untimed(run("show_line('hello')").stderr) == ["hello"]
    assert _left(tmp_path) == []
    done = run("noise()")
    (line,) = _untimed(done.stderr)
    path = re.fullmatch(r"log: (\S+/liftray-some-\S+\.log) holds messages of libraries", line)
    assert path is not None
    assert all(source in Path(path[1]).read_text() for source in SOURCES)


def test_the_users_error_is_one_line_and_leaves_no_log(run, tmp_path: Path) -> None:
    done = run("noise()\nraise ConfigError('no such key')")
    assert (done.returncode, done.stderr) == (2, "error: no such key\n")
    assert _left(tmp_path) == []


def test_an_unforeseen_error_names_the_log_that_has_its_traceback(run, tmp_path: Path) -> None:
    done = run("noise()\nraise KeyError('k')")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: KeyError: 'k'; unforeseen: the traceback is in ")
    log = Path(done.stderr.split()[-1]).read_text()
    assert "Traceback (most recent call last)" in log
    assert "from C++" in log
    done = run("keep_in(Path('run.log'))\nraise KeyError('k')")
    assert done.stderr.endswith("the traceback is in run.log\n")


def test_the_traceback_of_a_known_failure_is_in_a_kept_log(run, tmp_path: Path) -> None:
    done = run("keep_in(Path('run.log'))\nraise LiftrayError('the disk is full')")
    assert (done.returncode, done.stderr.splitlines()[-1]) == (1, "error: the disk is full")
    assert "Traceback (most recent call last)" in (tmp_path / "run.log").read_text()


def test_our_own_warnings_are_shown(run) -> None:
    done = run("logging.getLogger('liftray.train').warning('damaged %s', 'checkpoint')")
    assert _untimed(done.stderr) == ["warning: damaged checkpoint"]


def test_debug_leaves_everything_on_stderr(run, tmp_path: Path) -> None:
    done = run("show_line('hello')\nnoise()", "--debug")
    assert done.returncode == 0
    assert "hello" in done.stderr.splitlines()
    assert all(source in done.stderr for source in SOURCES)
    assert _left(tmp_path) == []


def test_a_crash_in_native_code_is_seen(run) -> None:
    done = run("os.abort()")
    assert done.returncode == -6
    assert "Fatal Python error: Aborted" in done.stderr


def test_a_log_that_cannot_be_written_stops_nothing(run, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    done = run("keep_in(Path('taken/train.log'))\nnoise()\nshow_line('hello')")
    assert done.returncode == 0
    hello, log = _untimed(done.stderr)
    assert hello == "hello"
    assert log.startswith("log: ")


@pytest.mark.parametrize(
    ("end", "code", "line"),
    [
        ("", 0, None),
        ("raise ConfigError('wrong')", 2, "error: wrong"),
        ("os.kill(os.getpid(), signal.SIGINT)", 130, "error: interrupted"),
    ],
)
def test_a_log_that_was_deleted_hides_no_end_of_a_job(
    run, tmp_path: Path, end: str, code: int, line: str | None
) -> None:
    done = run(f"[path.unlink() for path in Path(os.environ['TMPDIR']).iterdir()]\n{end}")
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert line is None or line in done.stderr


def test_a_job_runs_where_stderr_is_closed(tmp_path: Path) -> None:
    (tmp_path / "some.py").write_text(
        '"""Do one thing."""\nfrom liftray.cli import job\n@job\ndef main():\n    print("done")\nmain()\n'
    )
    command = f"{sys.executable} {tmp_path / 'some.py'} 2>&-"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout) == (0, "done\n")
