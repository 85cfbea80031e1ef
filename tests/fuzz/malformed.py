"""What every reader does with every kind of malformed input, as a table: `python -m tests.fuzz.malformed --write`.

Invariant: each cell of the page is the outcome of a run; nothing of the table is written by hand.
"""

import bz2
import gzip
import io
import os
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from liftray import config, limits
from liftray.data import formats
from liftray.errors import LiftrayError
from tests.fuzz import parts, seeds

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "malformed-inputs.md"
_HEAD = """# Malformed inputs

What each reader does with each kind of malformed input. The table is the output of
`python -m tests.fuzz.malformed`, and a test runs every cell again.

- *refused*: one line on stderr that names the file, the fault and the remedy; exit code 2; nothing is written.
- *quarantined*: the record is left out and listed with this reason; the other records are taken.
- *read*: the content is valid, or the fault is in what the reader does not use.
- A reader that never inflates its file takes a compressed one as damaged.

The limits and their reasons are in the module `liftray.limits`. A compressed file may be gzip, bzip2, xz, zstd, or a
zip with one file; its first bytes decide, not its name.

"""


@dataclass(frozen=True)
class Reader:
    """A reader of one path.

    Attributes:
        name: As in the table.
        file: Name of the damaged file in its folder.
        others: The other files that it needs.
        valid: A valid input.
        read: Reads the folder's file, or the folder.
    """

    name: str
    file: str
    valid: Callable[[], bytes]
    read: Callable[[Path], Iterable[Any]]
    others: Callable[[], dict[str, bytes]] = dict


def _labelled(format: str, alphabet: str = "ss3") -> Callable[[Path], Iterable[Any]]:
    return lambda path: formats.read(path, format=format, alphabet=alphabet)


def _predict(path: Path) -> Iterable[Any]:
    from liftray.predict import fasta

    return fasta.read(path)


def _structure(path: Path) -> Iterable[Any]:
    from liftray.data.formats import structures

    return structures.read(path, alphabet="ss9", method="mdtraj")


def _dataset(path: Path) -> Iterable[Any]:
    from liftray.data.dataset import ProteinDataset

    found = ProteinDataset.open(path.parent)
    found.verify()
    return [found]


def _gates(path: Path) -> Iterable[Any]:
    from liftray.track.promotion import policy

    return [policy.load(path)]


def _backbone(path: Path) -> Iterable[Any]:
    from liftray.backbone import model
    from liftray.backbone.sources import resolve

    return [model.load(resolve([str(path.parent)]), dtype="float32")]


def _bundle(path: Path) -> Iterable[Any]:
    from liftray.predict import bundle

    return [bundle.load(path.parent, sources=[seeds.backbone()])]


def _checkpoint(path: Path) -> Iterable[Any]:
    from liftray.train import checkpoint

    return [checkpoint.load(path.parent)]


def _folder(
    packed: Callable[[], Sequence[bytes]], file: str
) -> tuple[Callable[[], bytes], Callable[[], dict[str, bytes]]]:
    return (
        lambda: parts.unpack(packed()[0])[file],
        lambda: {name: content for name, content in parts.unpack(packed()[0]).items() if name != file},
    )


