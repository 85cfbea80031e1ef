"""The command line's promises: light imports, exit codes, one line on stderr, help that lists every key."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from liftray import cli, config

ROOT = Path(__file__).resolve().parents[2]
HEAVY = [
    "adapters",
    "deepspeed",
    "mlflow",
    "numpy",
    "pandas",
    "pyarrow",
    "ray",
    "scipy",
    "torch",
    "transformers",
]
MAIN = "from liftray.cli import main; main()"
RESUMES = "error: interrupted; the same command resumes where that is possible\n"


def environment(**extra: str) -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, "COLUMNS": "100", **extra}


def python(*arguments: str, cwd: Path | None = None, **extra: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, cwd=cwd, env=environment(**extra)
    )


def liftray(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return python("-c", MAIN, *arguments, cwd=cwd)


def heavy_after(code: str) -> list[str]:
    done = python("-c", f"import sys, json\n{code}\nprint(json.dumps(sorted(set(sys.modules))))")
    assert done.returncode == 0, done.stderr
    modules = json.loads(done.stdout.splitlines()[-1])
    return [name for name in HEAVY if name in modules]


@pytest.fixture
def job_file(tmp_path: Path):
    """Writes a job whose body is given, and runs it as `python FILE ARGS`."""

    def run(body: str, *arguments: str, options: str = "", **extra: str) -> subprocess.CompletedProcess[str]:
        path = tmp_path / "some.py"
        path.write_text(
            '"""Do one thing.\n\nMore about it."""\n'
            "import os, signal, sys\nimport click\nfrom liftray.cli import job\n"
            "from liftray.options import config_options\n"
            "from liftray.errors import ConfigError, GateRefused, LiftrayError\n"
            f"@job\n{options}\ndef main(**options):\n    {body}\n"
            "if __name__ == '__main__':\n    main()\n"
        )
        return python(str(path), *arguments, **extra)

    return run


def test_the_package_and_its_command_line_import_nothing_heavy() -> None:
    assert heavy_after("import liftray") == []
    assert heavy_after("import liftray.cli; liftray.cli.main(['--help'])") == []


@pytest.mark.parametrize("name", sorted(cli.jobs()))
def test_the_help_of_a_job_imports_nothing_heavy(name: str) -> None:
    code = f"import liftray.cli\ntry:\n    liftray.cli.main([{name!r}, '--help'])\nexcept SystemExit as end:"
    assert heavy_after(f"{code}\n    assert end.code == 0") == []


def test_the_overview_lists_each_job_with_its_first_docstring_line() -> None:
    done = liftray("--help")
    assert done.returncode == 0
    for name, path in cli.jobs().items():
        summary = path.read_text().partition("\n")[0].strip('"')
        assert any(line.split(maxsplit=1) == [name, summary] for line in done.stdout.splitlines()), name
    assert liftray().stdout == done.stdout


def test_version() -> None:
    assert liftray("--version").stdout.startswith("liftray 0.")


@pytest.mark.parametrize(("typed", "hint"), [("ingset", "did you mean ingest?"), ("xyzzy", "the jobs are ")])
def test_an_unknown_job_is_refused_with_a_hint(typed: str, hint: str) -> None:
    done = liftray(typed)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: no job '{typed}'; ")
    assert hint in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("way", ["file", "name"])
def test_a_job_runs_by_file_and_by_name_with_the_same_outcome(way: str, tmp_path: Path) -> None:
    start = [str(ROOT / "jobs" / "ingest.py")] if way == "file" else ["-c", MAIN, "ingest"]
    done = python(*start, str(tmp_path / "absent.txt"), "--out", str(tmp_path / "out"))
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "absent.txt" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_finished_job_ends_with_0(job_file) -> None:
    done = job_file("click.echo('result')")
    assert (done.returncode, done.stdout, done.stderr) == (0, "result\n", "")


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        (
            "raise ConfigError('no such key', where='x.yaml', remedy='add it')",
            2,
            "x.yaml: no such key; add it",
        ),
        ("raise GateRefused('worse than the champion')", 3, "worse than the champion"),
        ("raise LiftrayError('first line\\nsecond')", 1, "first line second"),
        ("raise ExceptionGroup('many', [ValueError(), GateRefused('no')])", 3, "no"),
        ("raise KeyboardInterrupt", 130, RESUMES.removeprefix("error: ").strip()),
        ("os.kill(os.getpid(), signal.SIGTERM)", 130, RESUMES.removeprefix("error: ").strip()),
        ("sys.exit(signal.SIGTERM)", 130, RESUMES.removeprefix("error: ").strip()),
        ("raise click.UsageError('wrong.')", 2, None),
    ],
)
def test_a_failure_is_one_line_and_its_exit_code(job_file, body: str, code: int, message: str | None) -> None:
    done = job_file(body)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert message is None or done.stderr == f"error: {message}\n"


def test_a_job_may_end_with_a_code_of_its_own(job_file) -> None:
    assert job_file("sys.exit(7)").returncode == 7


def test_debug_adds_the_traceback_and_keeps_the_line(job_file) -> None:
    done = job_file("raise ConfigError('no such key')", "--debug")
    assert done.returncode == 2
    assert done.stderr.startswith("Traceback (most recent call last)")
    assert done.stderr.endswith("error: no such key\n")


@pytest.mark.parametrize("arguments", [["--unknown"], ["stray"]])
def test_wrong_usage_is_reported_in_one_line(job_file, arguments: list[str]) -> None:
    done = job_file("pass", *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.endswith("some.py --help\n")
    assert done.stderr.count("\n") == 1


def test_a_reader_that_goes_away_is_no_traceback(tmp_path: Path) -> None:
    path = tmp_path / "talk.py"
    path.write_text(
        '"""Talk."""\nimport click\nfrom liftray.cli import job\n@job\ndef main():\n'
        "    for _ in range(100_000):\n        click.echo('line')\nmain()\n"
    )
    command = f"set -o pipefail; {sys.executable} {path} | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, env=environment())
    assert (done.stdout, done.stderr) == ("line\n", "")
    assert done.returncode == 1


def test_an_interrupt_from_the_terminal_ends_with_130(tmp_path: Path) -> None:
    path = tmp_path / "wait.py"
    path.write_text(
        '"""Wait."""\nimport signal\nfrom liftray.cli import job\n@job\ndef main():\n'
        "    print('ready', flush=True)\n    signal.pause()\nmain()\n"
    )
    with subprocess.Popen(
        [sys.executable, str(path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    assert (process.returncode, stderr) == (130, RESUMES)


@pytest.mark.parametrize(
    ("arguments", "values"),
    [
        (["--input", "a", "b", "--out", "o"], [["a", "b"], "o"]),
        (["--out", "o", "--input", "a", "--input", "b", "-"], [["a", "b", "-"], "o"]),
        (["--input=a", "--out=o"], [["a"], "o"]),
    ],
)
def test_an_option_takes_several_values_in_a_row(
    job_file, arguments: list[str], values: list[object]
) -> None:
    options = "@click.option('--input', multiple=True, required=True)\n@click.option('--out')"
    done = job_file(
        "import json; print(json.dumps([options['input'], options['out']]))", *arguments, options=options
    )
    assert json.loads(done.stdout) == values, done.stderr


def test_an_option_takes_one_value_where_arguments_follow(job_file) -> None:
    options = "@click.option('--labels', multiple=True)\n@click.argument('inputs', nargs=-1)"
    code = "import json; print(json.dumps([options['labels'], options['inputs']]))"
    done = job_file(code, "--labels", "C=L", "a", "b", "--labels=-=L", options=options)
    assert json.loads(done.stdout) == [["C=L", "-=L"], ["a", "b"]], done.stderr


def test_an_option_without_its_value_is_refused(job_file) -> None:
    options = "@click.option('--input', multiple=True)\n@click.option('--out')"
    done = job_file("pass", "--input", "--out", "o", options=options)
    assert done.returncode == 2
    assert "'--input' requires an argument" in done.stderr


SETTINGS = "print(options['settings'].train.epochs)"


def test_config_and_overrides_reach_the_job(job_file, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("train: {epochs: 3}\n")
    given = ["--config", str(tmp_path / "c.yaml")]
    assert job_file(SETTINGS, *given, options="@config_options").stdout == "3\n"
    assert job_file(SETTINGS, *given, "train.epochs=4", options="@config_options").stdout == "4\n"


def test_print_config_prints_what_load_reads_back(job_file, tmp_path: Path) -> None:
    done = job_file(SETTINGS, "--print-config", "adapter.skip_layers=4", options="@config_options")
    assert done.returncode == 0
    assert yaml.safe_load(done.stdout)["adapter"]["skip_layers"] == 4
    (tmp_path / "again.yaml").write_text(done.stdout)
    assert config.load(tmp_path / "again.yaml") == config.load(None, ["adapter.skip_layers=4"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "--config FILE is missing"),
        (["--config", "absent.yaml"], "absent.yaml"),
        (["--config", "configs/absent.yaml"], "configs/absent.yaml: no such file"),
        (
            ["--print-config", "adapter.widht=1"],
            "on the command line: unknown key adapter.widht; did you mean ",
        ),
        (["--print-config", "train.epochs=none"], "train.epochs"),
    ],
)
def test_a_bad_config_is_the_users(job_file, arguments: list[str], message: str) -> None:
    done = job_file(SETTINGS, *arguments, options="@config_options")
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_help_lists_every_key_with_its_type_default_and_meaning(job_file) -> None:
    done = job_file(SETTINGS, "--help", options="@config_options")
    assert done.returncode == 0
    # A line may end anywhere in an entry, also after a hyphen.
    text = "".join(done.stdout.split())
    assert "Moreaboutit." in text
    for key, (kind, _, meaning) in config.keys().items():
        assert "".join(f"{key}{meaning}[{kind};default:".split()) in text, key
    assert max(map(len, done.stdout.splitlines())) <= 110
    assert "Config keys" not in job_file("pass", "--help").stdout


def test_pickle_stays_off_whatever_the_shell_says(job_file) -> None:
    name = "MLFLOW_ALLOW_PICKLE_DESERIALIZATION"
    assert job_file(f"print(os.environ[{name!r}])", **{name: "true"}).stdout == "false\n"


@pytest.mark.parametrize("options", ["", "@config_options"])
def test_a_job_does_not_hide_libraries_of_its_neighbours_names(
    job_file, tmp_path: Path, options: str
) -> None:
    (tmp_path / "evaluate.py").write_text("")
    (tmp_path / "c.yaml").write_text("{}")
    config_given = ["--config", str(tmp_path / "c.yaml")] if options else []
    body = "import importlib.util; print(importlib.util.find_spec('evaluate'))"
    done = job_file(body, *config_given, options=options)
    assert done.returncode == 0
    assert str(tmp_path) not in done.stdout


HOSTILE = "a\\x1b]0;title\\x07b\\u202ec\\x9b1m d\\udcff s3://key:SECRET9@bucket https://h/?sig=SECRET9"


@pytest.mark.parametrize("arguments", [[], ["--debug"]])
@pytest.mark.parametrize(
    "body",
    [
        "click.echo(TEXT)",
        "print(TEXT)",
        "print(TEXT, file=sys.stderr)",
        "from liftray.progress import show_line; show_line(TEXT)",
        "import warnings; warnings.warn(TEXT)",
        "import logging; logging.getLogger('liftray.x').warning(TEXT)",
        "import logging; logging.getLogger('library').error(TEXT)",
        "raise ConfigError(TEXT, where=TEXT, remedy=TEXT)",
        "raise KeyError(TEXT)",
        "raise click.UsageError(TEXT)",
    ],
)
def test_no_text_reaches_a_terminal_or_a_log_raw(
    job_file, body: str, arguments: list[str], tmp_path: Path
) -> None:
    (tmp_path / "temporary").mkdir()
    done = job_file(body.replace("TEXT", f"'{HOSTILE}'"), *arguments, TMPDIR=str(tmp_path / "temporary"))
    logs = [path.read_text() for path in (tmp_path / "temporary").iterdir()]
    written = [done.stdout, done.stderr, *logs]
    assert any("title" in text for text in written)
    for text in written:
        assert "SECRET9" not in text
        assert text.replace("\n", "").replace("\t", "").isprintable()


def test_what_native_code_writes_is_plain_in_the_log(job_file, tmp_path: Path) -> None:
    (tmp_path / "temporary").mkdir()
    job_file("os.write(2, b'native\\x1b[2J\\xff s3://a:SECRET9@b\\n')", TMPDIR=str(tmp_path / "temporary"))
    (log,) = (path.read_text() for path in (tmp_path / "temporary").iterdir())
    assert log.splitlines()[0] == "native\\u001b[2J\\xff s3://***@b"


def test_an_unknown_job_and_option_are_named_safely() -> None:
    done = liftray("\x1b[31mjob\u202e")
    assert done.stderr.strip().isprintable()
    done = liftray("ingest", "--\x1b[31mx", "s3://a:SECRET9@b")
    assert done.returncode == 2
    assert done.stderr.strip().isprintable()
    assert "SECRET9" not in done.stderr


ADDRESS = "s3://KEY:hUsh7Hush/x@bucket/d"
PLACES = {
    "bench": ["ingest", "--out", ADDRESS],
    "cache": ["--config", ADDRESS],
    "ensemble": ["--model", ADDRESS, ADDRESS, "--out", ADDRESS, "--tracking-uri", ADDRESS],
    "evaluate": [
        "--model",
        ADDRESS,
        "--data",
        f"a={ADDRESS}",
        "--out",
        "out",
        "--against",
        ADDRESS,
        "--train",
        ADDRESS,
    ],
    "ingest": [ADDRESS, "--out", ADDRESS],
    "predict": ["--model", ADDRESS, "--input", ADDRESS, "--out", ADDRESS, "--formats", ADDRESS],
    "promote": ["promote", "--name", ADDRESS, "--gates", ADDRESS, "--reason", "x", "--tracking-uri", ADDRESS],
    "study": ["--config", "configs/quickstart.yaml", "--report-to", ADDRESS],
    "train": ["--config", "configs/quickstart.yaml", f"data.train.a={ADDRESS}"],
    "tune": ["--config", "configs/quickstart.yaml", f"tracking.uri={ADDRESS}"],
}


@pytest.mark.parametrize("name", sorted(cli.jobs()))
def test_a_credential_in_any_option_is_not_shown_and_nothing_is_written(name: str, tmp_path: Path) -> None:
    (tmp_path / "temporary").mkdir()
    done = python("-c", MAIN, name, *PLACES[name], cwd=tmp_path, TMPDIR=str(tmp_path / "temporary"))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "hUsh7Hush" not in done.stdout + done.stderr
    assert [path.name for path in tmp_path.rglob("*")] == ["temporary"]


@pytest.mark.parametrize("written", [["--out=~/d"], ["--out", "~/d"]])
def test_the_home_directory_is_expanded_where_no_shell_does(written: list[str], tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text(">a\nMKTAYIAK\nHHHHEEEE\n")
    done = python(
        "-c", MAIN, "ingest", "~/x.txt", *written, "--alphabet", "ss3", cwd=tmp_path, HOME=str(tmp_path)
    )
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d", "x.txt"]


@pytest.mark.parametrize("name", ["evaluate", "ensemble", "ingest", "predict"])
def test_results_go_to_no_address(name: str, tmp_path: Path) -> None:
    given = {"evaluate": ["--model", "m", "--data", "a=b"], "ensemble": ["--model", "m"], "ingest": ["x"]}
    arguments = given.get(name, ["--model", "m", "--input", "x"])
    done = python("-c", MAIN, name, *arguments, "--out", "gs://bucket/a", cwd=tmp_path)
    assert done.returncode == 2
    assert "'gs://bucket/a' is an address" in done.stderr
    assert not list(tmp_path.iterdir())


def test_ctrl_c_ends_the_wait_for_a_store_that_does_not_answer(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)
        place = f"s3://bucket/d?scheme=http&endpoint_override=127.0.0.1:{server.getsockname()[1]}&region=x"
        with subprocess.Popen(
            [sys.executable, "-c", MAIN, "evaluate", "--model", "m", "--data", f"a={place}", "--out", "o"],
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env=environment(AWS_ACCESS_KEY_ID="x", AWS_SECRET_ACCESS_KEY="y"),
        ) as process:
            connection, _ = server.accept()  # the client waits for the first answer
            with connection:
                process.send_signal(signal.SIGINT)
                _, stderr = process.communicate(timeout=25)
    assert (process.returncode, stderr) == (130, RESUMES)
