"""`cache`: the speed of filling and reading the cache, compared with compute, disk and memory, for each number type.

Compared, all on the same hidden states: `fill_*` (compute, encode, commit) with `prefix_alone`, the forward passes of
the frozen blocks without storage; `write_*` (encode and commit) and `read_first_*` (open, check every entry's sha256,
decode; the files were dropped from the page cache) with writing and reading the same bytes as plain files;
`read_later_*` (gather and decode batches again) with copying the same bytes within memory. Target: a fill near
`prefix_alone`, reads far above the demand of a training step. GB are 1e9 bytes as stored.

Invariant: the store, codec and fill are the product's; entries are read in the order of a training epoch.
"""

from dataclasses import asdict, dataclass
from typing import Any

from liftray.bench import process
from liftray.bench.bench_report import Row, rate_row
from liftray.bench.suites import contest

STORED = ("float32", "bfloat16", "int8")
_BYTES = "GB/s"
# What is measured, and what it is compared with.
_AGAINST = {
    "write": "disk_write",
    "read_first": "disk_read",
    "read_later": "memory_copy",
}


@dataclass(frozen=True)
class Sizes(contest.Sizes):
    """How much is measured.

    Attributes:
        directory: A directory on the disk to measure; "": the system's directory of temporary files.
    """

    chains: int = 200
    directory: str = ""


def run(sizes: Sizes) -> tuple[list[Row], dict[str, Any]]:
    """Run the measurement.

    Returns:
        Rows in residues/s and GB/s, and the further facts that the figures depend on.
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
