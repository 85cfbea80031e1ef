"""The same targets under atheris, which seeks inputs that reach new code: `python -m tests.fuzz.with_atheris TARGET`.

Atheris is no dependency: it has wheels for few Pythons. Where it is installed, arguments after the target are those of
libFuzzer, such as `-runs=100000` or `-max_total_time=600`.
"""

import contextlib
import sys
import tempfile
from pathlib import Path


def main() -> None:
    """Fuzz the target that the command line names, until libFuzzer's limits or a fault."""
    import atheris

    with atheris.instrument_imports(include=["liftray"]):
        from liftray.errors import LiftrayError
        from tests.fuzz.targets import TARGETS

        target = TARGETS[sys.argv[1]]
        seeds = target.seeds()
        with tempfile.TemporaryDirectory() as scratch:
            for number, data in enumerate(seeds):  # imports all that the reader imports, instrumented
                (folder := Path(scratch, str(number))).mkdir()
                target.run(data, folder)

    def one_input(data: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder, contextlib.suppress(LiftrayError):
            target.run(data, Path(folder))

    with tempfile.TemporaryDirectory() as corpus:
        for number, data in enumerate(seeds):
            Path(corpus, str(number)).write_bytes(data)
        atheris.Setup([sys.argv[0], *sys.argv[2:], corpus], one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
