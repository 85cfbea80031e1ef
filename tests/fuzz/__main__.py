"""Fuzz one reader, or all: `python -m tests.fuzz --target NAME --runs N --seed S`.

Inputs with findings are saved under `--save`; put one into `tests/fuzz/regressions/TARGET` to make it a test.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from tests.fuzz import seeds
from tests.fuzz.run import Tally, fuzz, save
from tests.fuzz.targets import TARGETS

_MEMORY = "/dev/shm"
_COLUMNS = ("target", "runs", "read", "refused", "findings", "slowest_ms", "memory_mib", "seconds")


def main() -> int:
    """Run what the command line asks for; 1 where there is a finding."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--target", action="append", choices=[*TARGETS, "all"], required=True)
    parser.add_argument("--runs", type=int, default=1000, help="inputs for each target")
    parser.add_argument("--first", type=int, default=0, help="number of the first input")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--save", type=Path, default=Path("runs/fuzz"), help="folder for inputs with findings"
    )
    parser.add_argument("--table", type=Path, help="append the counts to this file, as JSON lines")
    chosen = parser.parse_args()
    names = list(TARGETS) if "all" in chosen.target else chosen.target
    print(" ".join(f"{name:>16}" for name in _COLUMNS))
    failed = False
    for name in names:
        with tempfile.TemporaryDirectory(dir=_MEMORY if Path(_MEMORY).is_dir() else None) as folder:
            tally = fuzz(TARGETS[name], chosen.runs, chosen.seed, Path(folder), first=chosen.first)
        _report(tally, chosen.table)
        save(tally, chosen.save)
        failed |= bool(tally.findings)
    seeds.clear()
    return int(failed)


def _report(tally: Tally, table: Path | None) -> None:
    row = tally.row()
    print(" ".join(f"{row[name]:>16}" for name in _COLUMNS), flush=True)
    for finding in tally.findings.values():
        print(f"  {finding.kind} x{finding.count}, input {finding.number}: {finding.detail}", flush=True)
    if table:
        table.parent.mkdir(parents=True, exist_ok=True)
        with table.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    sys.exit(main())
