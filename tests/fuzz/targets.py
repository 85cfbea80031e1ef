"""What is fuzzed: one target for each reader of untrusted input.

Invariant: a target takes any bytes and either returns, having checked what the reader gave, or raises what the reader
raised. Seeds are made here or lie in `corpus/`; the project made all of them.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from liftray.data.labels import STATES, UNLABELLED
from liftray.data.records import BadRecord, ProteinRecord
from liftray.data.validate import RESIDUES
from tests.fuzz import parts, seeds

Run = Callable[[bytes, Path], None]


@dataclass(frozen=True)
class Target:
    """A reader under test.

    Attributes:
        name: As on the command line.
        kind: `text`, `config`, `structure`, `table` or `model`: how many inputs a full run gives it.
        run: Reads one input, in an empty folder.
        seeds: Gives valid inputs.
        words: What has a meaning in the format.
        seconds: The most CPU time that one input may take. Wall time would judge the machine's other processes.
    """

    name: str
    kind: str
    run: Run
    seeds: Callable[[], Sequence[bytes]]
    words: tuple[bytes, ...] = ()
    seconds: float = 1.0


def _check(records: Iterable[ProteinRecord | BadRecord], alphabet: str) -> None:
    allowed = set(STATES[alphabet] + UNLABELLED)
    for record in records:
        if isinstance(record, BadRecord):
            json.dumps([record.id, record.detail], ensure_ascii=False).encode()
            continue
        if len(record.sequence) != len(record.ss) or not record.id.isprintable():
            raise AssertionError(f"a record that is not whole: {record.id!r}")
        if not set(record.sequence) <= set(RESIDUES) or not set(record.ss) <= allowed:
            raise AssertionError(f"a record of other letters: {record.id!r}")


def _labelled(file: str, alphabet: str = "ss3", *, packed: bool = False) -> Run:
    def run(data: bytes, folder: Path) -> None:
        from liftray.data import formats

        path = folder / file
        if packed:
            parts.write(data, folder)
        else:
            path.write_bytes(data)
        reader = formats.FORMATS[formats.detect(path)]
        reader.declared_alphabet(path)
        _check(formats.read(path, alphabet=alphabet), alphabet)

    return run


def _predict_fasta(data: bytes, folder: Path) -> None:
    from liftray.predict import fasta

    path = folder / "x.fasta"
    path.write_bytes(data)
    for chain in fasta.read(path):
        json.dumps([chain.id, getattr(chain, "detail", "")], ensure_ascii=False).encode()
        if isinstance(chain, fasta.Chain) and not (chain.sequence.isalpha() and chain.sequence.isupper()):
            raise AssertionError(f"residues {chain.sequence[:40]!r}")


def _dataset(data: bytes, folder: Path) -> None:
    from liftray.data.dataset import ProteinDataset

    parts.write(data, folder)
    found = ProteinDataset.open(folder)
    found.verify()
    found.index()


def _config(data: bytes, folder: Path) -> None:
    from liftray import config

    (folder / "x.yaml").write_bytes(data)
    settings = config.load(folder / "x.yaml")
    config.to_yaml(settings).encode()
    json.dumps(settings.flat(), default=str)


def _overrides(data: bytes, folder: Path) -> None:
    from liftray import config

    texts = data.decode("utf-8", "surrogateescape").strip("\n").split("\n")
    config.to_yaml(config.load(None, texts)).encode()


def _gates(data: bytes, folder: Path) -> None:
    from liftray.track.promotion import policy

    (folder / "gates.yaml").write_bytes(data)
    policy.load(folder / "gates.yaml")


def _structure(name: str) -> Run:
    def run(data: bytes, folder: Path) -> None:
        from liftray.data.formats import structures

        (folder / name).write_bytes(data)
        records = structures.read(folder / name, alphabet="ss9", method="mdtraj")
        for record in records:
            if isinstance(record, ProteinRecord) and len(record.sequence) != len(record.ss):
                raise AssertionError(f"a record that is not whole: {record.id!r}")

    return run


def _backbone_config(data: bytes, folder: Path) -> None:
    from liftray.backbone.architecture import read_config

    (folder / "config.json").write_bytes(data)
    read_config(folder / "config.json")


def _vocabulary(data: bytes, folder: Path) -> None:
    from liftray.backbone.vocabulary import read_vocabulary

    parts.write(data, folder)
    read_vocabulary(folder)


def _backbone(data: bytes, folder: Path) -> None:
    from liftray.backbone import model
    from liftray.backbone.sources import resolve

    parts.write(data, folder)
    model.load(resolve([str(folder)]), dtype="float32")


def _shard_index(data: bytes, folder: Path) -> None:
    from liftray.backbone.weight_files import Unreachable, weight_names

    (folder / "model.safetensors.index.json").write_bytes(data)
    shards = (f"model-0000{number}-of-00002.safetensors" for number in (1, 2))
    try:
        weight_names(folder, {"model.safetensors.index.json", *shards})
    except Unreachable:  # the next source is tried
        return


def _bundle_info(data: bytes, folder: Path) -> None:
    from liftray.predict import bundle

    parts.write(data, folder)
    bundle.described(folder, bundle.read_info(folder))


def _bundle(data: bytes, folder: Path) -> None:
    """A bundle whose digests fit its damaged files, as an attacker would write it."""
    from liftray.predict import bundle

    files = parts.unpack(data)
    parts.write(data, folder / "bundle")
    seeds.seal(folder / "bundle", files.get("bundle.json", b""))
    bundle.load(folder / "bundle", sources=[seeds.backbone()])


def _checkpoint(data: bytes, folder: Path) -> None:
    from liftray.train import checkpoint

    parts.write(data, folder)
    seeds.seal_checkpoint(folder)
    checkpoint.load(folder)


def _ledger(data: bytes, folder: Path) -> None:
    from liftray.documents import parse_json
    from liftray.track.promotion import ledger

    tags = parse_json(data, where="tags")
    if isinstance(tags, dict) and all(isinstance(value, str) for value in tags.values()):
        ledger.verify(tags, "model")


def _yaml_text(data: bytes, folder: Path) -> None:
    from liftray.documents import parse_yaml

    parse_yaml(data.decode("utf-8", "replace"), where="text")


_HEADERS = (
    b">",
    b"\n>a\n",
    b">a:A:sequence\n",
    b">a:A:secstr\n",
    b"HEC",
    b"LLHH",
    b"ACDX",
    b"-",
    b"*",
    b"SET=train",
)
_CELLS = (
    b"id",
    b"seq",
    b"n",
    b"q3",
    b"q8",
    b"sequence",
    b"ss",
    b"dssp8",
    b"dssp3",
    b"input",
    b"disorder",
    b"set",
)
_YAML = (
    b"data",
    b"train",
    b"adapter",
    b"kind",
    b"lora",
    b": ",
    b"- ",
    b"{",
    b"[",
    b"!!int ",
    b"&a ",
    b"*a",
    b"<<: ",
    b"~",
)
_PDB = (
    b"ATOM  ",
    b"HETATM",
    b"TER   \n",
    b"END\n",
    b"ENDMDL\n",
    b"MODEL",
    b"SEQRES",
    b"ANISOU",
    b" CA ",
    b"MSE",
    b"HOH",
)
_CIF = (
    b"loop_\n",
    b"data_x\n",
    b"_atom_site.",
    b"_entity_poly_seq.",
    b"label_asym_id",
    b"?",
    b".",
    b"';",
    b"\n;\n",
)
_JSON = (
    b"{",
    b"}",
    b"[",
    b"]",
    b'"',
    b",",
    b":",
    b"null",
    b"-1",
    b"1e999",
    b"1e-7",
    b"true",
    b'""',
    b"adapter",
    b"files",
)


TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        Target("three-line", "text", _labelled("x.ss3.txt"), cache(seeds.three_line), _HEADERS),
        Target("fasta-labelled", "text", _labelled("x.fasta", packed=True), cache(seeds.fasta), _HEADERS),
        Target("fasta-predict", "text", _predict_fasta, cache(seeds.predict_fasta), _HEADERS),
        Target("netsurfp-csv", "text", _labelled("x.csv"), cache(seeds.netsurfp), _CELLS),
        Target("table", "text", _labelled("x.tsv", "ss8"), cache(seeds.table), _CELLS),
        Target("jsonl", "text", _labelled("x.jsonl"), cache(seeds.jsonl), _JSON),
        Target(
            "dssp",
            "text",
            _labelled("x.dssp", "ss8"),
            cache(seeds.dssp),
            (b"  #  RESIDUE", b"!*", b"!", b" H "),
        ),
        Target(
            "psipred",
            "text",
            _labelled("x.ss2"),
            cache(seeds.psipred),
            (b"# PSIPRED", b"Conf:", b"Pred:", b"AA:"),
        ),
        Target("compressed", "text", _labelled("x.txt"), cache(seeds.compressed), seconds=15.0),
        Target("yaml", "config", _yaml_text, cache(seeds.configs), _YAML),
        Target("config", "config", _config, cache(seeds.configs), _YAML),
        Target("overrides", "config", _overrides, cache(seeds.overrides), _YAML),
        Target("gates", "config", _gates, cache(seeds.gates), _YAML),
        Target("ledger", "config", _ledger, cache(seeds.ledger), _JSON),
        Target("backbone-config", "config", _backbone_config, cache(seeds.backbone_configs), _JSON),
        Target("vocabulary", "config", _vocabulary, cache(seeds.vocabularies), _JSON),
        Target("shard-index", "config", _shard_index, cache(seeds.shard_indexes), _JSON),
        Target("pdb", "structure", _structure("1abc.pdb"), cache(seeds.pdb), _PDB),
        Target("mmcif", "structure", _structure("1abc.cif"), cache(seeds.mmcif), _CIF),
        Target("binarycif", "structure", _structure("1abc.bcif"), cache(seeds.binarycif)),
        Target("parquet", "table", _labelled("x.parquet"), cache(seeds.parquet)),
        Target("dataset", "table", _dataset, cache(seeds.datasets), _JSON),
        Target("bundle-info", "model", _bundle_info, cache(seeds.bundles), _JSON),
        Target("bundle", "model", _bundle, cache(seeds.bundles), _JSON),
        Target("backbone", "model", _backbone, cache(seeds.backbones), _JSON),
        Target("checkpoint", "model", _checkpoint, cache(seeds.checkpoints), _JSON),
    )
}
