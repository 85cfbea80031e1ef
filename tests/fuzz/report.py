"""Adds up the tables of `python -m tests.fuzz --table FILE` to a report: `python -m tests.fuzz.report FILE COMMIT`."""

import json
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from liftray.machine import hardware
from tests.fuzz.targets import TARGETS

_LIBRARIES = (
    "pyarrow",
    "gemmi",
    "msgpack",
    "numpy",
    "pyyaml",
    "safetensors",
    "pydantic",
    "torch",
    "adapters",
)


def render(table: Path, commit: str) -> str:
    """The report as Markdown.

    Args:
        table: JSON lines, one for each target and call.
        commit: What was fuzzed.
    """
    calls = [json.loads(line) for line in table.read_text(encoding="utf-8").splitlines()]
    lines = [
        f"# Fuzzing, {datetime.now(UTC):%Y-%m-%d}",
        "",
        f"Commit {commit}; {', '.join(f'{key} {value}' for key, value in hardware().items())}; "
        f"Python {platform.python_version()}; "
        + ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)
        + ".",
        "One process at the lowest priority, next to other work. The command for each row:",
        "`python -m tests.fuzz --target NAME --runs N --seed 13`.",
        "",
        "A finding is another exception than a LiftrayError, over 1 s of CPU time (15 s where files are inflated),",
        "over 64 MiB beyond the input's size, or an unprintable character in a message. *Memory* is how much the",
        "peak of the process grew over all inputs.",
        "",
        "| target | kind | inputs | read | refused | findings | slowest ms | memory MiB |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, target in TARGETS.items():
        rows = [row for row in calls if row["target"] == name]
        if rows:
            counts = [sum(row[key] for row in rows) for key in ("runs", "read", "refused", "findings")]
            worst = [max(row[key] for row in rows) for key in ("slowest_ms", "memory_mib")]
            cells = [name, target.kind, *(f"{count:,}" for count in counts), *(f"{one:.1f}" for one in worst)]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(render(Path(sys.argv[1]), sys.argv[2]))
