"""The report has the shape that scripts read, and its table reads well."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from liftray.bench.bench_report import markdown, rate_row, report, row, table, write

DATE = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
KEYS = ["name", "value", "unit", "against", "ratio", "ceiling", "of_ceiling", "repeats", "spread"]
HEADER = ["name", "value", "unit", "spread", "against", "ratio", "ceiling", "of ceiling"]


@pytest.fixture
def content() -> dict[str, Any]:
    base = row("base", 1000.0, "residues/s")
    ours = rate_row("ours", 2400.0, [2.0, 1.6, 2.4], "residues/s", base, 1.5)
    rows = [base, ours, row("unpredicted", 500.0, "residues/s", base)]
    return report("step", rows, {"seed": 0, "seconds": {"base": [1.0, 2.0]}}, DATE)


def test_rows_have_the_published_keys_and_the_ratios_of_their_values(content: dict[str, Any]) -> None:
    base, ours, unpredicted = content["rows"]
    assert [list(each) for each in content["rows"]] == [KEYS] * 3
    assert base == {**dict.fromkeys(KEYS), "name": "base", "value": 1000.0, "unit": "residues/s"}
    assert (ours["against"], ours["ratio"], ours["ceiling"]) == ("base", 1.2, 1.5)
    assert ours["of_ceiling"] == pytest.approx(0.8)
    # 2400 in 1.6, 2 and 2.4 s: 1500, 1200 and 1000 a second.
    assert (ours["repeats"], ours["spread"]) == (3, pytest.approx(500 / 1200))
    assert (unpredicted["ratio"], unpredicted["ceiling"], unpredicted["of_ceiling"]) == (0.5, None, None)


def test_figures_of_different_units_are_not_compared() -> None:
    with pytest.raises(ValueError, match="a in MB/s and b in records/s have no ratio"):
        row("a", 1.0, "MB/s", row("b", 1.0, "records/s"))


def test_files_are_named_after_suite_and_day_and_hold_the_report(
    content: dict[str, Any], tmp_path: Path
) -> None:
    paths = write(content, tmp_path / "new" / "folder")

    names = {path.name for path in (tmp_path / "new" / "folder").iterdir()}
    assert names == {"step-2026-03-04.json", "step-2026-03-04.md", "summary.json"}
    assert json.loads(Path(paths["json"]).read_text()) == content
    assert Path(paths["markdown"]).read_text() == markdown(content)
    summary = json.loads((tmp_path / "new" / "folder" / "summary.json").read_text())
    assert (summary["job"], summary["reports"], summary["rows"]) == ("bench", paths, content["rows"])


def test_table_is_aligned_and_rounds_for_people(content: dict[str, Any]) -> None:
    lines = table(content["rows"]).splitlines()

    assert len({len(line) for line in lines}) == 1
    assert [cell.strip() for cell in lines[0].strip("|").split("|")] == HEADER
    assert [cell.strip() for cell in lines[3].strip("|").split("|")] == [
        *("ours", "1,200", "residues/s", "42 %", "base", "1.20x", "1.50x", "80 %"),
    ]
    assert [cell.strip() for cell in lines[2].strip("|").split("|")][3:] == [""] * 5


def test_markdown_lists_machine_versions_and_settings(content: dict[str, Any]) -> None:
    text = markdown(content)

    assert text.startswith("# bench step, 2026-03-04\n")
    assert table(content["rows"]) in text
    for section in ("config", "hardware", "versions"):
        assert f"## {section.capitalize()}" in text
        assert all(f"- {key}: " in text for key in content[section])
