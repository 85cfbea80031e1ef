"""What ingest counts while it reads chains: labels, lengths, duplicates, and the content digest.

Invariant: memory grows with the number of chains (about 300 bytes each: 16-byte hashes, the first id of a
sequence, a 4-byte length), never with their residues. Flow: ingest passes each good record to [this] before it writes
it.
"""

import hashlib
from array import array
from collections import Counter
from typing import Any

import numpy as np

from liftray.data.digest import ContentDigest
from liftray.data.labels import STATES, UNLABELLED
from liftray.data.records import BadRecord, ProteinRecord

_HASH_BYTES = 16
_LISTED = 100
_QUANTILES = {"q05": 0.05, "q25": 0.25, "median": 0.5, "q75": 0.75, "q95": 0.95}


class Tally:
    """Counts of one data set in the making.

    Attributes:
        bad: Refused records by reason.
        foreign: Refused chains by each label that is not in the alphabet.
    """

    def __init__(self, alphabet: str) -> None:
        self.alphabet = alphabet
        self.bad: Counter[str] = Counter()
        self.foreign: Counter[str] = Counter()
        self._digest = ContentDigest()
        self._lengths = array("i")
        self._labels: Counter[str] = Counter()
        self._unlabelled_chains = 0
        self._ids: set[bytes] = set()
        self._first: dict[bytes, bytes] = {}
        self._same_sequence = 0
        self._contradictions = 0
        self._listed: list[dict[str, str]] = []

    @property
    def num_chains(self) -> int:
        """Good records so far."""
        return len(self._lengths)

    @property
    def num_residues(self) -> int:
        """Residues of the good records so far."""
        return sum(self._labels.values())

    def add(self, record: ProteinRecord, file: str) -> BadRecord | None:
        """Count one record that passed validation.

        Args:
            record: The record.
            file: The file to name if it is refused.

        Returns:
            None, or a BadRecord (`duplicate-id`) if an earlier record has its id; then nothing else was
            counted.
        """
        key = _hash(record.id)
        if key in self._ids:
            return BadRecord(
                file, record.line, record.id, "duplicate-id", "an earlier record has the same id"
            )
        self._ids.add(key)
        self._compare(record)
        self._digest.add(record.id, record.sequence, record.ss)
        self._lengths.append(len(record.ss))
        for state in STATES[self.alphabet] + UNLABELLED:
            self._labels[state] += record.ss.count(state)
        self._unlabelled_chains += record.ss.count(UNLABELLED) == len(record.ss)
        return None

    def refuse(self, bad: BadRecord) -> None:
        """Count one refused record."""
        self.bad[bad.reason] += 1
        self.foreign.update(bad.labels)

    def info(self) -> dict[str, Any]:
        """The counts as `dataset.json` has them; lengths in residues, quantiles are lengths that occur."""
        return {
            "digest": self._digest.hexdigest(self.alphabet),
            "num_chains": self.num_chains,
            "num_residues": self.num_residues,
            "num_labelled": self.num_residues - self._labels[UNLABELLED],
            "unlabelled_chains": self._unlabelled_chains,
            "label_histogram": {state: self._labels[state] for state in STATES[self.alphabet] + UNLABELLED},
            "length": self._length_quantiles(),
            "duplicates": {
                "ids": self.bad["duplicate-id"],
                "sequences": self._same_sequence,
                "contradictory": self._contradictions,
                "contradictory_listed": self._listed,
            },
            "quarantined": {
                "total": self.bad.total(),
                "reasons": dict(sorted(self.bad.items())),
                **({"labels": dict(sorted(self.foreign.items()))} if self.foreign else {}),
            },
        }

    def _compare(self, record: ProteinRecord) -> None:
        """Compare with the first chain of the same sequence; any other letter is a difference, `X` too."""
        record_id = record.id.encode("utf-8")
        key, labels = _hash(record.sequence), _hash(record.ss)
        first = self._first.setdefault(key, labels + record_id)
        if first[_HASH_BYTES:] == record_id:
            return
        self._same_sequence += 1
        if first[:_HASH_BYTES] == labels:
            return
        self._contradictions += 1
        if len(self._listed) < _LISTED:
            self._listed.append({"id": record.id, "first_id": first[_HASH_BYTES:].decode("utf-8")})

    def _length_quantiles(self) -> dict[str, int | float]:
        lengths = np.array(self._lengths, dtype=np.int32)
        cuts = np.quantile(lengths, list(_QUANTILES.values()), method="inverted_cdf")
        inner = {name: int(cut) for name, cut in zip(_QUANTILES, cuts, strict=True)}
        return {
            "min": int(lengths.min()),
            **inner,
            "max": int(lengths.max()),
            "mean": round(float(lengths.mean()), 3),
        }


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8"), digest_size=_HASH_BYTES).digest()
