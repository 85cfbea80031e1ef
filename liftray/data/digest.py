"""The digest that names a data set by its content.

Invariant: it depends on the alphabet and on the multiset of (id, sequence, labels) alone, never on row order,
row groups, files or sources. Used by ingest (to write it) and dataset (to check it).

Each record's sha256 is taken over its fields, parted by NUL bytes (none can hold one), and the digests are
added modulo 2^256; adding commutes. The sum, the count and the alphabet are hashed again. This names honest
data; it is not proof against a forger, who could search for other records with the same sum.
"""

import hashlib

_MODULUS = 1 << 256


class ContentDigest:
    """Collects records in any order."""

    def __init__(self) -> None:
        self._sum = 0
        self._count = 0

    def add(self, record_id: str, sequence: str, ss: str) -> None:
        """Take one record into the sum."""
        fields = "\0".join((record_id, sequence, ss)).encode("utf-8")
        self._sum = (self._sum + int.from_bytes(hashlib.sha256(fields).digest(), "big")) % _MODULUS
        self._count += 1

    def hexdigest(self, alphabet: str) -> str:
        """The digest of what was added so far, as `sha256:` and 64 hex digits."""
        text = f"liftray-dataset-1 {alphabet} {self._count} {self._sum:064x}"
        return "sha256:" + hashlib.sha256(text.encode("ascii")).hexdigest()
