"""PROVENANCE.md of the embedded sample: where each chain is from and what was done to it.

Invariant: every statement about the files (digests, counts, sources) is made from the build's own values. Flow: build
-> [this] -> PROVENANCE.md, which the tests compare with the files.
"""

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields

from liftray.data.sample.homology import MAX_E_VALUE, MAX_IDENTITY
from liftray.data.sample.sources import SDISTS


@dataclass(frozen=True, slots=True)
class Row:
    """One chain's line of the table; `method` is as the file states it, `sha256` that of the structure file."""

    chain: str
    split: str
    cluster: int
    length: int
    labelled: int
    pdb_id: str
    method: str
    package: str
    file: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Summary:
    """What one split holds; `states` counts residues by label."""

    split: str
    chains: int
    clusters: int
    residues: int
    states: dict[str, int]


_TEXT = """# Where the embedded sample comes from

Real protein chains with nine-state labels (`L B E G I H S T P`, `X` = no label), for the quickstart and the tests. They
are too few to measure a method: use the benchmark sets for that.

- **Sources.** Structure files that ship inside source distributions on the Python package index, listed below. The
  coordinates are entries of the Protein Data Bank, which are in the public domain (CC0 1.0); the packages' own
  licences are named for completeness. No package code is part of this project.
- **Labels.** mkdssp {mkdssp} through `liftray ingest --format structures` (gemmi {gemmi}). The sequence is the full
  polymer where the file has it; residues without coordinates are labelled `X`. Ids are PDB entry and chain.
- **Choice.** One file for each PDB entry (files whose names mark them as cut, moved, rebuilt or simulated are
  left out, predicted models too); chains of 30 to 700 residues, at least half of them labelled, at most a tenth
  unknown; one chain for each sequence. Low-resolution entries are kept: the table gives the resolution. The entry
  is the one in the file's name; where the file states none inside, the table says so.
- **Splits.** Chains are related if their best local alignment (Smith-Waterman, BLOSUM62, gaps 10 + n) has identical
  pairs for more than {identity:.0%} of the shorter chain's length, or is significant (E <= {e_value:g}). Single-linkage
  clusters of related chains stay together, so **no chain has a relative in another split**. Clusters over two chains
  are in `train`.
- **Not new to the backbone.** ESM-2 was pretrained on UniRef50, so sequences like these, test set included, were seen
  without labels. That is so for every protein language model and every public benchmark.
- **Rebuild.** `python -m liftray.data.sample.build --out DIR [--sdists DIR]`; needs mkdssp 4 and downloads the archives
  with pip (which runs the packages' build set-up to learn their metadata) unless `--sdists` has them.
"""


def page(
    rows: Sequence[Row], summaries: Sequence[Summary], digests: Mapping[str, str], tools: Mapping[str, str]
) -> str:
    """Write the page.

    Args:
        rows: One a chain, in the order of the files.
        summaries: One a split.
        digests: sha256 by file name.
        tools: Versions by program name: `mkdssp` and `gemmi`.
    """
    states = list(summaries[0].states)
    return "\n".join(
        [
            _TEXT.format(identity=MAX_IDENTITY, e_value=MAX_E_VALUE, **tools),
            "## Files\n",
            *_table(["file", "sha256"], list(digests.items())),
            "## Splits\n",
            *_table(
                ["split", "chains", "clusters", "residues", *states],
                [(s.split, s.chains, s.clusters, s.residues, *s.states.values()) for s in summaries],
            ),
            "## Archives\n",
            *_table(
                ["package", "version", "archive", "sha256", "licence"],
                [(s.package, s.version, s.archive, s.sha256, s.licence) for s in SDISTS],
            ),
            "## Chains\n",
            *_table([field.name for field in fields(Row)], [astuple(row) for row in rows]),
        ]
    )


def _table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    lines = [heads, ["---"] * len(heads), *rows]
    return [*("| " + " | ".join(map(str, line)) + " |" for line in lines), ""]
