"""The embedded sample is as PROVENANCE.md describes it, and no chain has a relative in another split."""

import random
import re
from collections import Counter
from hashlib import sha256
from itertools import combinations
from pathlib import Path

import pytest

from liftray.data import formats, sample
from liftray.data.dataset import ProteinDataset
from liftray.data.ingest import ingest
from liftray.data.records import ProteinRecord
from liftray.data.sample import SPLITS, build, homology
from liftray.data.sample.sources import SDISTS

HERE = sample.directory()
PAGE = (HERE / "PROVENANCE.md").read_text(encoding="utf-8")
RESIDUES = "ACDEFGHIKLMNPQRSTVWY"


def read(split: str) -> list[ProteinRecord]:
    found = list(formats.read(HERE / f"{split}.ss9.txt", alphabet="ss9"))
    assert all(isinstance(record, ProteinRecord) for record in found)
    return [record for record in found if isinstance(record, ProteinRecord)]


def table(heading: str) -> list[dict[str, str]]:
    """The rows of the page's table under a heading."""
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("|")]
    return [dict(zip(lines[0], line, strict=True)) for line in lines[2:]]


@pytest.fixture(scope="module")
def splits() -> dict[str, list[ProteinRecord]]:
    return {split: read(split) for split in SPLITS}


def test_there_are_enough_chains(splits: dict[str, list[ProteinRecord]]) -> None:
    counts = {split: len(records) for split, records in splits.items()}
    assert sum(counts.values()) >= 100
    assert counts["train"] >= 70
    assert counts["valid"] >= 15
    assert counts["test"] >= 25


def test_every_split_has_every_state_in_like_measure(splits: dict[str, list[ProteinRecord]]) -> None:
    shares = {}
    for split, records in splits.items():
        letters = Counter("".join(record.ss for record in records))
        labelled = sum(letters.values()) - letters["X"]
        shares[split] = {state: letters[state] / labelled for state in "LBEGIHSTP"}
        assert all(share > 0 for share in shares[split].values()), split
        assert labelled >= 0.85 * sum(letters.values())
    for split in ("valid", "test"):
        for state in "LEHST":
            assert abs(shares[split][state] - shares["train"][state]) < 0.1, (split, state)


def test_chains_are_fit_to_learn_from(splits: dict[str, list[ProteinRecord]]) -> None:
    records = [record for split in splits.values() for record in split]
    assert build.choose(records) == sorted(records, key=lambda record: record.id)
    assert len({record.id for record in records}) == len(records)
    for record in records:
        assert re.fullmatch(r"\d[a-z0-9]{3}_\w+(-\d)?", record.id)


def test_the_files_are_those_of_the_page(splits: dict[str, list[ProteinRecord]]) -> None:
    for row in table("Files"):
        assert sha256((HERE / row["file"]).read_bytes()).hexdigest() == row["sha256"], row["file"]
    rows = {row["chain"]: row for row in table("Chains")}
    assert len(rows) == sum(map(len, splits.values()))
    for split, records in splits.items():
        for record in records:
            row = rows[record.id]
            assert (row["split"], row["pdb_id"]) == (split, record.id[:4])
            assert int(row["length"]) == len(record.sequence)
            assert int(row["labelled"]) == len(record.ss) - record.ss.count("X")
    archives = {f"{sdist.package} {sdist.version}" for sdist in SDISTS}
    assert {row["package"] for row in rows.values()} <= archives


def test_clusters_of_the_page_lie_in_one_split() -> None:
    clusters: dict[str, set[str]] = {}
    for row in table("Chains"):
        clusters.setdefault(row["cluster"], set()).add(row["split"])
    assert all(len(found) == 1 for found in clusters.values())


def test_no_chain_has_a_relative_in_another_split(splits: dict[str, list[ProteinRecord]]) -> None:
    sequences = {split: [record.sequence for record in records] for split, records in splits.items()}
    for one, other in combinations(("test", "valid", "train"), 2):
        for record in splits[one]:
            found = homology.related(record.sequence, sequences[other])
            assert not found.any(), (record.id, splits[other][int(found.argmax())].id)


def test_the_sample_is_small_and_ingests_whole(
    tmp_path: Path, splits: dict[str, list[ProteinRecord]]
) -> None:
    assert sum(path.stat().st_size for path in HERE.iterdir() if path.is_file()) < 400_000
    for split, records in splits.items():
        summary = ingest([HERE / f"{split}.ss9.txt"], tmp_path / split)
        assert (summary["alphabet"], summary["quarantined"]["total"]) == ("ss9", 0)
        assert summary["duplicates"]["sequences"] == 0
        stored = list(ProteinDataset.open(tmp_path / split).iter_records())
        assert [(r.id, r.sequence, r.ss) for r in stored] == [(r.id, r.sequence, r.ss) for r in records]


