"""The seed corpus: small valid inputs of each format, made by the project.

Text seeds are files in `corpus/TARGET/`; binary ones are made here, since they are too dull to read and easy to make.
"""

import bz2
import gzip
import io
import json
import lzma
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import gemmi
import msgpack
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from liftray import sealed
from liftray.files import sha256_file
from tests.fuzz.parts import pack
from tests.parts import peptides, tiny

CORPUS = Path(__file__).parent / "corpus"


def _files(target: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted((CORPUS / target).iterdir())]


def three_line() -> Sequence[bytes]:
    return _files("three-line")


def fasta() -> Sequence[bytes]:
    pair = {"x.fasta": b">a\nACDEFG\nHIK\n>b\nMKT\n", "x.ss3.fasta": b">a\nHHHEEE\nLLL\n>b\nLLL\n"}
    return [pack({"x.fasta": content}) for content in _files("fasta-labelled")] + [pack(pair)]


def predict_fasta() -> Sequence[bytes]:
    return _files("fasta-predict")


def netsurfp() -> Sequence[bytes]:
    return _files("netsurfp-csv")


def table() -> Sequence[bytes]:
    return _files("table")


def jsonl() -> Sequence[bytes]:
    return _files("jsonl")


def dssp() -> Sequence[bytes]:
    return _files("dssp")


def psipred() -> Sequence[bytes]:
    return _files("psipred")


def configs() -> Sequence[bytes]:
    return _files("config")


def overrides() -> Sequence[bytes]:
    return _files("overrides")


def gates() -> Sequence[bytes]:
    return [
        (Path(__file__).parents[2] / "configs" / "gates.yaml").read_bytes(),
        b"primary: {set: test, equal_within: 0.01}\nbudgets: {}\n",
    ]


def ledger() -> Sequence[bytes]:
    from liftray.track.promotion.ledger import hash_of

    tags, previous = {}, "0" * 64
    for number in (1, 2, 3):
        entry = {
            "n": number,
            "time": "2026-01-01T00:00:00+00:00",
            "who": "a@b",
            "action": "promote",
            "evidence": {},
        }
        entry |= {"version": number, "previous": None, "reason": "first", "prev_hash": previous}
        previous = entry["hash"] = hash_of(entry)
        tags[f"liftray.ledger.{number:06d}"] = json.dumps(entry, sort_keys=True)
    return [json.dumps(tags).encode()]


def backbone_configs() -> Sequence[bytes]:
    return [json.dumps({"model_type": name, **content}).encode() for name, content in tiny.CONFIGS.items()]


def vocabularies() -> Sequence[bytes]:
    letters = ["<pad>", "</s>", "<unk>", *"ACDEFGHIKLMNPQRSTVWY"]
    tokenizer = {
        "model": {"vocab": {letter: number for number, letter in enumerate(letters)}},
        "added_tokens": [],
    }
    unigram = {
        "model": {"vocab": [[letter, -1.5] for letter in letters]},
        "added_tokens": [{"id": 99, "content": "X"}],
    }
    pieces = b"".join(
        b"\n" + bytes([len(piece) + 2]) + b"\n" + bytes([len(piece)]) + piece
        for piece in map(str.encode, letters)
    )
    return [
        pack({"vocab.txt": "\n".join(letters).encode()}),
        pack({"tokenizer.json": json.dumps(tokenizer).encode()}),
        pack({"tokenizer.json": json.dumps(unigram).encode()}),
        pack({"spiece.model": pieces}),
    ]


def shard_indexes() -> Sequence[bytes]:
    shards = {f"layer.{number}": f"model-0000{1 + number % 2}-of-00002.safetensors" for number in range(4)}
    return [json.dumps({"metadata": {"total_size": 1}, "weight_map": shards}).encode()]


def compressed() -> Sequence[bytes]:
    text = b">a\nACDEFGHIK\nHHHEEELLL\n>b\nMKT\nLLL\n"
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(zipfile.ZipInfo("x.txt"), text)
    codecs: list[Callable[[bytes], bytes]] = [
        lambda content: gzip.compress(content, mtime=0),
        bz2.compress,
        lzma.compress,
        lambda content: pa.Codec("zstd").compress(content, asbytes=True),
    ]
    return [compress(content) for compress in codecs for content in (text, text * 50)] + [
        archive.getvalue(),
        text,
    ]


def _structure() -> gemmi.Structure:
    structure = peptides.helix(["ALA", "MSE", "GLY", "HIS", "LYS", "LEU", "SER", "THR"])
    structure.setup_entities()
    return structure


def pdb() -> Sequence[bytes]:
    whole = _structure().make_pdb_string().encode()
    return [whole, whole.replace(b"ATOM  ", b"HETATM", 5), *_files("pdb")]


def mmcif() -> Sequence[bytes]:
    return [_structure().make_mmcif_document().as_string().encode(), *_files("mmcif")]


def binarycif() -> Sequence[bytes]:
    block = _structure().make_mmcif_block()
    categories = []
    for name in ("_atom_site", "_entity", "_entity_poly", "_entity_poly_seq", "_struct_asym"):
        found = block.find_mmcif_category(f"{name}.")
        columns = [
            _column(tag.removeprefix(f"{name}."), list(found.column(at))) for at, tag in enumerate(found.tags)
        ]
        categories.append({"name": name, "rowCount": len(found), "columns": columns})
    content = {
        "version": "0.3.0",
        "encoder": "liftray",
        "dataBlocks": [{"header": "1ABC", "categories": categories}],
    }
    return [msgpack.packb(content)]


