"""`ingest`: a three-line file to a Parquet data set: records and megabytes a second, and memory.

Invariant: every run is its own process, so that its peak memory is its own and all start with the same libraries. The
reference reads the same file and writes the same columns without checks: the gain of trusting the file.
"""

import tempfile
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from liftray.bench import process
from liftray.bench.bench_report import Row, row
from liftray.bench.chains import chains
from liftray.bench.meter import median
from liftray.bench.process import Child
from liftray.data.records import SCHEMA
from liftray.progress import progress

_ROW_GROUP = 1024


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes:
        few: Records of the small file.
        many: Records of the large file; its rates are reported.
        longest: Residues of the longest chain.
        repeats: Measured runs of each.
        seed: Seed of the chains.
    """

    few: int = 2_000
    many: int = 20_000
    longest: int = 788
    repeats: int = 3
    seed: int = 0


def run(sizes: Sizes) -> tuple[list[Row], dict[str, Any]]:
    """Run the measurement.

    Returns:
        Rates, peak memory and its growth; and the further facts that the figures depend on.
    """
    with tempfile.TemporaryDirectory(prefix="liftray-bench-") as name:
        folder = Path(name)
        few, many = (_write(folder / f"{count}.txt", count, sizes) for count in (sizes.few, sizes.many))
        size = many.stat().st_size
        ours = ("liftray.data.ingest:ingest", "inputs")
        plain = (f"{__name__}:unchecked", "source")
        runs = {"few": (*ours, [str(few)]), "unchecked": (*plain, str(many)), "many": (*ours, [str(many)])}
        done = _in_turns(runs, sizes.repeats, folder)
    seconds = {name: [one.seconds for one in each] for name, each in done.items()}
    peaks = {name: median([one.peak_bytes for one in each]) for name, each in done.items()}
    free = row("unchecked", sizes.many / median(seconds["unchecked"]), "records/s")
    small = row(f"peak_memory_{sizes.few}", peaks["few"] / 2**20, "MiB")
    rows = [
        free,
        row("ingest", sizes.many / median(seconds["many"]), "records/s", free, 1.0),
        row("ingest_bytes", size / median(seconds["many"]) / 1e6, "MB/s"),
        small,
        row(f"peak_memory_{sizes.many}", peaks["many"] / 2**20, "MiB", small, 1.0),
        row("peak_memory_growth", (peaks["many"] - peaks["few"]) / (sizes.many - sizes.few), "bytes/record"),
    ]
    return rows, {
        "format": "three-line",
        "file_bytes": size,
        "row_group_size": _ROW_GROUP,
        "seconds": {name: [round(value, 4) for value in values] for name, values in seconds.items()},
    }


def unchecked(source: str, out: str) -> None:
    """Three-line file to one Parquet file, a row group at a time, without checks, counts or digests.

    Args:
        source: The three-line file.
        out: Directory for the Parquet file.
    """
    Path(out).mkdir()
    with (
        Path(source).open(encoding="utf-8") as file,
        pq.ParquetWriter(Path(out) / "all.parquet", SCHEMA, compression="zstd") as parts,
    ):
        while lines := [line.rstrip("\n") for line in islice(file, 3 * _ROW_GROUP)]:
            ids = [line[1:] for line in lines[0::3]]
            sequences, states = lines[1::3], lines[2::3]
            columns = [ids, sequences, states, [len(ss) for ss in states], [Path(source).name] * len(ids)]
            arrays = [pa.array(values, field.type) for values, field in zip(columns, SCHEMA, strict=True)]
            parts.write_table(pa.Table.from_arrays(arrays, schema=SCHEMA))


def _in_turns(runs: dict[str, tuple[str, str, Any]], repeats: int, folder: Path) -> dict[str, list[Child]]:
    """Run each once as warm-up of the file cache, then `repeats` measured rounds.

    Args:
        runs: Function, its parameter for the input, and the input, by name.
        repeats: Measured rounds.
        folder: Directory of the output.
    """
    done: dict[str, list[Child]] = {name: [] for name in runs}
    with progress("bench ingest", len(runs) * (repeats + 1), "runs") as advance:
        for turn in range(repeats + 1):
            for name, (function, parameter, source) in runs.items():
                order = {parameter: source, "out": str(folder / f"{name}-{turn}")}
                measured = process.run(function, order, imports=["liftray.data.ingest", __name__])
                if turn:
                    done[name].append(measured)
                advance()
    return done


def _write(path: Path, count: int, sizes: Sizes) -> Path:
    with path.open("w", encoding="utf-8") as file:
        for name, sequence, ss in chains(count, sizes.seed, longest=sizes.longest):
            file.write(f">{name}\n{sequence}\n{ss}\n")
    return path
