"""The report of a suite: measured and predicted figures, with the hardware and versions that they hold for.

Invariant: a figure is never written without the machine, the library versions and the settings of its measurement.
Flow: suites -> [this] -> DIR/SUITE-DATE.json, DIR/SUITE-DATE.md, and the table that the job prints.
"""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from liftray import files, machine
from liftray.reporting import tables

DEFAULT_OUT = "reports/bench"
_HEADER = ("name", "value", "unit", "spread", "against", "ratio", "ceiling", "of ceiling")
_TEXT = (0, 2, 4)


@dataclass(frozen=True)
class Row:
    """One figure.

    Attributes:
        name: What was measured.
        value: The median.
        unit: Of the value.
        against: Name of the row it is compared with; None for a row that others are compared with.
        ratio: `value` over the value of that row.
        ceiling: The predicted limit of the ratio.
        of_ceiling: `ratio` over `ceiling`, as a fraction.
        repeats: Number of measurements whose median is `value`; None where it is not recorded.
        spread: (Largest - smallest measurement) / median.
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
        ceiling: The predicted limit of the ratio.
    """
    if against is None:
        return Row(name, value, unit)
    if against.unit != unit:
        raise ValueError(f"{name} in {unit} and {against.name} in {against.unit} have no ratio")
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
        amount: Work of each repeat, such as a number of residues.
        seconds: Duration of each repeat.
        unit: Unit of amount / seconds.
        against: The row to compare with, of the same unit.
        ceiling: The predicted limit of the ratio.

    Returns:
        The row, with the number of repeats and their spread.
    """
    rates = [amount / each for each in seconds]
    middle = amount / statistics.median(seconds)
    made = row(name, middle, unit, against, ceiling)
    return replace(made, repeats=len(rates), spread=(max(rates) - min(rates)) / middle)


def report(suite: str, rows: Sequence[Row], config: dict[str, Any], date: datetime) -> dict[str, Any]:
    """Build a report as it is written to JSON.

    Args:
        suite: Name of the suite.
        rows: Its figures.
        config: The settings of the measurements.
        date: Time of the measurements, with its time zone.
    """
    return {
        "suite": suite,
        "date": date.isoformat(timespec="seconds"),
        "rows": [asdict(each) for each in rows],
        "config": config,
        "hardware": machine.hardware(),
        "versions": machine.versions(),
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
    """The report as Markdown."""
    lists = [
        f"## {title}\n\n"
        + "\n".join(f"- {key}: {tables.as_text(value)}" for key, value in content[title.lower()].items())
        for title in ("Config", "Hardware", "Versions")
    ]
    note = (
        "Values are medians; `spread` is (largest - smallest repeat) / median. `ratio` is the value divided by that of "
        "the row named under `against`; `ceiling` is the predicted limit of that ratio."
    )
    title = f"# bench {content['suite']}, {content['date'][:10]}"
    return "\n\n".join([title, table(content["rows"]), note, *lists]) + "\n"


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as a Markdown table, aligned so that it is readable on a terminal as well."""
    return tables.markdown(_HEADER, [_cells(each) for each in rows], text=_TEXT, padded=True)


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
