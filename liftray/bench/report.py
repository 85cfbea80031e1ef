"""The report: rows of measured beside predicted, with the hardware and versions they hold for.

Invariant: a figure never stands without the machine, the library versions and the settings it was measured with.
Flow: suites -> [this] -> DIR/SUITE-DATE.json, DIR/SUITE-DATE.md, and the table that the job prints.
"""

import os
import platform
import re
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import liftray
from liftray import files

DEFAULT_OUT = "reports/bench"
_PACKAGES = (
    *(
        "torch",
        "transformers",
        "adapters",
        "peft",
        "accelerate",
        "ray",
        "deepspeed",
        "mlflow",
        "pyarrow",
        "numpy",
    ),
)
_HEADER = ("name", "value", "unit", "spread", "against", "ratio", "ceiling", "of ceiling")
# Instructions that decide how fast a processor multiplies matrices.
_FLAGS = (
    "avx2",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_tile",
    "amx_bf16",
    "amx_int8",
    "asimd",
    "sve",
    "bf16",
)


@dataclass(frozen=True)
class Row:
    """One figure.

    Attributes:
        name: What was measured.
        value: The median.
        unit: Of the value.
        against: Name of the row it is compared with; None for a row that others are compared with.
        ratio: `value` over the value of that row.
        ceiling: What the ratio can be at most, as predicted.
        of_ceiling: `ratio` over `ceiling`, as a fraction.
        repeats: How many measurements `value` is the median of; None where that is not told.
        spread: Largest less smallest of them, over the median, as a fraction.
    """

    name: str
    value: float
    unit: str
    against: str | None = None
    ratio: float | None = None
    ceiling: float | None = None
    of_ceiling: float | None = None
    repeats: int | None = None
    spread: float | None = None


def row(name: str, value: float, unit: str, against: Row | None = None, ceiling: float | None = None) -> Row:
    """Make a row, computing the ratios.

    Args:
        name: What was measured.
        value: The median.
        unit: Of the value.
        against: The row to compare with, of the same unit.
        ceiling: What the ratio can be at most, as predicted.
    """
    if against is None:
        return Row(name, value, unit)
    assert against.unit == unit, "figures of different units have no ratio"
    ratio = value / against.value
    return Row(name, value, unit, against.name, ratio, ceiling, ratio / ceiling if ceiling else None)


def rate_row(
    name: str,
    amount: float,
    seconds: Sequence[float],
    unit: str,
    against: Row | None = None,
    ceiling: float | None = None,
) -> Row:
    """Make a row of a rate that was measured several times.

    Args:
        name: What was measured.
        amount: What each repeat did, such as residues.
        seconds: What each repeat took.
        unit: Of amount / seconds.
        against: The row to compare with, of the same unit.
        ceiling: What the ratio can be at most, as predicted.

    Returns:
        The row, with the number of repeats and their spread.
    """
    rates = [amount / each for each in seconds]
    middle = amount / statistics.median(seconds)
    made = row(name, middle, unit, against, ceiling)
    return replace(made, repeats=len(rates), spread=(max(rates) - min(rates)) / middle)


def report(suite: str, rows: Sequence[Row], config: dict[str, Any], date: datetime) -> dict[str, Any]:
    """Put a report together, as it is written to JSON.

    Args:
        suite: Name of the suite.
        rows: Its figures.
        config: What they were measured with.
        date: When, with its time zone.
    """
    return {
        "suite": suite,
        "date": date.isoformat(timespec="seconds"),
        "rows": [asdict(each) for each in rows],
        "config": config,
        "hardware": hardware(),
        "versions": versions(),
    }


def write(content: dict[str, Any], out: str | Path = DEFAULT_OUT) -> dict[str, str]:
    """Write `SUITE-DATE.json`, `SUITE-DATE.md` and the job's `summary.json`.

    Args:
        content: From `report`. An earlier report of the same suite and day is replaced.
        out: The directory.

    Returns:
        The paths of both reports: `json` and `markdown`.
    """
    stem = Path(out) / f"{content['suite']}-{content['date'][:10]}"
    paths = {"json": f"{stem}.json", "markdown": f"{stem}.md"}
    files.write_json(paths["json"], content)
    files.write_text(paths["markdown"], markdown(content))
    files.write_json(
        Path(out) / "summary.json",
        {"job": "bench", "suite": content["suite"], "reports": paths, "rows": content["rows"]},
    )
    return paths


def markdown(content: dict[str, Any]) -> str:
    """The report for people."""
    lists = [
        f"## {title}\n\n"
        + "\n".join(f"- {key}: {_said(value)}" for key, value in content[title.lower()].items())
        for title in ("Config", "Hardware", "Versions")
    ]
    note = (
        "Values are medians; `spread` is the largest less the smallest repeat, over the median. `ratio` is the value "
        "over that of the row named under `against`; `ceiling` is the predicted limit of that ratio."
    )
    title = f"# bench {content['suite']}, {content['date'][:10]}"
    return "\n\n".join([title, table(content["rows"]), note, *lists]) + "\n"


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as a Markdown table, aligned so that it reads well on a terminal too."""
    cells = [_HEADER, *(_cells(each) for each in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(_HEADER))]
    numbers = [text not in ("name", "unit", "against") for text in _HEADER]
    rule = [
        "-" * (width - 1) + (":" if number else "-") for width, number in zip(widths, numbers, strict=True)
    ]
    padded = [
        [
            text.rjust(width) if number else text.ljust(width)
            for text, width, number in zip(line, widths, numbers, strict=True)
        ]
        for line in cells
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in [padded[0], rule, *padded[1:]])


def hardware() -> dict[str, Any]:
    """What this machine is, and how busy it is: `load_1min` over `cores_usable` makes a speed doubtful."""
    return {
        "cpu": _cpuinfo("model name") or platform.machine(),
        "cpu_flags": [flag for flag in _FLAGS if flag in _cpuinfo("flags|Features").split()],
        "cores": os.cpu_count(),
        "cores_usable": len(os.sched_getaffinity(0)),
        "threads": _threads(),
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        "gpu": _gpu(),
        "load_1min": round(os.getloadavg()[0], 2),
        "system": platform.platform(),
    }


def versions() -> dict[str, str | None]:
    """Versions of Python and of the libraries that the figures depend on; None for one that is not installed."""
    # LiftRay's own from the code: an editable install's metadata keeps the version of the day it was installed.
    return {
        "python": platform.python_version(),
        "liftray": liftray.__version__,
        **{name: _version(name) for name in _PACKAGES},
    }


def _cells(each: dict[str, Any]) -> tuple[str, ...]:
    ratio, ceiling, of_ceiling = each["ratio"], each["ceiling"], each["of_ceiling"]
    return (
        each["name"],
        f"{each['value']:,.0f}" if abs(each["value"]) >= 1000 else f"{each['value']:.4g}",
        each["unit"],
        "" if each["spread"] is None else f"{100 * each['spread']:.0f} %",
        each["against"] or "",
        "" if ratio is None else f"{ratio:.2f}x",
        "" if ceiling is None else f"{ceiling:.2f}x",
        "" if of_ceiling is None else f"{100 * of_ceiling:.0f} %",
    )


def _said(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_said(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return ", ".join(_said(inner) for inner in value) or "none"
    return "none" if value is None else str(value)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _cpuinfo(key: str) -> str:
    """What the kernel tells of the first core under a key; "" where it does not."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return ""
    found = re.search(rf"^(?:{key})\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else ""


def _threads() -> int:
    """Threads that torch computes with in this process; a suite's children have their own, told in its config."""
    import torch

    return torch.get_num_threads()


def _gpu() -> str | None:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None