def test_the_example_is_from_the_test_split(splits: dict[str, list[ProteinRecord]]) -> None:
    lines = (HERE / sample.EXAMPLE_FASTA).read_text().splitlines()
    pairs = dict(zip((line[1:] for line in lines[::2]), lines[1::2], strict=True))
    test = {record.id: record.sequence for record in splits["test"]}
    assert 3 <= len(pairs) <= 5
    assert pairs.items() <= test.items()
    assert build.example(splits["test"]) == [r for i in pairs for r in splits["test"] if r.id == i]


# --- the rule itself --------------------------------------------------------------------------------------------


def plain_smith_waterman(a: str, b: str) -> int:
    """Gotoh's recursion, cell by cell."""
    best, low = 0, -(10**6)
    above, down = [0] * (len(b) + 1), [low] * (len(b) + 1)
    for x in homology.encode(a):
        row, right = [0] * (len(b) + 1), low
        for j, y in enumerate(homology.encode(b), start=1):
            down[j] = max(down[j] - 1, above[j] - 11)
            right = max(right - 1, row[j - 1] - 11)
            row[j] = max(0, above[j - 1] + int(homology._PAIR_VALUE[x, y] >> 12), down[j], right)
            best = max(best, row[j])
        above = row
    return best


def test_scores_are_exact() -> None:
    rng = random.Random(0)
    for _ in range(12):
        query = "".join(rng.choices(RESIDUES + "X", k=rng.randint(1, 40)))
        targets = ["".join(rng.choices(RESIDUES, k=rng.randint(1, 50))) for _ in range(6)]
        targets.append(query[:15] + "WWWW" + query[15:])
        scores, _ = homology.local_alignments(query, targets)
        assert scores.tolist() == [plain_smith_waterman(query, target) for target in targets]


def test_scores_are_those_of_biopython(splits: dict[str, list[ProteinRecord]]) -> None:
    align = pytest.importorskip("Bio.Align", reason="biopython (extra `sample`) is the oracle")
    aligner = align.PairwiseAligner(mode="local", open_gap_score=-11, extend_gap_score=-1)
    aligner.substitution_matrix = align.substitution_matrices.load("BLOSUM62")
    targets = [record.sequence for record in splits["valid"]]
    for record in splits["test"][:5]:
        scores, _ = homology.local_alignments(record.sequence, targets)
        assert scores.tolist() == [aligner.score(record.sequence, target) for target in targets]


def test_identity_counts_pairs_of_known_residues() -> None:
    query = "MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQAPILSRVGDGTQDNLSGAEKAVQVKVKALPDAQ"
    gapped = query[:30] + query[34:]
    scores, identities = homology.local_alignments(query, [query, gapped, "GG" + query, "W" * 20, "XXXXX"])
    assert identities.tolist()[:3] == [66, 62, 66]
    assert scores[0] == scores[2] > scores[1] > scores[3]
    assert identities[4] == 0


def test_relatives_are_found_and_strangers_are_not() -> None:
    rng = random.Random(1)
    query = "".join(rng.choices(RESIDUES, k=150))
    mutated = "".join(rng.choice(RESIDUES) if rng.random() < 0.55 else letter for letter in query)
    shuffled = "".join(rng.sample(query, 150))
    inside = "".join(rng.choices(RESIDUES, k=200)) + query[40:90] + "".join(rng.choices(RESIDUES, k=200))
    assert homology.related(query, [mutated, inside, shuffled]).tolist() == [True, True, False]
    assert homology.clusters([query, shuffled, inside]) == [[0, 2], [1]]


def test_large_clusters_go_to_training_and_shares_hold() -> None:
    rng = random.Random(2)
    groups = [[f"{g}_{i}" for i in range(rng.choice([1, 1, 1, 2, 5]))] for g in range(200)]
    splits = build.assign(groups)
    assert splits == build.assign(groups)
    assert {split for group, split in zip(groups, splits, strict=True) if len(group) > 2} == {"train"}
    total = sum(map(len, groups))
    for split, share in build.SHARES.items():
        size = sum(len(group) for group, of in zip(groups, splits, strict=True) if of == split)
        assert abs(size / total - share) < 0.03
