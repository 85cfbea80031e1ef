"""What the cached bytes depend on: one key for a store, one id for each entry in it.

Invariant: two computations whose bytes can differ have different keys or different entry ids. Pure: no NumPy, no torch.
Flow: settings and backbone -> [this] -> store.

The residues of its window alone name an entry, so data sets that share a sequence share its entry. The rule that
divides chains into windows does not matter: another rule makes other windows, thus other ids.
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
    """All that the bytes of one store depend on, except the residues.

    Attributes:
        backbone: Digest of the backbone: weights, config and tokeniser.
        block: Block whose input is stored; the number of blocks for the last block's output.
        width: D, the width of a hidden state.
        compute: Number type that the blocks ran in, one of `COMPUTE`.
        stored: Number type on disk, one of `STORED`; int8 has one float32 scale a row.
        device: Kind of device that the blocks ran on, one of `DEVICES`.
        versions: Library -> version, and the version of the code that computes the prefix.

    Raises:
        ValueError: A number is negative, or a type or device is not one of those.
    """

    backbone: str
    block: int
    width: int
    compute: str
    stored: str
    device: str
    versions: Mapping[str, str] = field(hash=False)

    def __post_init__(self) -> None:
        allowed = {"compute": COMPUTE, "stored": STORED, "device": DEVICES}
        wrong = [name for name, values in allowed.items() if getattr(self, name) not in values]
        if wrong or self.block < 0 or self.width <= 0:
            raise ValueError(f"not a key of a store: {self}")

    @property
    def row_bytes(self) -> int:
        """R, the bytes on disk of one token's hidden state."""
        return {"float32": 4 * self.width, "bfloat16": 2 * self.width, "int8": self.width + 4}[self.stored]

    @property
    def exact(self) -> bool:
        """Whether decoding returns the tensor that the blocks computed, bit for bit."""
        return self.stored == self.compute

    def digest(self) -> str:
        """The sha256, in hex, of the key's canonical JSON."""
        return _sha256(_canonical(self._content()))

    def lineage(self) -> str:
        """The digest of everything except the block: what states at several blocks of one computation share."""
        shared = self._content()
        del shared["cut"]
        return _sha256(_canonical(shared))

    def directory(self, root: str | Path) -> Path:
        """The store's directory under a cache's root."""
        return Path(root) / self.lineage()[:_SHOWN] / f"k{self.block:03d}"

    def at(self, block: int) -> "PrefixKey":
        """The key of the same lineage at another block."""
        return replace(self, block=block)

    def document(self) -> bytes:
        """The content of `key.json`: the key and its digest, the same bytes for equal keys."""
        content = {"key": self._content(), "sha256": self.digest()}
        return (json.dumps(content, indent=2, sort_keys=True) + "\n").encode("ascii")

    def _content(self) -> dict[str, object]:
        """The fields as `key.json` names them: `cut` is the name of the block since the first version."""
        content = {**asdict(self), "versions": dict(self.versions)}
        content["cut"] = content.pop("block")
        return content


def digest_in(document: bytes) -> str | None:
    """The digest in the content of a `key.json`; None where it is not the digest of the key in the same file."""
    try:
        content = json.loads(document)
        digest = _sha256(_canonical(content["key"]))
        return digest if digest == content["sha256"] else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def entry_id(residues: str) -> bytes:
    """The id of a window's entry.

    Args:
        residues: The window's residues as the tokeniser gets them.

    Returns:
        The first 16 bytes of their sha256.
    """
    return hashlib.sha256(residues.encode("utf-8")).digest()[:ID_BYTES]


def _canonical(content: object) -> str:
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("ascii")).hexdigest()
