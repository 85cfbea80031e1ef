"""`cache`: how fast the cache is filled and read, for each way to store a number, beside compute, disk and memory.

Compared, all on the same hidden states: `fill_*` (computing, encoding, committing) against `prefix_alone`, the frozen
blocks' forward passes with nothing stored; `write_*` (encoding and committing alone) and `read_first_*` (opening,
checking every entry's sha256, decoding; the kernel was asked to forget the files) against writing and reading the same
bytes as plain files; `read_later_*` (batches gathered and decoded again) against copying the same bytes within memory.
To reach: a fill near `prefix_alone`, reads far above what a training step takes up. GB are 1e9 bytes as stored.

Invariant: the store, codec and fill are the product's; entries are read in the order of a training epoch.
"""

from dataclasses import asdict, dataclass
from typing import Any

from liftray.bench import process
from liftray.bench.bench_report import Row, rate_row
from liftray.bench.suites import contest

STORED = ("float32", "bfloat16", "int8")
_BYTES = "GB/s"
# What is measured, and what it is held against.
_AGAINST = {
    "write": "disk_write",
    "read_first": "disk_read",
    "read_later": "memory_copy",
}


@dataclass(frozen=True)
class Sizes(contest.Sizes):
    """How much is measured.

    Attributes:
        directory: On the disk that is to be measured; "" is the system's directory of temporary files.
    """

    chains: int = 200
    directory: str = ""


def run(sizes: Sizes) -> tuple[list[Row], dict[str, Any]]:
    """Measure.

    Returns:
        Rows in residues/s and GB/s, and what else the figures depend on.
    """
    order = {
        "workload": asdict(sizes.workload()),
        "tokens_per_batch": sizes.tokens_per_batch,
        "stored": list(STORED),
        "directory": sizes.directory,
    }
    done = process.run("liftray.bench.cache_laps:measure", order, threads=sizes.threads).result
    seconds: dict[str, list[float]] = done["seconds"]
    alone = rate_row("prefix_alone", done["residues"], seconds["prefix_alone"], contest.RATE)
    rows = [alone]
    for stored in STORED:
        fill = seconds[f"fill_{stored}"]
        rows.append(rate_row(f"fill_{stored}", done["residues"], fill, contest.RATE, alone, 1.0))
        rows += _of_bytes(stored, done["bytes"][stored] / 1e9, seconds)
    return rows, {
        "backbone": sizes.model.title,
        "residues": done["residues"],
        "bytes": done["bytes"],
        "seconds": {name: [round(value, 4) for value in values] for name, values in seconds.items()},
    }


def _of_bytes(stored: str, gigabytes: float, seconds: dict[str, list[float]]) -> list[Row]:
    plain = {
        name: rate_row(f"{name}_{stored}", gigabytes, seconds[f"{name}_{stored}"], _BYTES)
        for name in ("disk_write", "disk_read", "memory_copy")
    }
    rows = [rate_row(f"fill_bytes_{stored}", gigabytes, seconds[f"fill_{stored}"], _BYTES), *plain.values()]
    for name, against in _AGAINST.items():
        taken = seconds[f"{name}_{stored}"]
        rows.append(rate_row(f"{name}_{stored}", gigabytes, taken, _BYTES, plain[against], 1.0))
    return rows
