"""Files to a data set: nothing lost, nothing half-written, and a digest of the content alone."""

import gzip
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liftray.data import formats
from liftray.data.dataset import ProteinDataset
from liftray.data.ingest import ingest
from liftray.data.labels import STATES
from liftray.data.records import ALPHABET_KEY, SCHEMA, BadRecord, ProteinRecord
from liftray.data.validate import RESIDUES
from liftray.errors import DataError
from tests.parts.peptides import pdb_lines, write_lines

GOOD = ">a one\nACD\nLHX\n>b\nACDE\nEEEE\n"


def _write(folder: Path, text: str, name: str = "x.ss9.txt") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def _quarantine(out: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (out / "quarantine.jsonl").read_text().splitlines()]


def _tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_layout_of_a_data_set(tmp_path: Path) -> None:
    out = tmp_path / "out"
    summary = ingest([_write(tmp_path, GOOD)], out)
    assert sorted(path.name for path in out.iterdir()) == [
        "dataset.json",
        "part-00000.parquet",
        "quarantine.jsonl",
        "summary.json",
    ]
    schema = pq.read_schema(out / "part-00000.parquet")
    assert schema.equals(SCHEMA)
    assert schema.metadata[ALPHABET_KEY] == b"ss9"
    rows = pq.read_table(out / "part-00000.parquet").to_pylist()
    assert rows == [
        {"id": "a", "sequence": "ACD", "ss": "LHX", "length": 3, "source": "x.ss9.txt"},
        {"id": "b", "sequence": "ACDE", "ss": "EEEE", "length": 4, "source": "x.ss9.txt"},
    ]
    assert json.loads((out / "summary.json").read_text()) == summary
    assert _quarantine(out) == []


def test_dataset_json(tmp_path: Path) -> None:
    source = _write(tmp_path, GOOD + ">bad\nAC\nL\n")
    ingest([source], tmp_path / "out")
    info = json.loads((tmp_path / "out" / "dataset.json").read_text())
    assert (info["alphabet"], info["states"], info["num_chains"]) == ("ss9", STATES["ss9"], 2)
    assert (info["num_residues"], info["num_labelled"]) == (7, 6)
    assert info["label_histogram"] == {
        **dict.fromkeys(STATES["ss9"] + "X", 0),
        "L": 1,
        "H": 1,
        "X": 1,
        "E": 4,
    }
    assert info["length"] == {
        **{"min": 3, "q05": 3, "q25": 3, "median": 3, "q75": 4, "q95": 4, "max": 4},
        "mean": 3.5,
    }
    assert info["quarantined"] == {"total": 1, "reasons": {"length-mismatch": 1}}
    (entry,) = info["sources"]
    assert (entry["name"], entry["format"], entry["chains"], entry["quarantined"]) == (
        *("x.ss9.txt", "three-line"),
        *(2, 1),
    )
    assert entry["bytes"] == source.stat().st_size
    assert len(entry["sha256"]) == 64
    assert {"python", "pyarrow", "numpy", "liftray"} <= set(info["versions"])


def test_quarantine_names_file_line_id_and_reason(tmp_path: Path) -> None:
    path = _write(tmp_path, GOOD + ">a\nAAA\nLLL\n>c\nacd\nLLL\n>d\nACD\n")
    ingest([path], tmp_path / "out")
    entries = _quarantine(tmp_path / "out")
    assert [(entry["line"], entry["id"], entry["reason"]) for entry in entries] == [
        (7, "a", "duplicate-id"),
        (10, "c", "lower-case"),
        (13, "d", "truncated-record"),
    ]
    assert {entry["file"] for entry in entries} == {str(path)}
    assert all(entry["detail"] for entry in entries)


def test_duplicates_and_contradictions(tmp_path: Path) -> None:
    text = ">a\nACD\nLLL\n>b\nACD\nLLL\n>c\nACD\nLLH\n>d\nAC\nLL\n>a\nGG\nLL\n>e\nGG\nEE\n"
    summary = ingest([_write(tmp_path, text)], tmp_path / "out")
    assert summary["num_chains"] == 5
    assert summary["duplicates"] == {
        "ids": 1,
        "sequences": 2,
        "contradictory": 1,
        "contradictory_listed": [{"id": "c", "first_id": "a"}],
    }


def test_on_error_fail_stops_at_the_first_and_writes_nothing(tmp_path: Path) -> None:
    path = _write(tmp_path, GOOD + ">c\nAC\nL\n")
    with pytest.raises(DataError, match=r"x\.ss9\.txt line 7: length-mismatch.*\(c\)"):
        ingest([path], tmp_path / "out", on_error="fail")
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.ss9.txt"]


