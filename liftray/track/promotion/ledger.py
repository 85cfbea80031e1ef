"""The ledger of a registered model: who made which version champion, when, why, on what evidence.

Invariant: entries are numbered 1, 2, ... and each holds the hash of the one before, so an entry that was
changed, removed or inserted is detected on the next use; nothing is decided on a broken ledger. It is kept as tags of
the registered model, since MLflow keeps no history of an alias. Flow: registry -> [this] -> MLflow.

Taking the newest entries away leaves a sound chain; `registry` finds that by comparing the alias with the
last entry. A whole chain that was computed again, and a store that was restored with its aliases, are found by
`anchors`, where they are configured.

Two promoters at once: MLflow's tags cannot be written "only if absent". So each first writes a claim under a name of
its own, and continues only if it then reads no other claim. Claims of a process that died count for a minute.
"""

import hashlib
import json
import random
import socket
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from liftray.documents import parse_json
from liftray.errors import InputError
from liftray.redaction import redacted
from liftray.track.mlflow.store import mlflow_errors
from liftray.track.promotion.anchors import Anchors
from liftray.track.promotion.verdict import Refusal
from liftray.track.provenance import user

if TYPE_CHECKING:
    from mlflow import MlflowClient

_ENTRY = "liftray.ledger."
_CLAIM = "liftray.claim."
_CLAIM_S = 60.0
_TRIES = 6
_TAG_CHARACTERS = 5000  # what the narrowest of MLflow's databases holds
_REASON_CHARACTERS = 1000
_START = "0" * 64
_NO_ANCHORS = Anchors()
_CODES = {"rewritten": "LEDGER_REWRITTEN", "rolled back": "LEDGER_ROLLED_BACK"}
_FIELDS = {"time": str, "who": str, "action": str, "version": int, "reason": str, "evidence": dict}


def read(client: "MlflowClient", uri: str, name: str, anchors: Anchors = _NO_ANCHORS) -> list[dict[str, Any]]:
    """All entries, oldest first, verified.

    Args:
        client: Of the store.
        uri: Its address.
        name: Registered model.
        anchors: What the entries are compared with from outside the store.

    Raises:
        Refusal: LEDGER_BROKEN: an entry was changed, removed or added outside LiftRay. LEDGER_REWRITTEN,
            LEDGER_ROLLED_BACK: the chain is sound, but it is not the one that the anchors know.
        TrackingError: There is no such registered model, or no store.
    """
    with mlflow_errors(uri):
        tags = client.get_registered_model(name).tags
    return _verified(tags, name, anchors)


def verify(tags: Mapping[str, str], name: str) -> list[dict[str, Any]]:
    """The entries among a registered model's tags; see `read`."""
    entries: list[dict[str, Any]] = []
    previous = _START
    for number, key in enumerate(sorted(key for key in tags if key.startswith(_ENTRY)), start=1):
        entry = _parse(tags[key])
        sound = entry is not None and key == _key(number) and entry.get("n") == number
        if (
            entry is None
            or not sound
            or entry.get("prev_hash") != previous
            or entry.get("hash") != hash_of(entry)
            or not _is_complete(entry)
        ):
            raise Refusal(
                f"LEDGER_BROKEN: entry {number} of the ledger is not what was written",
                where=f"registered model {name!r}",
                remedy=f"find out who changed the tag {key}, and restore it from a backup of the store",
                reasons=["LEDGER_BROKEN"],
            )
        previous = entry["hash"]
        entries.append(entry)
    return entries


def _verified(tags: Mapping[str, str], name: str, anchors: Anchors) -> list[dict[str, Any]]:
    entries = verify(tags, name)
    found = anchors.check(name, entries)
    if code := _CODES.get(found.status):
        raise Refusal(
            f"{code}: the ledger was {found.status}: {found.detail}",
            where=f"registered model {name!r}",
            remedy="find out who changed the store, and restore it from a newer backup; nothing is decided until then",
            reasons=[code],
            verdict={"entries": entries, "integrity": asdict(found)},
        )
    return entries


