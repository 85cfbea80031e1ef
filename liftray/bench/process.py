"""Runs a function of a suite in a new process: seeded, with a fixed number of threads, its memory counted.

Invariant: nothing is shared with the calling process. The child is a fresh interpreter that receives the name of a
function and JSON arguments, and returns JSON. The caller waits for it, so one runs at a time. Flow: suite -> `run` ->
[a new interpreter with this module as its program] -> `Child`.
"""

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import liftray
from liftray import errors
from liftray.errors import LiftrayError

# Read by OpenMP, MKL and OpenBLAS at their start; torch uses the first.
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

# These would send a measurement to a cluster or a server, or make it a rank of the parent's process group.
_ELSEWHERE = ("RAY_ADDRESS", "MLFLOW_TRACKING_URI", "RANK", "LOCAL_RANK", "WORLD_SIZE")


class MeasurementError(LiftrayError):
    """A measured process ended without a result."""


@dataclass(frozen=True)
class Child:
    """The result of a function in its own process.

    Attributes:
        result: Its return value, after a trip through JSON.
        seconds: Its duration, without the start of the process and the imports.
        peak_bytes: Peak resident memory while it ran, interpreter and libraries included.
        libraries_bytes: Resident memory after the imports, before it ran.
    """

    result: Any
    seconds: float
    peak_bytes: int
    libraries_bytes: int

    @property
    def beyond_bytes(self) -> int:
        """Peak beyond the interpreter and the libraries."""
        return self.peak_bytes - self.libraries_bytes


def run(
    function: str,
    arguments: Mapping[str, Any] | None = None,
    *,
    imports: Sequence[str] = (),
    threads: int = 1,
    seed: int = 0,
    timeout_s: float | None = None,
) -> Child:
    """Call a function in a fresh interpreter and wait for it.

    Args:
        function: `package.module:name`; its stdout goes to stderr.
        arguments: Its keyword arguments; they must be JSON.
        imports: Further modules to import before memory and time are counted.
        threads: Threads of OpenMP, and so of torch.
        seed: Seed of `random`, NumPy, torch (if it is imported by then) and hashing.
        timeout_s: Time limit.

    Returns:
        Its result, time and memory.

    Raises:
        LiftrayError: The function raised it.
        MeasurementError: It raised another exception, was killed or exceeded the time limit.
    """
    order = {
        "function": function,
        "arguments": dict(arguments or {}),
        "imports": list(imports),
        "threads": threads,
        "seed": seed,
    }
    with tempfile.TemporaryDirectory(prefix="liftray-bench-") as folder:
        answer = Path(folder) / "answer.json"
        try:
            done = subprocess.run(
                [sys.executable, "-m", __name__, str(answer)],
                input=json.dumps(order, allow_nan=False),
                text=True,
                env=_environment(threads, seed),
                stdout=2,  # libraries print messages there; the result is in the file
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise MeasurementError(
                f"{function} did not end within {timeout_s:g} s", remedy="choose smaller sizes"
            ) from None
        content = json.loads(answer.read_text(encoding="utf-8")) if answer.exists() else None
    if content is None:
        raise MeasurementError(f"{function} ended with {_status(done.returncode)} and no result")
    if "error" in content:
        raise _error(function, content["error"])
    return Child(**content)


def _environment(threads: int, seed: int) -> dict[str, str]:
    # The package is found wherever the parent found it, also where it is not installed.
    path = os.pathsep.join(
        filter(None, [str(Path(liftray.__file__).parents[1]), os.environ.get("PYTHONPATH")])
    )
    fixed = dict.fromkeys(_THREAD_VARIABLES, str(threads))
    kept = {name: value for name, value in os.environ.items() if name not in _ELSEWHERE}
    return {**kept, **fixed, "PYTHONPATH": path, "PYTHONHASHSEED": str(seed)}


def _status(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def _error(function: str, raised: dict[str, Any]) -> LiftrayError:
    kind = getattr(errors, raised["type"], None)
    if isinstance(kind, type) and issubclass(kind, LiftrayError):
        return kind(raised["what"], where=raised["where"], remedy=raised["remedy"])
    return MeasurementError(f"{function} raised {raised['what']}", where=raised["where"])


def _answer(order: dict[str, Any]) -> dict[str, Any]:
    """Run the order in this process."""
    module, _, name = order["function"].partition(":")
    function = getattr(import_module(module), name)
    for each in order["imports"]:
        import_module(each)
    _seed(order["seed"], order["threads"])
    libraries = _resident("VmRSS")
    # Imports may have held more memory for a moment than the libraries keep: the peak is counted from here on.
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    start = time.perf_counter()
    result = function(**order["arguments"])
    seconds = time.perf_counter() - start
    return {
        "result": result,
        "seconds": seconds,
        "peak_bytes": max(_resident("VmHWM"), libraries),
        "libraries_bytes": libraries,
    }


def _seed(seed: int, threads: int) -> None:
    random.seed(seed)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(seed)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(seed)
        sys.modules["torch"].set_num_threads(threads)


def _resident(key: str) -> int:
    """A value of the kernel's status file, in bytes.

    `getrusage` would not do: the peak of a process that was started by exec starts with its parent's.
    """
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    found = re.search(rf"^{key}:\s+(\d+) kB$", status, re.MULTILINE)
    if found is None:
        raise MeasurementError("the kernel reports no resident memory", where="/proc/self/status")
    return int(found[1]) * 1024


def _described(error: Exception) -> dict[str, Any]:
    if isinstance(error, LiftrayError):
        return {
            "type": type(error).__name__,
            "what": error.what,
            "where": error.where,
            "remedy": error.remedy,
        }
    last = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(last.filename).name}, line {last.lineno}"
    return {"type": "", "what": f"{type(error).__name__}: {error}", "where": where, "remedy": None}


def main() -> None:
    """Read an order from stdin, run it and write the answer to the file named on the command line."""
    answer = Path(sys.argv[1])
    order = json.loads(sys.stdin.read())
    try:
        text = json.dumps(_answer(order))
    except Exception as error:  # whatever it is, the waiting process must learn of it
        if not isinstance(error, LiftrayError):
            traceback.print_exc()
        text = json.dumps({"error": _described(error)})
    answer.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
