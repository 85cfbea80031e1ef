"""The lines that a person reads when predict has ended.

Invariant: refused records always have a line. Flow: predict_job's summary -> [this] -> terminal.
"""

import json
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

_SHOWN = 20


def lines(summary: Mapping[str, Any], out: str) -> list[str]:
    """Counts, and how many records were refused.

    Args:
        summary: The content of `summary.json`.
        out: The directory as the user named it, `-` for standard output.
    """
    files = summary["files"]
    names = ", ".join(file for name, file in files.items() if name not in ("errors", "summary"))
    found = [f"{out}: {summary['predicted']} chains, {summary['residues']} residues in {names}"]
    if summary["refused"]:
        reasons = ", ".join(f"{count} {reason}" for reason, count in summary["reasons"].items())
        where = out if out == "-" else Path(out, files["errors"])
        found.append(f"{where}: {summary['refused']} records refused ({reasons})")
    return found


def refusals(errors: Path) -> list[str]:
    """The first refused records one by one, for a run whose `errors.jsonl` is not kept."""
    with errors.open(encoding="utf-8") as file:
        bad = [json.loads(line) for line in islice(file, _SHOWN)]
        more = sum(1 for _ in file)
    found = [f"{one['file']}:{one['line']}: {one['id']}: {one['reason']}: {one['detail']}" for one in bad]
    return found + ([f"and {more} more"] if more else [])
