"""Each row of the decision table in `validate`, on the record it is about."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liftray.data.labels import STATES
from liftray.data.records import BadRecord, ProteinRecord
from liftray.data.validate import MAX_RESIDUES, RESIDUES, check

REFUSED = [
    ("missing-id", "", "ACD", "LLL", "ss9"),
    ("missing-id", "  ", "ACD", "LLL", "ss9"),
    ("bad-encoding", "prot\udce9", "ACD", "LLL", "ss9"),
    ("bad-id", "a\tb", "ACD", "LLL", "ss9"),
    ("bad-id", "a\x00b", "ACD", "LLL", "ss9"),
    ("bad-id", "x" * 256, "ACD", "LLL", "ss9"),
    ("empty", "a", "", "", "ss9"),
    ("empty", "a", "", "LLL", "ss9"),
    ("empty", "a", "ACD", "", "ss9"),
    ("too-long", "a", "A" * (MAX_RESIDUES + 1), "L" * (MAX_RESIDUES + 1), "ss9"),
    ("non-ascii", "a", "AÇD", "LLL", "ss9"),
    ("non-ascii", "a", "A\udce9D", "LLL", "ss9"),
    ("non-ascii", "a", "ACD", "LΛL", "ss9"),
    ("lower-case", "a", "AcD", "LLL", "ss9"),
    ("lower-case", "a", "acd", "LLL", "ss9"),
    ("stop-codon", "a", "ACD*", "LLLL", "ss9"),
    ("stop-codon", "a", "A*D", "LLL", "ss9"),
    ("gap", "a", "A-D", "LLL", "ss9"),
    ("gap", "a", "A.D", "LLL", "ss9"),
    ("gap", "a", "A~D", "LLL", "ss9"),
    ("unknown-residue", "a", "AJD", "LLL", "ss9"),
    ("unknown-residue", "a", "A D", "LLL", "ss9"),
    ("unknown-residue", "a", "A1D", "LLL", "ss9"),
    ("length-mismatch", "a", "ACD", "LL", "ss9"),
    ("length-mismatch", "a", "ACD", "LLLL", "ss9"),
    ("ambiguous-coil", "a", "ACD", "LCL", "ss9"),
    ("ambiguous-coil", "a", "ACD", "HCC", "ss8"),
    ("ambiguous-coil", "a", "ACD", "H--", "ss8"),
    ("ambiguous-coil", "a", "ACD", "H. ", "ss8"),
    ("ambiguous-coil", "a", "ACD", " HH", "ss9"),
    ("unknown-label", "a", "ACD", "LLP", "ss8"),
    ("unknown-label", "a", "ACD", "LLL", "ss3"),
    ("unknown-label", "a", "ACD", "C-C", "ss3"),
    ("unknown-label", "a", "ACD", "hhh", "ss9"),
    ("unknown-label", "a", "ACD", "L*L", "ss9"),
    ("unknown-label", "a", "ACD", "123", "ss9"),
]


@pytest.mark.parametrize(("reason", "record_id", "sequence", "ss", "alphabet"), REFUSED)
def test_refused(reason: str, record_id: str, sequence: str, ss: str, alphabet: str) -> None:
    bad = check(ProteinRecord(record_id, sequence, ss, "x.txt", 7), alphabet, "dir/x.txt")
    assert isinstance(bad, BadRecord)
    assert (bad.reason, bad.file, bad.line) == (reason, "dir/x.txt", 7)
    assert bad.detail
    (bad.id + bad.detail).encode("utf-8")  # whatever came in, the quarantine can be written
    assert len(bad.id) <= 80


@pytest.mark.parametrize("residue", list("UOBZX"))
def test_rare_residues_are_taken(residue: str) -> None:
    record = ProteinRecord("a", f"A{residue}C", "LLL", "x.txt")
    assert check(record, "ss9", "x.txt") is record


@pytest.mark.parametrize("alphabet", list(STATES))
def test_every_state_and_x_is_taken(alphabet: str) -> None:
    ss = STATES[alphabet] + "X"
    record = ProteinRecord("sp|P12345|NAME_é", "A" * len(ss), ss, "x.txt")
    assert check(record, alphabet, "x.txt") is record


def test_chain_without_any_label_is_taken() -> None:
    record = ProteinRecord("a", "ACD", "XXX", "x.txt")
    assert check(record, "ss3", "x.txt") is record


def test_detail_names_letter_and_position() -> None:
    bad = check(ProteinRecord("a", "ACJ", "LLL", "x.txt"), "ss9", "x.txt")
    assert isinstance(bad, BadRecord)
    assert "'J' at position 3" in bad.detail


def test_bad_record_passes_through() -> None:
    bad = BadRecord("x.txt", 3, "a", "truncated-record", "1 of 2 lines")
    assert check(bad, "ss9", "other.txt") == bad


@given(st.text(max_size=5), st.text(max_size=12), st.text(max_size=12), st.sampled_from(list(STATES)))
def test_taken_or_refused_never_changed(record_id: str, sequence: str, ss: str, alphabet: str) -> None:
    record = ProteinRecord(record_id, sequence, ss, "x.txt")
    result = check(record, alphabet, "x.txt")
    good = set(sequence) <= set(RESIDUES) and set(ss) <= set(STATES[alphabet] + "X")
    if isinstance(result, ProteinRecord):
        assert result is record
        assert good
        assert len(sequence) == len(ss) > 0
        assert record_id.strip()
    else:
        clean_id = record_id.isprintable() and record_id.strip()
        assert not (good and clean_id and len(sequence) == len(ss) > 0)
