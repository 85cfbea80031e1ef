"""A ledger whose chain is sound and that is not the one that was written."""

import json
import random
from pathlib import Path
from typing import Any

import pytest

from liftray.errors import ConfigError
from liftray.track.mlflow.store import client
from liftray.track.promotion import history, ledger
from liftray.track.promotion.anchors import KEY_VARIABLE, WITNESS_VARIABLE, Anchors
from liftray.track.promotion.policy import LedgerAnchors, Policy
from liftray.track.promotion.verdict import Refusal

NAME = "model"


@pytest.fixture
def key(tmp_path: Path) -> str:
    (tmp_path / "key").write_text("0123456789abcdef" * 4)
    return str(tmp_path / "key")


@pytest.fixture
def witness(tmp_path: Path) -> str:
    (tmp_path / "witness.jsonl").touch()
    return str(tmp_path / "witness.jsonl")


def _entries(
    anchors: Anchors, count: int, before: list[dict[str, Any]] | None = None
) -> list[dict[str, Any]]:
    """Entries as `ledger.append` writes them, without a store; those behind others have another reason."""
    made, reason = list(before or []), "again" if before else "first"
    for number in range(len(made) + 1, count + 1):
        entry: dict[str, Any] = {"n": number, "action": "promote", "version": number, "previous": None}
        entry |= {"time": "t", "who": "w", "reason": reason, "evidence": {}}
        entry["prev_hash"] = made[-1]["hash"] if made else "0" * 64
        entry |= anchors.signature(NAME, entry)
        entry["hash"] = ledger.hash_of(entry)
        made.append(entry)
        anchors.record(NAME, made)
    return made


