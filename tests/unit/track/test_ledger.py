import json
import threading
from itertools import pairwise
from typing import Any

import pytest

from liftray.errors import InputError, TrackingError
from liftray.track.mlflow.store import client
from liftray.track.promotion import ledger
from liftray.track.promotion.verdict import Refusal

NAME = "model"


@pytest.fixture
def uri(mlflow_uri: str) -> str:
    client(mlflow_uri).create_registered_model(NAME)
    return mlflow_uri


def _append(uri: str, **fields: Any) -> dict[str, Any]:
    with ledger.claim(client(uri), uri, NAME) as entries:
        return ledger.append(client(uri), uri, NAME, entries, **{"action": "promote", "version": 1, **fields})


def _tags(uri: str) -> dict[str, str]:
    return dict(client(uri).get_registered_model(NAME).tags)


def test_entries_come_back_in_order_and_chained(uri: str) -> None:
    written = [_append(uri, version=number) for number in range(1, 13)]
    read = ledger.read(client(uri), uri, NAME)
    assert read == written
    assert [entry["n"] for entry in read] == list(range(1, 13))
    assert all(two["prev_hash"] == one["hash"] for one, two in pairwise(read))
    assert read[0]["time"].endswith("+00:00")
    assert len(_tags(uri)) == 12, "no claim is left behind"


def _change(tags: dict[str, str]) -> None:
    entry = json.loads(tags["liftray.ledger.000002"])
    entry["version"] = 7
    tags["liftray.ledger.000002"] = json.dumps(entry)


def _rechain(tags: dict[str, str]) -> None:
    """Change an entry and make its own hash right again: the next one gives it away."""
    _change(tags)
    entry = json.loads(tags["liftray.ledger.000002"])
    tags["liftray.ledger.000002"] = json.dumps({**entry, "hash": ledger.hash_of(entry)})


def _remove(tags: dict[str, str]) -> None:
    del tags["liftray.ledger.000001"]


def _swap(tags: dict[str, str]) -> None:
    one, two = "liftray.ledger.000001", "liftray.ledger.000002"
    tags[one], tags[two] = tags[two], tags[one]


def _garble(tags: dict[str, str]) -> None:
    tags["liftray.ledger.000003"] = "nonsense"


def _insert(tags: dict[str, str]) -> None:
    tags["liftray.ledger.000002a"] = tags["liftray.ledger.000002"]


def _list(tags: dict[str, str]) -> None:
    tags["liftray.ledger.000001"] = "[1]"


@pytest.mark.parametrize("tamper", [_change, _rechain, _remove, _swap, _garble, _insert, _list])
def test_entries_changed_outside_liftray_are_found(uri: str, tamper: Any) -> None:
    for number in (1, 2, 3):
        _append(uri, version=number)
    tags = _tags(uri)
    ledger.verify(tags, NAME)
    tamper(tags)
    with pytest.raises(Refusal, match="LEDGER_BROKEN") as caught:
        ledger.verify(tags, NAME)
    assert caught.value.reasons == ["LEDGER_BROKEN"]


def test_a_broken_ledger_takes_no_entry(uri: str) -> None:
    _append(uri)
    client(uri).set_registered_model_tag(NAME, "liftray.ledger.000001", "{}")
    before = _tags(uri)
    with pytest.raises(Refusal, match="LEDGER_BROKEN"):
        _append(uri)
    assert _tags(uri) == before


def test_of_many_at_once_each_entry_is_kept(uri: str) -> None:
    ready, message, written = threading.Barrier(4), [], []

    def work(number: int) -> None:
        ready.wait()
        try:
            written.append(_append(uri, version=number)["hash"])
        except Refusal as refusal:
            message.append(refusal.reasons)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [entry["hash"] for entry in ledger.read(client(uri), uri, NAME)] == written
    assert len(written) + len(message) == 4
    assert written, "someone wins"
    assert all(reasons == ["CONCURRENT"] for reasons in message)


def test_a_claim_shuts_others_out_until_it_ends(uri: str) -> None:
    with ledger.claim(client(uri), uri, NAME), pytest.raises(Refusal, match="CONCURRENT"):
        _append(uri)
    assert _append(uri)["n"] == 1


def test_the_claim_of_a_dead_process_runs_out(uri: str) -> None:
    client(uri).set_registered_model_tag(NAME, "liftray.claim.dead", "1000.0")
    assert _append(uri)["n"] == 1


def test_too_long_an_entry_is_refused_and_not_written(uri: str) -> None:
    with pytest.raises(InputError):
        _append(uri, evidence="x" * 6000)
    assert not _tags(uri)


@pytest.mark.parametrize("reason", ["", "  \n", "x" * 1001])
def test_a_reason_is_needed(reason: str) -> None:
    with pytest.raises(InputError, match="--reason"):
        ledger.check_reason(reason)


def test_no_such_model(mlflow_uri: str) -> None:
    with pytest.raises(TrackingError):
        ledger.read(client(mlflow_uri), mlflow_uri, "missing")
