"""The command line: `liftray NAME ARGS` runs the file jobs/NAME.py, and `job` makes such a file a command.

Invariant: the exit status of a job is 0, 2 (the user's input is invalid), 3 (a gate refused), 130 (interrupted,
resumable) or 1. A failure is one line on stderr unless `--debug` is given. The first module of every job; imports
nothing heavy.
"""

import ast
import contextlib
import difflib
import inspect
import os
import runpy
import signal
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import click

import liftray
from liftray import environment, shipped
from liftray.errors import describe_failure, find_liftray_error
from liftray.library_log import LibraryLog, separated
from liftray.plain_text import PlainStream, one_line


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `liftray NAME ARGS`: list the jobs, or pass ARGS to the job's file.

    Args:
        arguments: The arguments after the program's name; default: those of this process.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    name = arguments[0] if arguments else "--help"
    if name in ("--help", "-h", "help"):
        click.echo(_overview())
    elif name == "--version":
        click.echo(f"liftray {liftray.__version__}")
    else:
        path = jobs().get(name) or _unknown_job(name)
        sys.argv = [str(path), *arguments[1:]]
        JobCommand.started_as = f"liftray {name}"
        runpy.run_path(str(path), run_name="__main__")


def jobs() -> dict[str, Path]:
    """The jobs by name: those of the wheel, else those of the checkout that contains this package."""
    return {path.stem: path for path in sorted(shipped.directory("_jobs", "jobs").glob("[a-z]*.py"))}


def _overview() -> str:
    found = jobs()
    width = max((len(name) for name in found), default=0)
    listed = [f"  {name:<{width}}  {_first_line(path)}" for name, path in found.items()]
    return "\n".join(
        [
            "Usage: liftray JOB [ARGS]   (the same as: python jobs/JOB.py ARGS)",
            "",
            (liftray.__doc__ or "").partition("\n")[0],
            "",
            "Jobs:",
            *listed,
            "",
            "liftray JOB --help lists the arguments of a job, liftray --version prints the version.",
        ]
    )


def _first_line(path: Path) -> str:
    documentation = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return documentation.partition("\n")[0]


def _unknown_job(name: str) -> NoReturn:
    near = difflib.get_close_matches(name, jobs(), n=1)
    hint = f"did you mean {near[0]}?" if near else f"the jobs are {', '.join(jobs())}"
    _fail(f"no job {name!r}; {hint}", 2)


def job(function: Callable[..., Any]) -> "JobCommand":
    """Make the `main` of a job file a command; the decorator is above the click options.

    The file's docstring is the help. `--debug` and the exit codes are added.

    Args:
        function: The job, with click's options applied.

    Returns:
        The command, to be called under `if __name__ == "__main__"`.
    """
    written = inspect.unwrap(function)
    environment.prepare()
    # `python jobs/train.py` puts jobs/ first on the path: its evaluate.py would hide a library of that name.
    here = str(Path(written.__code__.co_filename).resolve().parent)
    sys.path[:] = [entry for entry in sys.path if not entry or str(Path(entry).resolve()) != here]
    debug = click.option(
        "--debug",
        is_flag=True,
        expose_value=False,
        help="Show tracebacks and the messages of libraries on the terminal.",
    )
    return click.command(
        cls=JobCommand,
        help=written.__globals__["__doc__"],
        context_settings={"max_content_width": 110, "help_option_names": ["-h", "--help"]},
    )(debug(function))


