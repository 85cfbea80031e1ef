import csv
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from liftray.data.labels import STATES, decode, map_probabilities, map_string
from liftray.errors import ConfigError
from liftray.predict.prediction import ModelStamp, Prediction, one_line
from liftray.predict.writers import FORMATS, check_formats, open_writers
from liftray.predict.writers.base import file_name

DIGEST = "0123456789abcdef" * 4
ODD_IDS = [
    "plain",
    "plain",
    "=HYPERLINK(1)",
    '@a,"b"',
    "../../etc/passwd",
    "sp|P1|A_B",
    "été",
    "n" * 300,
    "a\u00adb",
]


def stamp(alphabet: str, ss3_map: str = "dssp") -> ModelStamp:
    return ModelStamp("liftray-tiny", "3", DIGEST, alphabet, ss3_map)


def made(chain_id: str, length: int, alphabet: str, seed: int) -> Prediction:
    generator = np.random.default_rng(seed)
    probabilities_LC = generator.dirichlet(np.full(len(STATES[alphabet]), 0.4), length).astype(np.float32)
    sequence = "".join(generator.choice(list("ACDEFGHIKLMNPQRSTVWYX"), length))
    states = decode(probabilities_LC.argmax(1), alphabet)
    description = f"description of {seed}" if seed % 2 else ""
    return Prediction(chain_id, sequence, states, probabilities_LC, alphabet, description)


def written(directory: Path, name: str, predictions: list[Prediction], model: ModelStamp) -> Path:
    with open_writers([name], directory, model) as writers:
        for number, prediction in enumerate(predictions, start=1):
            # Records that were refused leave gaps in the numbers.
            writers[name].write(prediction, 2 * number)
    return directory / FORMATS[name].output