def _column(name: str, cells: list[str]) -> dict[str, Any]:
    if name.startswith("Cartn") or name == "occupancy":
        integers = [round(float(cell) * 1000) for cell in cells]
        data = _bytes(integers, 3, "<i4")
        data["encoding"].insert(0, {"kind": "FixedPoint", "factor": 1000, "srcType": 33})
    elif all(cell.isdecimal() for cell in cells):
        deltas = np.diff([0, *map(int, cells)])
        runs = [part for value in deltas for part in (int(value), 1)]
        data = _bytes(runs, 3, "<i4")
        data["encoding"] = [
            {"kind": "Delta", "origin": 0, "srcType": 3},
            {"kind": "RunLength", "srcType": 3, "srcSize": len(cells)},
            *data["encoding"],
        ]
    else:
        words = sorted(set(cells))
        offsets = _bytes([0, *np.cumsum([len(word) for word in words]).tolist()], 3, "<i4")
        index = _bytes([words.index(cell) for cell in cells], 1, "i1")
        strings = {
            "kind": "StringArray",
            "dataEncoding": index["encoding"],
            "stringData": "".join(words),
            "offsets": offsets["data"],
            "offsetEncoding": offsets["encoding"],
        }
        data = {"data": index["data"], "encoding": [strings]}
    return {"name": name, "mask": None, "data": data}


def _bytes(numbers: Sequence[int], code: int, kind: str) -> dict[str, Any]:
    return {"data": np.array(numbers, kind).tobytes(), "encoding": [{"kind": "ByteArray", "type": code}]}


def parquet() -> Sequence[bytes]:
    columns = {"id": ["a", "b"] * 20, "sequence": ["ACDEFG", "MKT"] * 20, "ss3": ["HHHEEE", "LLL"] * 20}
    made = []
    for options in (
        {"compression": "none"},
        {"compression": "zstd"},
        {"use_dictionary": False, "compression": "none"},
    ):
        file = io.BytesIO()
        pq.write_table(pa.table(columns), file, **options)
        made.append(file.getvalue())
    return made


@cache
def _folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="liftray-fuzz-"))


@cache
def datasets() -> Sequence[bytes]:
    path = Path(tiny.dataset(_folder() / "dataset", tiny.chains([5, 9, 3, 12])))
    names = ("dataset.json", "part-00000.parquet")
    return [pack({name: (path / name).read_bytes() for name in names if (path / name).exists()})]


@cache
def backbone() -> str:
    """The source of the backbone under all bundles of the corpus."""
    return tiny.write_backbone(_folder() / "backbone")


@cache
def backbones() -> Sequence[bytes]:
    return [_packed(Path(backbone()))]


@cache
def bundles() -> Sequence[bytes]:
    from liftray.adapt import tagger as taggers
    from liftray.adapt.tagger import TaggerSettings
    from liftray.backbone import model as backbones
    from liftray.backbone.sources import resolve
    from liftray.predict import bundle

    made = []
    for kind in ("bottleneck", "lora"):
        settings = tiny.settings(adapter__skip_layers=2, adapter__kind=kind, head__kind="linear")
        model = taggers.build(
            backbones.load(resolve([backbone()]), dtype="float32"), TaggerSettings.of(settings), seed=1
        )
        directory = _folder() / f"bundle-{kind}"
        bundle.save(model, directory, [backbone()], {"data": {}, "metrics": {}})
        made.append(_packed(directory))
    return made


@cache
def checkpoints() -> Sequence[bytes]:
    import torch

    from liftray.train import checkpoint
    from liftray.train.checkpoint import Checkpoint, Progress

    directory = _folder() / "checkpoint"
    directory.mkdir()
    weights = {"head.weight": torch.ones(2, 3), "head.bias": torch.zeros(2)}
    moments = {
        f"{name}/{part}": value.clone()
        for name, value in weights.items()
        for part in ("exp_avg", "exp_avg_sq")
    }
    progress = Progress(epoch=1, global_step=7, history=[{"epoch": 0, "score": 0.5}], step_losses=[1.0, 0.5])
    checkpoint.save(Checkpoint(progress, weights, moments, weights), directory)
    return [_packed(directory)]


def seal(directory: Path, info: bytes) -> None:
    """Put the present digests of a bundle's files into its `bundle.json`, where that is JSON."""
    try:
        content = json.loads(info)
        listed = content["files"]
        for path in sorted(directory.rglob("*")):
            if path.is_file() and path.name != "bundle.json":
                listed[path.relative_to(directory).as_posix()] = sha256_file(path)
        sealed.write_json(directory / "bundle.json", content)
    except (ValueError, KeyError, TypeError, AttributeError, OSError, RecursionError):
        return


def seal_checkpoint(directory: Path) -> None:
    """Likewise for `state.json` of a checkpoint."""
    try:
        content = json.loads((directory / "state.json").read_bytes())
        for path in sorted(directory.glob("*.safetensors")):
            content["sha256"][path.name] = sha256_file(path)
        sealed.write_json(directory / "state.json", content)
    except (ValueError, KeyError, TypeError, AttributeError, OSError, RecursionError):
        return


def clear() -> None:
    """Remove what the seeds were made in."""
    shutil.rmtree(_folder(), ignore_errors=True)


def _packed(directory: Path) -> bytes:
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return pack({path.relative_to(directory).as_posix(): path.read_bytes() for path in files})