READERS = (
    Reader("three-line", "x.txt", lambda: b">a\nACDE\nHHHH\n>b\nACD\nHHH\n", _labelled("three-line")),
    Reader("FASTA with labels", "x.fasta", lambda: b">a\nACD\n>a\nHHH\n", _labelled("fasta")),
    Reader("CSV, TSV", "x.csv", lambda: b"id,sequence,ss3\na,ACD,HHH\n", _labelled("table")),
    Reader("NetSurfP CSV", "x.csv", lambda: b"id,seq,n,q3\na,A,1,H\na,C,2,H\n", _labelled("netsurfp-csv")),
    Reader(
        "JSON lines", "x.jsonl", lambda: b'{"id": "a", "sequence": "ACD", "ss3": "HHH"}\n', _labelled("jsonl")
    ),
    Reader("DSSP", "x.dssp", lambda: seeds.dssp()[0], _labelled("dssp", "ss8")),
    Reader("PSIPRED", "x.ss2", lambda: seeds.psipred()[1], _labelled("psipred")),
    Reader("Parquet", "x.parquet", lambda: seeds.parquet()[0], _labelled("parquet")),
    Reader("PDB", "x.pdb", lambda: seeds.pdb()[0], _structure),
    Reader("mmCIF", "x.cif", lambda: seeds.mmcif()[0], _structure),
    Reader("BinaryCIF", "x.bcif", lambda: seeds.binarycif()[0], _structure),
    Reader("FASTA to predict", "x.fasta", lambda: b">a\nMKT\n", _predict),
    Reader("config", "x.yaml", lambda: seeds.configs()[0], lambda path: [config.load(path)]),
    Reader("gates", "x.yaml", lambda: seeds.gates()[0], _gates),
    *(
        Reader(f"{kind}: `{file}`", file, *(_folder(packed, file)[:1]), read, _folder(packed, file)[1])
        for kind, packed, read, files in (
            ("data set", seeds.datasets, _dataset, ("dataset.json", "part-00000.parquet")),
            ("backbone", seeds.backbones, _backbone, ("config.json", "model.safetensors")),
            (
                "bundle",
                seeds.bundles,
                _bundle,
                ("bundle.json", "head.safetensors", "adapter/adapter_config.json"),
            ),
            ("checkpoint", seeds.checkpoints, _checkpoint, ("state.json", "weights.safetensors")),
        )
        for file in files
    ),
)

_bomb = gzip.compress(b">a\n" + b"A" * (limits.INFLATION_FREE_BYTES + 10), mtime=0)


def _zip_of_two(valid: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in ("a", "b"):
            archive.writestr(zipfile.ZipInfo(name), valid)
    return file.getvalue()


KINDS: dict[str, Callable[[bytes], bytes | None]] = {
    "missing": lambda valid: None,
    "a folder": lambda valid: None,
    "a pipe": lambda valid: None,
    "a device": lambda valid: None,
    "empty": lambda valid: b"",
    "blank lines": lambda valid: b"\n" * 99,
    "cut in the middle": lambda valid: valid[: len(valid) // 2],
    "random bytes": lambda valid: bytes((number * 151 + 7) % 256 for number in range(999)),
    "not UTF-8": lambda valid: valid[: len(valid) // 2] + b"\xff\xfe\xc3" + valid[len(valid) // 2 :],
    "UTF-16": lambda valid: valid.decode("latin-1").encode("utf-16"),
    "gzip": lambda valid: gzip.compress(valid, mtime=0),
    "cut gzip": lambda valid: gzip.compress(valid * 20, mtime=0)[:-9],
    "bzip2": bz2.compress,
    "gzip bomb": lambda valid: _bomb,
    "zip of two": _zip_of_two,
    "nested 100,000 deep": lambda valid: b'{"a":' * 100_000,
    "one line of 5 MB": lambda valid: b"A" * 5_000_000,
}


def outcome(reader: Reader, kind: str, folder: Path) -> str:
    """Run one cell."""
    path = folder / reader.file
    for name, content in reader.others().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = KINDS[kind](reader.valid())
    if content is not None:
        path.write_bytes(content)
    elif kind == "a folder":
        path.mkdir()
    elif kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a device":
        path.symlink_to("/dev/zero")
    try:
        records = list(reader.read(path))
    except LiftrayError as error:
        if error.exit_code != 2 or "\n" in str(error):
            raise
        return "refused"
    reasons = sorted({one.reason for one in records if hasattr(one, "reason")})
    taken = any(not hasattr(one, "reason") for one in records)
    return ("read; " if taken and reasons else "read" if taken else "") + ", ".join(
        f"`{one}`" for one in reasons
    )


def row(reader: Reader) -> str:
    """A reader's row of the table, every cell run."""
    cells = [reader.name]
    for kind in KINDS:
        with tempfile.TemporaryDirectory() as folder:
            cells.append(outcome(reader, kind, Path(folder)))
    return f"| {' | '.join(cells)} |"


def render() -> str:
    """The page."""
    head = [_HEAD + "| reader | " + " | ".join(KINDS) + " |", "|---" * (len(KINDS) + 1) + "|"]
    return "\n".join([*head, *map(row, READERS)]) + "\n"


if __name__ == "__main__":
    page = render()
    seeds.clear()
    if "--write" in sys.argv:
        PAGE.write_text(page, encoding="utf-8")
    else:
        sys.stdout.write(page)