def test_truncated_gzip_quarantines_or_fails(tmp_path: Path) -> None:
    packed = gzip.compress("".join(f">c{n}\nACD\nLLL\n" for n in range(5000)).encode())
    path = tmp_path / "x.ss9.txt.gz"
    path.write_bytes(packed[: len(packed) // 2])
    summary = ingest([path], tmp_path / "out")
    assert summary["num_chains"] > 100
    assert summary["quarantined"] == {"total": 1, "reasons": {"truncated-gzip": 1}}
    with pytest.raises(DataError, match="truncated-gzip"):
        ingest([path], tmp_path / "strict", on_error="fail")
    assert not (tmp_path / "strict").exists()


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "empty"),
        ("\n\n", "empty"),
        (">a\nAC\nL\n>b\nac\nLL\n", r"none of 2 records can be taken as ss9.*length-mismatch 1.*--alphabet"),
    ],
)
def test_nothing_good_is_an_error(tmp_path: Path, text: str, match: str) -> None:
    with pytest.raises(DataError, match=match):
        ingest([_write(tmp_path, text)], tmp_path / "out")
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.ss9.txt"]


def test_earlier_data_set_is_replaced_or_left_whole(tmp_path: Path) -> None:
    out = tmp_path / "out"
    ingest([_write(tmp_path, GOOD)], out, row_group_size=1, rows_per_file=1)
    assert len(list(out.glob("*.parquet"))) == 2
    before = _tree(out)
    with pytest.raises(DataError):
        ingest([_write(tmp_path, ">a\nAC\nL\n", "bad.ss9.txt")], out)
    assert _tree(out) == before
    ingest([_write(tmp_path, ">z\nAC\nLL\n", "new.ss9.txt")], out)
    assert [record.id for record in ProteinDataset.open(out).iter_records()] == ["z"]
    assert sorted(entry.name for entry in tmp_path.iterdir() if entry.is_dir()) == ["out"]


def test_interrupted_ingest_leaves_the_earlier_one(tmp_path: Path) -> None:
    out = tmp_path / "out"
    path = _write(tmp_path, GOOD)
    ingest([path], out)
    before = _tree(out)

    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ingest([path], out, progress=interrupt)
    assert _tree(out) == before
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["out", "x.ss9.txt"]


@pytest.mark.parametrize("names", [["notes.txt"], ["dataset.json"], ["part-00000.parquet"]])
def test_other_directories_are_refused(tmp_path: Path, names: list[str]) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for name in names:
        (out / name).write_text("{}")
    with pytest.raises(DataError, match=r"no LiftRay data set.*another --out"):
        ingest([_write(tmp_path, GOOD)], out)
    assert _tree(out) == {name: b"{}" for name in names}


def test_data_set_with_a_users_file_is_refused(tmp_path: Path) -> None:
    out = tmp_path / "out"
    path = _write(tmp_path, GOOD)
    ingest([path], out)
    (out / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match=r"also holds 'notes\.txt'"):
        ingest([path], out)


def test_file_and_remote_targets_are_refused(tmp_path: Path) -> None:
    path = _write(tmp_path, GOOD)
    with pytest.raises(DataError, match="a file is there already"):
        ingest([path], path)
    with pytest.raises(DataError, match="remote address"):
        ingest([path], "s3://bucket/out")


