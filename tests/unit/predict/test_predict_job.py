import csv
import gzip
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from liftray.errors import ConfigError, DataError, InputError, LiftrayError
from liftray.predict.model import Model, stamp_of
from liftray.predict.predict_job import check, predict_files, predict_in_memory
from liftray.predict.predict_lines import lines, refusals
from liftray.predict.prediction import ModelStamp
from liftray.predict.predictor import Predictor
from liftray.predict.writers import FORMATS, check_stream
from tests.parts.tiny_tagger import FailingTagger, TinyTagger

STAMP = ModelStamp("tiny", "1", "0" * 64, "ss9", "dssp")


@pytest.fixture
def model() -> Model:
    return Model(Predictor(TinyTagger(), {"ss3_map": "dssp"}), STAMP)


@pytest.fixture
def inputs(tmp_path: Path) -> list[Path]:
    first, second = tmp_path / "first.fasta", tmp_path / "second.fa.gz"
    first.write_text(">a one\nMKTAYI\n>gap\nMK-T\n>a\nacd\n")
    second.write_bytes(gzip.compress(b">\nGGGG\n>../up\nMWC\n>empty\n>last\n" + b"MKT" * 100 + b"\n"))
    return [first, second]


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_every_record_is_in_the_files_or_among_the_errors(
    tmp_path: Path, model: Model, inputs: list[Path]
) -> None:
    advanced: list[float] = []
    out = tmp_path / "deep" / "out"
    summary = predict_files(model, inputs, out, list(FORMATS), on_progress=advanced.append)

    assert names(out) == sorted(
        [*(writer.output for writer in FORMATS.values()), "errors.jsonl", "summary.json"]
    )
    assert json.loads((out / "summary.json").read_text()) == summary
    assert (summary["records"], summary["predicted"], summary["refused"]) == (7, 5, 2)
    assert summary["reasons"] == {"empty": 1, "gap": 1}
    assert summary["residues"] == sum(advanced) == 6 + 3 + 4 + 3 + 300
    assert summary["model"] == STAMP.as_dict()
    assert summary["files"]["csv"] == "predictions.csv"
    errors = [json.loads(line) for line in (out / "errors.jsonl").read_text().splitlines()]
    assert [
        (error["record"], error["file"], error["line"], error["id"], error["reason"]) for error in errors
    ] == [
        (2, str(inputs[0]), 3, "gap", "gap"),
        (6, str(inputs[1]), 5, "empty", "empty"),
    ]
    table = pq.read_table(out / "predictions.parquet")
    assert table["id"].to_pylist() == ["a", "a", "unnamed_1", "../up", "last"]
    assert table["record"].to_pylist() == [1, 3, 4, 5, 7]
    assert table["length"].to_pylist() == [6, 3, 4, 3, 300]
    with (out / "predictions.csv").open(newline="") as file:
        assert len(list(csv.reader(file))) == 1 + summary["residues"]
    expected = [
        f"00000{n}_{name}.ss2"
        for n, name in [(1, "a"), (3, "a"), (4, "unnamed_1"), (5, ".._up"), (7, "last")]
    ]
    assert names(out / "predictions_ss2") == expected


def test_second_run_replaces_its_files_and_leaves_others(
    tmp_path: Path, model: Model, inputs: list[Path]
) -> None:
    out = tmp_path / "out"
    predict_files(model, inputs, out, ["ss2", "csv"])
    (out / "mine.txt").write_text("keep")
    predict_files(model, inputs[:1], out, ["ss2"])

    assert names(out) == ["errors.jsonl", "mine.txt", "predictions.csv", "predictions_ss2", "summary.json"]
    assert names(out / "predictions_ss2") == ["000001_a.ss2", "000003_a.ss2"]


def test_progress_ends_with_a_total(
    tmp_path: Path, model: Model, inputs: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    predict_files(model, inputs, tmp_path / "out", ["csv"])

    captured = capsys.readouterr()
    assert "predict: 316 residues in" in captured.err
    assert captured.out == ""


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "no such file"), ("", "the file is empty"), ("MKTAYI\n", "text before the first '>'")],
)
def test_bad_input_is_reported_without_a_model(
    tmp_path: Path, inputs: list[Path], content: str | None, message: str
) -> None:
    bad = tmp_path / "bad.fasta"
    if content is not None:
        bad.write_text(content)
    with pytest.raises(DataError, match=message):
        check([*inputs, bad], ["csv"])


def test_bad_format_and_no_input_are_refused(tmp_path: Path, inputs: list[Path]) -> None:
    with pytest.raises(ConfigError, match="html"):
        check(inputs, ["html"])
    with pytest.raises(DataError, match="no input file"):
        check([], ["csv"])

    assert not (tmp_path / "out").exists()


def test_output_that_cannot_be_written_is_an_input_error(
    tmp_path: Path, model: Model, inputs: list[Path]
) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(InputError, match="cannot write there"):
        predict_files(model, inputs, tmp_path / "out", ["csv"])