def append(
    client: "MlflowClient",
    uri: str,
    name: str,
    entries: list[dict[str, Any]],
    anchors: Anchors = _NO_ANCHORS,
    **fields: Any,
) -> dict[str, Any]:
    """Write the next entry. Call it inside `claim`.

    Args:
        client: Of the store.
        uri: Its address.
        name: Registered model.
        entries: The entries that `claim` yielded.
        anchors: A key signs the entry, and a witness gets its hash.
        fields: `action`, `version`, `previous`, `reason`, `evidence`.

    Returns:
        The entry as written: the fields, `n`, `time` (UTC), `who`, `prev_hash`, `hash`, and `mac` with a key.

    Raises:
        InputError: The entry is too long for a tag.
        ConfigError: The witness cannot be written; the entry is in the ledger.
        Refusal: CONCURRENT: another promoter wrote over it (its claim went unseen, as with clocks far apart).
    """
    entry = {
        "n": len(entries) + 1,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "who": f"{user()}@{socket.gethostname()}",
        **fields,
        "prev_hash": entries[-1]["hash"] if entries else _START,
    }
    entry |= anchors.signature(name, entry)
    entry["hash"] = hash_of(entry)
    text = json.dumps(entry, sort_keys=True)
    if len(text) > _TAG_CHARACTERS:
        raise InputError(f"the ledger's entry has {len(text)} characters, over {_TAG_CHARACTERS}")
    with mlflow_errors(uri):
        client.set_registered_model_tag(name, _key(entry["n"]), text)
        stored = client.get_registered_model(name).tags.get(_key(entry["n"]))
    if stored != text:
        raise concurrent(name, "another promoter wrote the same entry of the ledger")
    anchors.record(name, [*entries, entry])
    return entry


def check_reason(reason: str) -> str:
    """The reason as the ledger will record it.

    Raises:
        InputError: It is empty or over 1,000 characters.
    """
    reason = redacted(" ".join(reason.split()))
    if not reason or len(reason) > _REASON_CHARACTERS:
        raise InputError(
            "a reason of 1 to 1,000 characters is needed"
            if not reason
            else "the reason is over 1,000 characters",
            remedy="give --reason TEXT",
        )
    return reason


@contextmanager
def claim(
    client: "MlflowClient", uri: str, name: str, anchors: Anchors = _NO_ANCHORS
) -> Iterator[list[dict[str, Any]]]:
    """Be the only one who decides about this model, from here to the end of the block.

    Yields:
        The verified entries.

    Raises:
        Refusal: CONCURRENT: another promotion is under way. LEDGER_BROKEN: see `read`.
    """
    key = f"{_CLAIM}{uuid.uuid4().hex}"
    for attempt in range(_TRIES):
        with mlflow_errors(uri):
            client.set_registered_model_tag(name, key, f"{time.time():.3f}")
            tags = client.get_registered_model(name).tags
        try:
            if not any(
                _is_recent(value)
                for other, value in tags.items()
                if other.startswith(_CLAIM) and other != key
            ):
                yield _verified(tags, name, anchors)
                return
        finally:
            with mlflow_errors(uri):
                client.delete_registered_model_tag(name, key)
        # Both may have stepped back; waits of different lengths let one through.
        time.sleep(random.uniform(0.05, 0.2) * (attempt + 1))
    raise concurrent(name, "another promotion is under way")


def concurrent(name: str, what: str) -> Refusal:
    """The refusal of one who came second."""
    return Refusal(
        f"CONCURRENT: {what}",
        where=f"registered model {name!r}",
        remedy="look at the history, then try again",
        reasons=["CONCURRENT"],
    )


def _is_recent(value: str) -> bool:
    try:
        return abs(time.time() - float(value)) < _CLAIM_S
    except ValueError:
        return False


def _parse(text: str) -> dict[str, Any] | None:
    try:
        entry: dict[str, Any] = parse_json(text, where="ledger", ours=True)
    except InputError:
        return None
    return entry


def _is_complete(entry: Mapping[str, Any]) -> bool:
    """Whether an entry has the fields that its readers use, each of its kind."""
    return all(isinstance(entry.get(key, kind()), kind) for key, kind in _FIELDS.items()) and (
        isinstance(entry.get("previous"), int | None) and {"action", "version"} <= entry.keys()
    )


def _key(number: int) -> str:
    return f"{_ENTRY}{number:06d}"


def hash_of(entry: Mapping[str, Any]) -> str:
    """SHA-256 of an entry without its own `hash`, as hexadecimal digits."""
    content = {key: value for key, value in entry.items() if key != "hash"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
