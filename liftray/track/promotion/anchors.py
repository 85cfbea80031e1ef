"""What holds a ledger in place from outside its store: a key that signs entries, and a witness of the newest hashes.

Invariant: neither is kept in the store, so who can write to the store alone cannot change both. A key finds entries
that somebody else wrote; a witness also finds a store that was restored to before its newest entries. Flow: policy or
environment -> [this] -> ledger.
"""

import hashlib
import hmac
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from liftray import limits
from liftray.documents import parse_json
from liftray.errors import ConfigError
from liftray.input_files import read_input
from liftray.track.promotion.policy import LedgerAnchors

KEY_VARIABLE, WITNESS_VARIABLE = "LIFTRAY_LEDGER_KEY_FILE", "LIFTRAY_LEDGER_WITNESS"
_KEY_BYTES = 32

Status = Literal["intact", "rewritten", "rolled back", "not checkable"]


@dataclass(frozen=True)
class Integrity:
    """What the anchors say of a ledger whose own chain is sound.

    Attributes:
        status: `not checkable` where nothing outside the store says anything about it.
        detail: Why, for people.
    """

    status: Status
    detail: str

    def __str__(self) -> str:
        """One clause."""
        return f"{self.status} ({self.detail})"


@dataclass(frozen=True)
class Anchors:
    """The key and the witness of a store; either may be missing.

    Attributes:
        key: The secret.
        signed_from: Number of the first entry that has to be signed.
        witness: File of the newest hashes; one file for one store.
    """

    key: bytes | None = None
    signed_from: int = 1
    witness: Path | None = None

    @classmethod
    def of(cls, settings: LedgerAnchors) -> "Anchors":
        """Read them as the policy names them, else as the environment does.

        Raises:
            ConfigError: The key file or the witness is missing, or the key is too short.
        """
        key_file = settings.key_file or os.environ.get(KEY_VARIABLE)
        witness = settings.witness or os.environ.get(WITNESS_VARIABLE)
        return cls(
            _read_key(Path(key_file).expanduser()) if key_file else None,
            settings.signed_from,
            _found(Path(witness).expanduser()) if witness else None,
        )

    def signature(self, name: str, entry: Mapping[str, Any]) -> dict[str, str]:
        """The field `mac` of an entry of a registered model; none without a key."""
        return {} if self.key is None else {"mac": _mac(self.key, name, entry)}

    def record(self, name: str, entries: Sequence[Mapping[str, Any]]) -> None:
        """Add the entries that the witness lacks, each as a line of its own, flushed to the disk.

        Raises:
            ConfigError: The witness is damaged or cannot be written.
        """
        if self.witness is None:
            return
        known = {line["n"] for line in self._lines(name)}
        lines = [_line(name, entry) for entry in entries if entry["n"] not in known]
        try:
            file = os.open(self.witness, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
            try:
                for line in lines:
                    os.write(file, line)
                os.fsync(file)
            finally:
                os.close(file)
        except OSError as error:
            raise ConfigError(
                f"cannot write the ledger's witness ({error.strerror})",
                where=str(self.witness),
                remedy="make it writable: the next promotion adds what is missing",
            ) from error

    def check(self, name: str, entries: Sequence[Mapping[str, Any]]) -> Integrity:
        """Compare a ledger's entries with the anchors.

        Args:
            name: Registered model.
            entries: All of them, oldest first; their own chain is sound.

        Raises:
            ConfigError: The witness is damaged.
        """
        if self.key is None and self.witness is None:
            return Integrity("not checkable", "neither a key nor a witness is configured")
        lines = self._lines(name)
        for line in lines:
            if line["n"] <= len(entries) and entries[line["n"] - 1]["hash"] != line["hash"]:
                return Integrity("rewritten", f"entry {line['n']} is not the one that the witness saw")
        for entry in entries[self.signed_from - 1 :] if self.key else ():
            if not hmac.compare_digest(str(entry.get("mac")), _mac(self.key or b"", name, entry)):
                detail = f"entry {entry['n']} is not signed with this key"
                older = "; where it is older than the key, set ledger.signed_from to the next number"
                return Integrity("rewritten", detail + ("" if "mac" in entry else older))
        last = max((line["n"] for line in lines), default=0)
        if last > len(entries):
            return Integrity(
                "rolled back", f"the witness saw entry {last}, the ledger ends at {len(entries)}"
            )
        return self._sound(len(entries), last)

    def _sound(self, count: int, last: int) -> Integrity:
        """What was found where nothing contradicts: who has no witness cannot see a restored store."""
        parts = []
        if self.key is not None:
            unsigned = min(self.signed_from - 1, count)
            parts.append(f"{count - unsigned} of {count} entries signed")
        if self.witness is None:
            parts.append("without a witness, a restored older store cannot be seen")
        elif last or not count:
            parts.append(f"witnessed up to entry {last}")
        else:
            parts.append("the witness has no entry of this model yet; the next one adds all")
        proven = (self.key is not None and count >= self.signed_from) or last or not count
        return Integrity("intact" if proven else "not checkable", "; ".join(parts))

    def _lines(self, name: str) -> list[dict[str, Any]]:
        """The witness's lines of one model, each whole."""
        if self.witness is None:
            return []
        raw = read_input(self.witness, max_bytes=limits.JSON_BYTES, error=ConfigError, inflated=False)
        if raw and not raw.endswith(b"\n"):
            raise _damaged_witness(self.witness, "its last line is cut off")
        lines = []
        for number, text in enumerate(raw.split(b"\n")[:-1], start=1):
            try:
                line = parse_json(text, where="witness", ours=True)
                if text + b"\n" != _line(str(line["model"]), line):
                    raise ValueError("it has changed since it was written")
            except (ValueError, KeyError, TypeError) as error:  # an InputError is a ValueError
                raise _damaged_witness(self.witness, f"line {number}: {error}") from error
            lines.append(line)
        return [line for line in lines if line["model"] == name]


def _read_key(path: Path) -> bytes:
    key = read_input(path, max_bytes=limits.CONFIG_BYTES, error=ConfigError, inflated=False).strip()
    if len(key) < _KEY_BYTES:
        raise ConfigError(
            f"the ledger's key has {len(key)} bytes, under {_KEY_BYTES}",
            where=str(path),
            remedy="make one with `openssl rand -hex 32`",
        )
    return key


def _found(path: Path) -> Path:
    # A missing witness is never made: who removes it would otherwise remove what it says.
    if not path.is_file():
        raise ConfigError(
            "the ledger's witness is missing",
            where=str(path),
            remedy="restore it; where the ledger was never witnessed, make an empty file once",
        )
    return path


def _mac(key: bytes, name: str, entry: Mapping[str, Any]) -> str:
    content = {field: value for field, value in entry.items() if field not in ("mac", "hash")}
    text = json.dumps([name, content], sort_keys=True)
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def _line(name: str, entry: Mapping[str, Any]) -> bytes:
    content = {"model": name, "n": entry["n"], "hash": entry["hash"]}
    digest = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    return json.dumps({**content, "sha256": digest}).encode() + b"\n"


def _damaged_witness(path: Path, why: str) -> ConfigError:
    return ConfigError(
        f"the ledger's witness is damaged ({why})",
        where=str(path),
        remedy="restore it from a copy; remove a last line only where a writer was killed",
    )