def _rewritten(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The reason of the second entry changed, and the chain computed again."""
    made: list[dict[str, Any]] = []
    for entry in entries:
        copy = {**entry, "reason": "changed" if entry["n"] == 2 else entry["reason"]}
        copy["prev_hash"] = made[-1]["hash"] if made else "0" * 64
        copy["hash"] = ledger.hash_of(copy)
        made.append(copy)
    ledger.verify({f"liftray.ledger.{one['n']:06d}": json.dumps(one) for one in made}, NAME)
    return made


def test_without_a_key_and_a_witness_nothing_can_be_said() -> None:
    found = Anchors().check(NAME, _entries(Anchors(), 2))
    assert str(found) == "not checkable (neither a key nor a witness is configured)"


def test_a_key_finds_a_rewritten_chain_and_no_older_one(key: str) -> None:
    anchors = Anchors.of(LedgerAnchors(key_file=key))
    entries = _entries(anchors, 3)
    assert anchors.check(NAME, entries).status == "intact"
    assert "a restored older store cannot be seen" in anchors.check(NAME, entries[:2]).detail
    assert str(anchors.check(NAME, _rewritten(entries))) == "rewritten (entry 2 is not signed with this key)"
    unsigned = [{name: value for name, value in entry.items() if name != "mac"} for entry in entries]
    assert anchors.check(NAME, _rewritten(unsigned)).status == "rewritten"
    assert anchors.check("another", entries).status == "rewritten", "the entries of one model are no other's"


def test_a_witness_finds_a_rewritten_chain_and_an_older_one(witness: str) -> None:
    anchors = Anchors.of(LedgerAnchors(witness=witness))
    entries = _entries(anchors, 3)
    assert str(anchors.check(NAME, entries)) == "intact (witnessed up to entry 3)"
    assert anchors.check(NAME, _rewritten(entries)).status == "rewritten"
    for left in range(3):
        found = anchors.check(NAME, entries[:left])
        assert str(found) == f"rolled back (the witness saw entry 3, the ledger ends at {left})"
    assert anchors.check(NAME, _entries(Anchors(), 4, entries[:2])).status == "rewritten"
    assert anchors.check("another", []).status == "intact"


def test_a_ledger_that_began_without_them_takes_them_later(key: str, witness: str) -> None:
    older = _entries(Anchors(), 2)
    anchors = Anchors.of(LedgerAnchors(key_file=key, witness=witness, signed_from=3))
    assert anchors.check(NAME, older).status == "not checkable"
    entries = _entries(anchors, 4, older)
    found = anchors.check(NAME, entries)
    assert str(found) == "intact (2 of 4 entries signed; witnessed up to entry 4)"
    assert anchors.check(NAME, older).status == "rolled back"
    assert Anchors.of(LedgerAnchors(key_file=key)).check(NAME, older).status == "rewritten"


def test_an_entry_that_the_witness_missed_is_added_with_the_next(witness: str) -> None:
    anchors = Anchors.of(LedgerAnchors(witness=witness))
    entries = _entries(Anchors(), 1, _entries(anchors, 1))
    entries = _entries(Anchors(), 2, entries)
    assert anchors.check(NAME, entries).detail == "witnessed up to entry 1"
    assert anchors.check(NAME, _entries(anchors, 3, entries)).detail == "witnessed up to entry 3"
    assert len(Path(witness).read_text().splitlines()) == 3


def test_a_damaged_witness_is_refused(witness: str) -> None:
    anchors, file = Anchors.of(LedgerAnchors(witness=witness)), Path(witness)
    entries, draw = _entries(anchors, 3), random.Random(0)
    raw = file.read_bytes()
    ends = [at + 1 for at, byte in enumerate(raw) if byte == ord("\n")]
    changed = [raw[:at] + bytes([raw[at] ^ draw.randrange(1, 256)]) + raw[at + 1 :] for at in range(len(raw))]
    # Cut behind a line, it is the witness of an earlier day: its own place has to be safe.
    cut = [raw[:at] for at in range(1, len(raw)) if at not in ends]
    for content in (*changed, *cut):
        file.write_bytes(content)
        with pytest.raises(ConfigError, match="the ledger's witness is damaged"):
            anchors.check(NAME, entries)


def test_a_missing_witness_and_a_poor_key_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="make an empty file once"):
        Anchors.of(LedgerAnchors(witness=str(tmp_path / "absent")))
    with pytest.raises(ConfigError, match="absent"):
        Anchors.of(LedgerAnchors(key_file=str(tmp_path / "absent")))
    (tmp_path / "short").write_text("secret\n")
    with pytest.raises(ConfigError, match="6 bytes, under 32"):
        Anchors.of(LedgerAnchors(key_file=str(tmp_path / "short")))


def test_the_environment_names_them_where_the_policy_does_not(
    key: str, witness: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, key)
    monkeypatch.setenv(WITNESS_VARIABLE, witness)
    assert Anchors.of(LedgerAnchors()) == Anchors.of(LedgerAnchors(key_file=key, witness=witness))


def test_a_restored_store_is_refused_and_shown(mlflow_uri: str, key: str, witness: str) -> None:
    store, policy = client(mlflow_uri), Policy(ledger=LedgerAnchors(key_file=key, witness=witness))
    store.create_registered_model(NAME)
    anchors = Anchors.of(policy.ledger)
    for version in (1, 2):
        with ledger.claim(store, mlflow_uri, NAME, anchors) as entries:
            fields: dict[str, Any] = {"action": "promote", "version": version, "previous": None}
            ledger.append(store, mlflow_uri, NAME, entries, anchors, reason="r", evidence={}, **fields)
    recorded = history.entries(NAME, uri=mlflow_uri, policy=policy)
    assert history.integrity(NAME, recorded, policy).status == "intact"
    assert history.show(NAME, uri=mlflow_uri, policy=policy)["ledger"]["integrity"]["status"] == "intact"
    store.delete_registered_model_tag(NAME, "liftray.ledger.000002")
    with pytest.raises(Refusal, match="LEDGER_ROLLED_BACK") as caught:
        history.entries(NAME, uri=mlflow_uri, policy=policy)
    assert [entry["n"] for entry in caught.value.verdict["entries"]] == [1]
    with (
        pytest.raises(Refusal, match="LEDGER_ROLLED_BACK"),
        ledger.claim(store, mlflow_uri, NAME, anchors),
    ):
        pass
    assert len(history.entries(NAME, uri=mlflow_uri)) == 1, "without them, as before"