def test_interrupted_run_leaves_nothing_new(tmp_path: Path, model: Model, inputs: list[Path]) -> None:
    def interrupt(amount: float = 1) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_files(model, inputs, tmp_path / "new", list(FORMATS), on_progress=interrupt)
    assert not (tmp_path / "new").exists()

    predict_files(model, inputs, tmp_path / "old", list(FORMATS))
    before = {path: path.read_bytes() for path in (tmp_path / "old").rglob("*") if path.is_file()}
    with pytest.raises(KeyboardInterrupt):
        predict_files(model, inputs[:1], tmp_path / "old", list(FORMATS), on_progress=interrupt)
    assert {path: path.read_bytes() for path in (tmp_path / "old").rglob("*") if path.is_file()} == before
    assert len(names(tmp_path / "old")) == len(FORMATS) + 2


def test_chain_that_the_model_fails_on_is_an_error_record(tmp_path: Path, inputs: list[Path]) -> None:
    summary = predict_files(Model(Predictor(FailingTagger(), {}), STAMP), inputs, tmp_path / "out", ["csv"])

    assert summary["reasons"] == {"empty": 1, "gap": 1, "model-failed": 1}
    lines = (tmp_path / "out" / "errors.jsonl").read_text().splitlines()
    assert [json.loads(line)["record"] for line in lines] == [2, 5, 6]
    assert json.loads(lines[1])["file"] == str(inputs[1])


def test_model_that_fails_on_every_chain_ends_the_run(tmp_path: Path) -> None:
    (tmp_path / "in.fasta").write_text(">a\nWWW\n>b\nMWT\n")
    with pytest.raises(LiftrayError, match=r"failed on every chain .*shape mismatch"):
        predict_files(
            Model(Predictor(FailingTagger(), {}), STAMP), [tmp_path / "in.fasta"], tmp_path / "out", ["csv"]
        )

    assert not (tmp_path / "out").exists()


def test_summary_counts_refused_records_where_nothing_can_be_predicted(tmp_path: Path, model: Model) -> None:
    (tmp_path / "in.fasta").write_text(">a\nM-T\n")
    summary = predict_files(model, [tmp_path / "in.fasta"], tmp_path / "out", ["csv", "json"])

    assert (summary["predicted"], summary["refused"], summary["residues_per_s"]) == (0, 1, 0)


def test_stamp_names_the_bundle_wherever_it_is(tmp_path: Path) -> None:
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "bundle.json").write_text('{"ss3_map": "lift"}')
    predictor = Predictor(TinyTagger(), {"ss3_map": "lift"})
    one = stamp_of(predictor, tmp_path / "one")
    two = stamp_of(predictor, tmp_path / "two", name="registered", version="7")

    assert (one.name, one.version, one.alphabet, one.ss3_map) == ("one", "unregistered", "ss9", "lift")
    assert (two.name, two.version) == ("registered", "7")
    assert one.digest == two.digest
    (tmp_path / "two" / "bundle.json").write_text("{}")
    assert stamp_of(predictor, tmp_path / "two").digest != one.digest


LABELLED = ">a\nMKTAYIAKQRQISFVKSHFS\nHHHHHHHHHHEEEEEEEECC\n>b\nMKT\n>dna\nATGGCGTACGTTAGC\n"


def test_labels_and_nucleotides_are_in_the_summary_and_on_stderr(
    tmp_path: Path, model: Model, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.txt").write_text(LABELLED)
    summary = predict_files(model, [tmp_path / "x.txt"], tmp_path / "out", ["csv"])
    assert summary["suspicious"] == {"looks-like-labels": 1, "looks-like-nucleotides": 1}
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["warnings"] == summary["warnings"]
    shown = capsys.readouterr().err
    for sentence, place in zip(summary["warnings"], ("a (", "dna ("), strict=True):
        assert f"first: {place}{tmp_path / 'x.txt'}:" in sentence
        assert f"warning: {sentence}" in shown


def test_in_memory_they_are_a_python_warning(tmp_path: Path, model: Model) -> None:
    (tmp_path / "x.txt").write_text(LABELLED)
    with pytest.warns(UserWarning, match="look") as caught:
        predictions = predict_in_memory(model, [tmp_path / "x.txt"], "collect")
    assert [str(one.message) for one in caught] == list(predictions.warnings)
    with pytest.warns(UserWarning, match="1 of 1 sequences looks like nucleotides"):
        model("ATGGCGTACGTTAGC")


def test_only_one_file_goes_to_standard_output() -> None:
    check_stream(["json"])
    for formats in (["ss2"], ["csv", "json"], ["horiz"]):
        with pytest.raises(
            ConfigError, match=r"--out -.*only one goes to standard output; choose one of three-line"
        ):
            check_stream(formats)


def test_refused_records_of_a_stream_have_a_line(tmp_path: Path, model: Model) -> None:
    path = tmp_path / "x.fasta"
    path.write_text(">a\nMKT\n" + ">b\nM-K\n" * 22)
    summary = predict_files(model, [path], tmp_path / "out", ["csv"])
    assert lines(summary, "-") == [
        "-: 1 chains, 3 residues in predictions.csv",
        "-: 22 records refused (22 gap)",
    ]
    found = refusals(tmp_path / "out" / "errors.jsonl")
    assert (len(found), found[-1]) == (21, "and 2 more")
    assert found[0].startswith(f"{path}:3: b: gap: ")