@pytest.fixture(params=["ss3", "ss8", "ss9"])
def alphabet(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def predictions(alphabet: str) -> list[Prediction]:
    lengths = [1, 59, 60, 61, 120, 7, 300, 10, 2]
    return [
        made(name, length, alphabet, seed)
        for seed, (name, length) in enumerate(zip(ODD_IDS, lengths, strict=True))
    ]


def test_three_line_reads_back(tmp_path: Path, predictions: list[Prediction], alphabet: str) -> None:
    lines = written(tmp_path, "three-line", predictions, stamp(alphabet)).read_text("utf-8").split("\n")

    assert lines.pop() == ""
    assert len(lines) == 3 * len(predictions)
    for number, prediction in enumerate(predictions):
        header, sequence, states = lines[3 * number : 3 * number + 3]
        between = f" {prediction.description} " if prediction.description else " "
        assert header == f">{prediction.id}{between}model=liftray-tiny version=3 digest={DIGEST}"
        assert (sequence, states) == (prediction.sequence, prediction.states)


def netsurfp(view: Prediction) -> tuple[str, str, str]:
    """The view's states as NetSurfP spells them, and its classes in our letters and in NetSurfP's."""
    ours = {"ss3": "HEC", "ss8": "GHIBESTL", "ss9": STATES["ss9"]}[view.alphabet]
    spelled = [text.replace("L", "C") if view.alphabet == "ss8" else text for text in (view.states, ours)]
    return spelled[0], ours, spelled[1]


def reduced(prediction: Prediction) -> dict[str, Prediction]:
    """The prediction in each alphabet with fewer states."""
    return {
        name: prediction.mapped(name, "dssp")
        for name in ("ss3", "ss8")
        if len(STATES[name]) < len(STATES[prediction.alphabet])
    }


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_csv_reads_back(tmp_path: Path, predictions: list[Prediction], alphabet: str) -> None:
    rows = rows_of(written(tmp_path, "csv", predictions, stamp(alphabet)))

    assert len(rows) == sum(len(prediction.sequence) for prediction in predictions)
    assert {row["model"] for row in rows} == {f"liftray-tiny version=3 digest={DIGEST[:16]}"}
    for number, prediction in enumerate(predictions, start=1):
        chain = [row for row in rows if row["record"] == str(2 * number)]
        prefix = "'" if prediction.id[0] in "=@" else ""
        assert {row["id"] for row in chain} == {prefix + prediction.id}
        assert "".join(row["residue"] for row in chain) == prediction.sequence
        assert [int(row["position"]) for row in chain] == list(range(1, len(prediction.sequence) + 1))
        confidence = [float(row["confidence"]) for row in chain]
        np.testing.assert_allclose(confidence, prediction.confidence, atol=6e-6)
        for name, view in {"ss": prediction, **reduced(prediction)}.items():
            assert "".join(row[name] for row in chain) == view.states
            stem = "p" if name == "ss" else f"p_{name}"
            columns = [[float(row[f"{stem}_{state}"]) for state in STATES[view.alphabet]] for row in chain]
            np.testing.assert_allclose(columns, view.probabilities_LC, atol=6e-6)
            np.testing.assert_allclose(np.sum(columns, axis=1), 1, atol=5e-5)


def test_csv_has_the_columns_of_the_model_alone(tmp_path: Path) -> None:
    path = written(tmp_path, "csv", [made("a", 3, "ss3", 0)], stamp("ss3"))

    header = path.read_text().split("\n")[0]
    assert header == "record,id,position,residue,ss,confidence,p_C,p_E,p_H,model"


def test_csv_and_pandas_have_the_same_columns_and_values(tmp_path: Path) -> None:
    prediction = made("a", 5, "ss8", 0)
    rows = rows_of(written(tmp_path, "csv", [prediction], stamp("ss8")))
    table = prediction.to_pandas()

    for name in table.columns:
        shown = [row[name] for row in rows]
        if table[name].dtype.kind == "f":
            np.testing.assert_allclose([float(value) for value in shown], table[name], atol=6e-6)
        else:
            assert shown == [str(value) for value in table[name]]


def test_netsurfp_reads_back(tmp_path: Path, predictions: list[Prediction], alphabet: str) -> None:
    rows = rows_of(written(tmp_path, "netsurfp", predictions, stamp(alphabet)))

    for number, prediction in enumerate(predictions, start=1):
        chain = [row for row in rows if row["record"] == str(2 * number)]
        assert "".join(row["seq"] for row in chain) == prediction.sequence
        assert [int(row["n"]) for row in chain] == list(range(1, len(prediction.sequence) + 1))
        for name, view in {alphabet: prediction, **reduced(prediction)}.items():
            stem = name.replace("ss", "q")
            states, ours, theirs = netsurfp(view)
            assert "".join(row[stem] for row in chain) == states
            columns = [[float(row[f"p[{stem}_{letter}]"]) for letter in theirs] for row in chain]
            expected = view.probabilities_LC[:, [STATES[view.alphabet].index(letter) for letter in ours]]
            np.testing.assert_allclose(columns, expected, atol=6e-6)


def test_netsurfp_has_the_columns_of_the_model_alone(tmp_path: Path) -> None:
    path = written(tmp_path, "netsurfp", [made("a", 3, "ss3", 0)], stamp("ss3"))

    header = path.read_text().split("\n")[0]
    assert header == "id,seq,n,q3,p[q3_H],p[q3_E],p[q3_C],record,model"


def test_json_reads_back(tmp_path: Path, predictions: list[Prediction], alphabet: str) -> None:
    document = json.loads(written(tmp_path, "json", predictions, stamp(alphabet)).read_text("utf-8"))

    assert document["model"] == stamp(alphabet).as_dict()
    assert [entry["record"] for entry in document["predictions"]] == list(range(2, 20, 2))
    for entry, prediction in zip(document["predictions"], predictions, strict=True):
        assert (entry["id"], entry["sequence"]) == (prediction.id, prediction.sequence)
        assert (entry["description"], entry["length"]) == (prediction.description, len(prediction))
        np.testing.assert_allclose(entry["confidence"], prediction.confidence, atol=6e-6)
        for name, view in {"ss": prediction, **reduced(prediction)}.items():
            assert document["states"][name] == STATES[view.alphabet]
            assert entry[name] == view.states
            field = "probabilities" if name == "ss" else f"{name}_probabilities"
            np.testing.assert_allclose(entry[field], view.probabilities_LC, atol=6e-6)
        assert len(entry) == 6 + 2 * len(document["states"])


def test_json_of_no_chain_is_valid(tmp_path: Path) -> None:
    document = json.loads(written(tmp_path, "json", [], stamp("ss3")).read_text())

    assert document["predictions"] == []


def test_parquet_reads_back(tmp_path: Path, predictions: list[Prediction], alphabet: str) -> None:
    table = pq.read_table(written(tmp_path, "parquet", predictions, stamp(alphabet)))
    table.validate(full=True)

    metadata = table.schema.metadata
    assert metadata[b"liftray.alphabet"].decode() == alphabet
    assert metadata[b"liftray.model.name"] == b"liftray-tiny"
    assert metadata[b"liftray.model.version"] == b"3"
    assert metadata[b"liftray.model.digest"] == DIGEST.encode()
    assert [name for name in table.column_names if name[:2] == "ss"] == [
        "ss",
        *reversed(reduced(predictions[0])),
    ]
    for number, (row, prediction) in enumerate(zip(table.to_pylist(), predictions, strict=True), start=1):
        assert (row["record"], row["id"], row["length"]) == (
            2 * number,
            prediction.id,
            len(prediction.sequence),
        )
        assert (row["sequence"], row["ss"]) == (prediction.sequence, prediction.states)
        assert row["description"] == prediction.description
        assert all(row[name] == view.states for name, view in reduced(prediction).items())
        np.testing.assert_array_equal(np.float32(row["probabilities"]), prediction.probabilities_LC)
        np.testing.assert_array_equal(np.float32(row["confidence"]), prediction.probabilities_LC.max(axis=1))


def test_parquet_keeps_order_over_row_groups(tmp_path: Path) -> None:
    predictions = [made(f"c{number}", 300, "ss3", number) for number in range(1500)]
    path = written(tmp_path, "parquet", predictions, stamp("ss3"))

    assert pq.ParquetFile(path).num_row_groups > 1
    assert pq.read_table(path, columns=["id"])["id"].to_pylist() == [f"c{number}" for number in range(1500)]


def test_parquet_of_no_chain_has_the_schema(tmp_path: Path) -> None:
    table = pq.read_table(written(tmp_path, "parquet", [], stamp("ss8")))

    assert table.num_rows == 0
    assert "probabilities" in table.column_names


def chain_files(directory: Path, count: int) -> list[Path]:
    files = sorted(directory.iterdir())
    assert len(files) == count
    assert all(file.is_file() and len(file.name) <= 80 and file.name.isascii() for file in files)
    return files


def test_ss2_reads_back(tmp_path: Path, predictions: list[Prediction], alphabet: str) -> None:
    files = chain_files(written(tmp_path, "ss2", predictions, stamp(alphabet)), len(predictions))

    for file, prediction in zip(files, predictions, strict=True):
        header, blank, *lines = file.read_text("utf-8").splitlines()
        assert header.startswith("# PSIPRED VFORMAT (LiftRay model=liftray-tiny version=3 digest=")
        assert blank == ""
        rows = [line.split() for line in lines]
        three = prediction.mapped("ss3", "dssp")
        assert [int(row[0]) for row in rows] == list(range(1, len(prediction.sequence) + 1))
        assert "".join(row[1] for row in rows) == prediction.sequence
        assert "".join(row[2] for row in rows) == three.states
        columns = np.array([[float(value) for value in row[3:]] for row in rows])
        order = [STATES["ss3"].index(letter) for letter in "CHE"]
        np.testing.assert_allclose(columns, three.probabilities_LC[:, order], atol=5.1e-4)
        np.testing.assert_allclose(columns.sum(axis=1), 1, atol=1.6e-3)


def test_ss2_line_is_psipreds(tmp_path: Path) -> None:
    probabilities_LC = np.array([[0.25, 0.125, 0.625]], dtype=np.float32)
    directory = written(tmp_path, "ss2", [Prediction("a", "M", "H", probabilities_LC, "ss3")], stamp("ss3"))

    assert (directory / "000002_a.ss2").read_text().split("\n")[2] == "   1 M H   0.250  0.625  0.125"


def test_horiz_reads_back(tmp_path: Path, predictions: list[Prediction], alphabet: str) -> None:
    files = chain_files(written(tmp_path, "horiz", predictions, stamp(alphabet)), len(predictions))

    for file, prediction in zip(files, predictions, strict=True):
        lines = file.read_text("utf-8").split("\n")
        assert lines[0].startswith("# PSIPRED HFORMAT (LiftRay model=liftray-tiny version=3 digest=")
        three = prediction.mapped("ss3", "dssp")
        joined = {}
        for key in ("Conf: ", "Pred: ", "  AA: "):
            blocks = [line.removeprefix(key) for line in lines if line.startswith(key)]
            assert all(len(block) == 60 for block in blocks[:-1])
            joined[key] = "".join(blocks)
        assert joined["Pred: "] == three.states
        assert joined["  AA: "] == prediction.sequence
        ranked_LC = np.sort(three.probabilities_LC, axis=1)
        lead = [min(int(10 * (row[2] - row[1])), 9) for row in ranked_LC]
        assert [int(digit) for digit in joined["Conf: "]] == lead


def test_horiz_ruler_is_under_its_residues(tmp_path: Path) -> None:
    directory = written(tmp_path, "horiz", [made("a", 75, "ss3", 0)], stamp("ss3"))
    lines = (directory / "000002_a.horiz").read_text().split("\n")

    assert lines[5] == "".join(["      ", *(f"{ten:10d}" for ten in (10, 20, 30, 40, 50, 60))])
    assert lines[10] == f"      {70:10d}"
    assert lines[4].startswith("  AA: ")
    assert lines[5][15] == "0"
    assert lines[4][15] == made("a", 75, "ss3", 0).sequence[9]


def test_all_formats_have_the_same_three_states(tmp_path: Path) -> None:
    """The most probable sum, not the map of the most probable state, and by the model's own map."""
    # P .4 is the most probable state; H by the lift map, coil by dssp's.
    states = dict(zip(STATES["ss9"], [0.1, 0.0, 0.3, 0.0, 0.0, 0.2, 0.0, 0.0, 0.4], strict=True))
    probabilities_LC = np.array([list(states.values())], dtype=np.float32)
    prediction = Prediction("a", "M", "P", probabilities_LC, "ss9")

    assert prediction.mapped("ss3", "lift").states == "H"
    assert prediction.mapped("ss3", "dssp").states == "C"
    assert map_string("P", "ss9", "ss3", "dssp") == "C"
    np.testing.assert_allclose(
        prediction.mapped("ss3", "lift").probabilities_LC,
        map_probabilities(probabilities_LC, "ss9", "ss3", "lift"),
    )
    directory = written(tmp_path, "ss2", [prediction], stamp("ss9", "lift"))
    assert (directory / "000002_a.ss2").read_text().split("\n")[2] == "   1 M H   0.100  0.600  0.300"


def test_ids_never_leave_the_directory() -> None:
    assert file_name("../../etc/passwd") == ".._.._etc_passwd"
    assert file_name("a\\b:c|d\x00") == "a_b_c_d_"
    assert len(file_name("x" * 1000)) == 64


def test_model_names_stay_on_one_line() -> None:
    assert one_line("my model\n>evil\x1b") == "my_model_>evil\ufffd"


@pytest.mark.parametrize(
    ("formats", "message"),
    [
        ([], "no output format"),
        (["html"], "not available yet"),
        (["csv", "parket"], "did you mean parquet"),
        (["qqq"], "unknown format 'qqq'"),
    ],
)
def test_unknown_formats_are_refused_with_the_valid_ones(formats: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        check_formats(formats)
    assert "three-line, csv, json, parquet, ss2, horiz" in str(caught.value)


def test_a_format_given_twice_is_written_once() -> None:
    assert check_formats(["csv", "ss2", "csv"]) == ["csv", "ss2"]
