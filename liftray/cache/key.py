"""What the cached bytes depend on: one key for a store, one id for each entry in it.

Invariant: two computations whose bytes can differ have different keys or different entry ids. Pure: NumPy-free, no
torch. Flow: settings and backbone -> [this] -> store.

An entry is named by the residues of its window alone, so data sets that share a sequence share its entry, and the
policy that cut the windows does not matter: another policy makes other windows, thus other ids.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

ID_BYTES = 16
COMPUTE = ("float32", "bfloat16")
STORED = ("float32", "bfloat16", "int8")
DEVICES = ("cpu", "cuda")
_SHOWN = 16


@dataclass(frozen=True)
class PrefixKey:
    """All that the bytes of one store depend on, but the residues.

    Attributes:
        backbone: Digest of the backbone: weights, config and tokeniser.
        cut: k, the number of blocks below the cut.
        width: D, the width of a hidden state.
        compute: Number type that the blocks ran in, one of `COMPUTE`.
        stored: Number type on disk, one of `STORED`; int8 has one float32 scale a row.
        device: Kind of device that the blocks ran on, one of `DEVICES`.
        versions: Library -> version, and the versions of our own prefix code and file format.
    """

    backbone: str
    cut: int
    width: int
    compute: str
    stored: str
    device: str
    versions: Mapping[str, str] = field(hash=False)

    def __post_init__(self) -> None:
        known = self.compute in COMPUTE and self.stored in STORED and self.device in DEVICES
        if self.cut < 0 or self.width < 1 or not known:
            raise ValueError(f"a cache key that no cache can have: {self}")

    @property
    def row_bytes(self) -> int:
        """R, the bytes on disk of one token's hidden state."""
        return {"float32": 4 * self.width, "bfloat16": 2 * self.width, "int8": self.width + 4}[self.stored]

    @property
    def exact(self) -> bool:
        """Whether decoding gives back the very tensor that the blocks computed."""
        return self.stored == self.compute

    def digest(self) -> str:
        """The sha256, in hex, of the key's canonical JSON."""
        return _sha256(_canonical({**asdict(self), "versions": dict(self.versions)}))

    def lineage(self) -> str:
        """The digest of everything but the cut: what a state at a shallower cut shares with one at a deeper cut."""
        shared = {**asdict(self), "versions": dict(self.versions)}
        del shared["cut"]
        return _sha256(_canonical(shared))

    def directory(self, root: str | Path) -> Path:
        """Where under a cache's root the store of this key lies."""
        return Path(root) / self.lineage()[:_SHOWN] / f"k{self.cut:03d}"

    def at(self, cut: int) -> "PrefixKey":
        """The key of the same lineage at another cut."""
        return replace(self, cut=cut)

    def document(self) -> bytes:
        """The content of `key.json`: the key and its digest, the same bytes for equal keys."""
        content = {"key": {**asdict(self), "versions": dict(self.versions)}, "sha256": self.digest()}
        return (json.dumps(content, indent=2, sort_keys=True) + "\n").encode("ascii")


def digest_in(document: bytes) -> str | None:
    """The digest that the content of a `key.json` bears, or None where it is not that of the key beside it."""
    try:
        content = json.loads(document)
        digest = _sha256(_canonical(content["key"]))
        return digest if digest == content["sha256"] else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def entry_id(residues: str) -> bytes:
    """The id of a window's entry.

    Args:
        residues: The window's residues as they are given to the tokeniser.

    Returns:
        The first 16 bytes of their sha256.
    """
    return hashlib.sha256(residues.encode("utf-8")).digest()[:ID_BYTES]


def _canonical(content: object) -> str:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("ascii")).hexdigest()
