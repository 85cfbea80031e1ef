"""`-` for standard input and output."""

import io
import sys
from pathlib import Path

import pytest

from liftray import standard_streams
from liftray.api.runs import ingest
from liftray.errors import DataError


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch):
    def give(content: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))

    return give


def test_standard_input_is_copied_for_the_time_of_the_block(stdin) -> None:
    stdin(b">a\nMKT\n")
    with standard_streams.inputs(["x.fasta", "-"]) as names:
        assert names[0] == "x.fasta"
        copy = Path(names[1])
        assert copy.read_bytes() == b">a\nMKT\n"
        assert (standard_streams.shown(copy), standard_streams.as_argument(copy)) == ("stdin", "-")
    assert not copy.exists()


def test_other_inputs_stay_as_they_are() -> None:
    with standard_streams.inputs(["a", Path("stdin")]) as names:
        assert names == ["a", "stdin"]
    assert standard_streams.shown("some/stdin") == "some/stdin"


def test_standard_input_twice_or_closed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="twice"), standard_streams.inputs(["-", "-"]):
        pass
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(DataError, match="closed"), standard_streams.inputs(["-"]):
        pass


def test_a_data_set_from_standard_input(tmp_path: Path, stdin) -> None:
    stdin(b">a\nMKT\nLSH\n>b\nAC\nEE\n")
    result = ingest("-", tmp_path / "out", alphabet="ss8")
    assert (result.num_chains, result.summary["sources"][0]["name"]) == (2, "stdin")


def test_a_data_set_does_not_go_to_standard_output(tmp_path: Path, stdin) -> None:
    stdin(b">a\nMKT\nLSH\n")
    with pytest.raises(DataError, match=r"--out -: a data set is a directory"):
        ingest("-", "-", alphabet="ss8")


def test_a_file_goes_to_standard_output(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    with standard_streams.directory("-") as folder:
        place = Path(folder, "x.json")
        place.write_bytes(b"{}\n")
        standard_streams.send(place)
    assert capfdbinary.readouterr().out == b"{}\n"
    assert not place.exists()
    with standard_streams.directory("out") as folder:
        assert folder == "out"