class JobCommand(click.Command):
    """A click command with LiftRay's exit codes, whose help lists the config keys."""

    started_as: str | None = None

    def main(self, args: Sequence[str] | None = None, *_: Any, **__: Any) -> NoReturn:  # type: ignore[override]
        """Parse the arguments, run the job, and end the process with the exit code of the outcome.

        Args:
            args: The arguments after the program's name; default: those of this process.
        """
        arguments = list(sys.argv[1:] if args is None else args)
        prog = self.started_as or f"python {sys.argv[0]}"
        signal.signal(signal.SIGTERM, _interrupt)
        debug = "--debug" in arguments
        log = None
        try:
            with _plain_streams(), separated(Path(sys.argv[0]).stem, enabled=not debug) as log:
                self._run(prog, arguments, log)
        except click.exceptions.Exit as done:
            raise SystemExit(done.exit_code) from None
        except Exception as error:
            if debug and not isinstance(error, click.ClickException):
                with _plain_streams():
                    traceback.print_exc()
            _end(error, prog, log.path if log else None)
        except (KeyboardInterrupt, SystemExit) as error:
            # Ray turns SIGTERM into SystemExit(15) once it is initialised.
            if isinstance(error, SystemExit) and error.code != signal.SIGTERM:
                raise
            _fail("interrupted; the same command resumes where that is possible", 130)
        raise SystemExit(0)

    def _run(self, prog: str, arguments: list[str], log: LibraryLog) -> None:
        try:
            with self.make_context(prog, arguments) as context:
                self.invoke(context)
            sys.stdout.flush()
        except (click.ClickException, click.exceptions.Exit, BrokenPipeError):
            raise
        except Exception as error:
            log.add_traceback(error, needed=find_liftray_error(error) is None)
            raise

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Allow several values in a row for an option that may be repeated: `--input a.fasta b.fasta`.

        Not where the command has arguments of any number: values could not be distinguished from them.
        """
        if any(isinstance(parameter, click.Argument) and parameter.nargs == -1 for parameter in self.params):
            return super().parse_args(ctx, args)
        many = {
            name
            for option in self.params
            if isinstance(option, click.Option) and option.multiple
            for name in option.opts
        }
        return super().parse_args(ctx, list(_spread(args, many)))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Add every config key with its meaning, type and default, for jobs that take a config."""
        if not any(parameter.name == "overrides" for parameter in self.params):
            return
        from liftray.config import keys

        rows = [
            (key, f"{meaning} [{kind}; default: {_plain(default)}]")
            for key, (kind, default, meaning) in keys().items()
        ]
        with formatter.section("Config keys, in the YAML by section or as KEY=VALUE"):
            formatter.write_dl(rows)


def _spread(arguments: Sequence[str], many: set[str]) -> Iterator[str]:
    """Turn `--input a b` into `--input a --input b`, the form that click reads."""
    current = None
    for token, following in zip(arguments, [*arguments[1:], "--"], strict=False):
        if _is_option(token):
            current = token if token in many else None
            if current is None:
                yield token
            elif _is_option(following):
                raise click.BadOptionUsage(token, f"Option '{token}' requires an argument.")
        else:
            yield from (token,) if current is None else (current, token)


def _is_option(token: str) -> bool:
    return token.startswith("-") and token != "-"


def _plain(default: Any) -> str:
    if default is None:
        return "null"
    if isinstance(default, list):
        return f"[{', '.join(map(str, default))}]"
    return str(default).lower() if isinstance(default, bool) else str(default)


@contextlib.contextmanager
def _plain_streams() -> Iterator[None]:
    """Let all that Python writes to stdout and stderr be plain text."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (stream and PlainStream(stream) for stream in before)  # type: ignore[assignment]
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


def _interrupt(_number: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _end(error: Exception, prog: str, log: Path | None) -> NoReturn:
    if isinstance(error, click.ClickException):
        _fail(f"{error.format_message().rstrip('.')}; see {prog} --help", 2)
    _give_up_stdout()
    if isinstance(error, BrokenPipeError):
        raise SystemExit(1)
    known = find_liftray_error(error)
    if known is not None:
        _fail(str(known), known.exit_code)
    where = f"the traceback is in {log}" if log else "--debug shows the traceback"
    _fail(f"{describe_failure(error)}; unforeseen: {where}", 1)


def _give_up_stdout() -> None:
    """Drop output that cannot be written: else Python would report it again when it closes stdout."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except OSError:  # the reader is gone, or the disk is full
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except ValueError:  # it is closed
        return


def _fail(message: str, code: int) -> NoReturn:
    click.echo(f"error: {one_line(message)}", err=True)
    remote = sys.modules.get("liftray.data.remote")
    if remote is not None and remote.is_left_behind():
        sys.stderr.flush()
        os._exit(code)  # Arrow would wait for its last request for minutes
    raise SystemExit(code)