def test_empty_directory_may_be_used(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert ingest([_write(tmp_path, GOOD)], tmp_path / "out")["num_chains"] == 2


def test_progress_counts_every_record(tmp_path: Path) -> None:
    seen: list[int] = []
    ingest([_write(tmp_path, GOOD + ">c\nAC\nL\n")], tmp_path / "out", progress=seen.append)
    assert sum(seen) == 3


def test_files_and_row_groups(tmp_path: Path) -> None:
    text = "".join(f">c{n}\nACD\nLLL\n" for n in range(11))
    ingest([_write(tmp_path, text)], tmp_path / "out", row_group_size=2, rows_per_file=4)
    parts = sorted((tmp_path / "out").glob("*.parquet"))
    groups = [pq.ParquetFile(part).metadata for part in parts]
    assert [[meta.row_group(i).num_rows for i in range(meta.num_row_groups)] for meta in groups] == [
        [2, 2],
        [2, 2],
        [2, 1],
    ]


def test_rows_are_written_as_they_come(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At no time are more records held than a row group: what is not yet written never exceeds it."""
    written, most = 0, 0
    real = pq.ParquetWriter.write_table

    def counting(self: pq.ParquetWriter, table: object, *args: object, **kwargs: object) -> object:
        nonlocal written
        written += table.num_rows  # type: ignore[attr-defined]
        return real(self, table, *args, **kwargs)

    def watched(path: Path, **_: object) -> Iterator[ProteinRecord | BadRecord]:
        nonlocal most
        for number in range(1000):
            most = max(most, number - written)
            yield ProteinRecord(f"c{number}", "ACD", "LLL", path.name)

    monkeypatch.setattr(pq.ParquetWriter, "write_table", counting)
    monkeypatch.setattr(formats, "read", watched)
    ingest([_write(tmp_path, GOOD)], tmp_path / "out", row_group_size=16, rows_per_file=64)
    assert written == 1000
    assert most <= 16


def test_pair_of_fasta_files_names_both_digests(tmp_path: Path) -> None:
    _write(tmp_path, ">a\nAC\n", "x.fasta")
    _write(tmp_path, ">a\nLL\n", "x.ss8.fasta")
    summary = ingest([tmp_path / "x.fasta", tmp_path / "x.ss8.fasta"], tmp_path / "out")
    (entry,) = summary["sources"]
    assert (summary["alphabet"], entry["labels"]["name"]) == ("ss8", "x.ss8.fasta")


RECORDS = st.lists(
    st.integers(1, 12).flatmap(
        lambda size: st.tuples(
            st.text(RESIDUES, min_size=size, max_size=size),
            st.text(STATES["ss9"] + "X", min_size=size, max_size=size),
        )
    ),
    min_size=1,
    max_size=12,
)


@settings(deadline=None)  # it writes files
@given(RECORDS, st.randoms(use_true_random=False), st.integers(1, 5), st.integers(1, 5))
def test_round_trip_and_digest_of_content_alone(
    tmp_path_factory: pytest.TempPathFactory,
    chains: list[tuple[str, str]],
    random: object,
    group: int,
    rows: int,
) -> None:
    folder = tmp_path_factory.mktemp("trip")
    records = [(f"c{number}", *chain) for number, chain in enumerate(chains)]
    shuffled = sorted(records, key=lambda _: random.random())  # type: ignore[attr-defined]
    first = _write(folder, "".join(f">{i}\n{s}\n{t}\n" for i, s, t in records), "one.ss9.txt")
    second = _write(
        folder, "".join(f"{i},{s},{t}\n" for i, s, t in [("id", "seq", "ss9"), *shuffled]), "two.csv"
    )
    digests = [
        ingest([first], folder / "a")["digest"],
        ingest([second], folder / "b", row_group_size=group, rows_per_file=rows)["digest"],
        ingest([folder / "b"], folder / "c")["digest"],
    ]
    assert len(set(digests)) == 1
    stored = {name: ProteinDataset.open(folder / name) for name in "abc"}
    content = {name: [(r.id, r.sequence, r.ss) for r in data.iter_records()] for name, data in stored.items()}
    assert content == {"a": records, "b": shuffled, "c": shuffled}
    assert {record.source for record in stored["c"].iter_records()} == {"two.csv"}
    changed = records[0][0], records[0][1], ("H" if records[0][2][0] != "H" else "E") + records[0][2][1:]
    other = _write(
        folder, "".join(f">{i}\n{s}\n{t}\n" for i, s, t in [changed, *records[1:]]), "three.ss9.txt"
    )
    assert ingest([other], folder / "d")["digest"] not in digests


@pytest.mark.parametrize(
    ("name", "chains"),
    [
        ("train/flip_train.ss3.txt", 9712),
        ("train/flip_valid.ss3.txt", 1080),
        ("train/lift_train.ss9.txt", 2178),
        ("train/lift_valid.ss9.txt", 242),
        ("train/mixed_train.ss8.txt", 4903),
        ("test/CASP12.ss9.txt", 47),
        ("test/CASP13.ss9.txt", 41),
        ("test/CASP14.ss9.txt", 33),
    ],
)
def test_real_sets_are_taken_whole(
    real_data: Callable[[str], Path], tmp_path: Path, name: str, chains: int
) -> None:
    summary = ingest([real_data(name)], tmp_path / "out")
    assert summary["alphabet"] == name.split(".")[1]
    assert summary["num_chains"] == chains
    assert summary["quarantined"]["total"] == 0
    ProteinDataset.open(tmp_path / "out").verify()


def test_structure_files_of_one_name_in_two_folders_are_no_duplicates(tmp_path: Path) -> None:
    files = []
    for folder in ("x/run", "y/run", "y/other"):
        (tmp_path / folder).mkdir(parents=True)
        name = "b.pdb" if folder == "y/other" else "a.pdb"
        files.append(write_lines(tmp_path / folder / name, pdb_lines(["ALA"] * 6)))
    ingest(files, tmp_path / "out")
    assert [chain.id for chain in ProteinDataset.open(tmp_path / "out").iter_records()] == [
        "x.run.a_A",
        "y.run.a_A",
        "b_A",
    ]
