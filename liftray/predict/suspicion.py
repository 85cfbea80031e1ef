"""Sequences that are probably no proteins: secondary structure labels, or nucleotides.

Invariant: nothing is refused here, because a protein may look like anything; the user gets one sentence for each kind.
A prediction for labels or DNA looks like any other, so the letters alone can tell. Flow: predicted chains -> [this] ->
summary and stderr.

- Labels: ten letters or more, only states, with `H` or `E`, in runs of 1.6 on average; runs of residues are near one.
  The same for the second half, or the last two thirds, of a record: a three-line file read as FASTA. Of 18,236 chains
  with labels, none was taken for labels, and 63 rows of labels of nine and eight states were not noticed.
- Nucleotides: twelve letters or more, only those of nucleic acids, nine in ten of them `A C G T U N`, three different.
"""

from collections import Counter
from itertools import pairwise

from liftray.data.labels import STATES, UNLABELLED

LABELS, NUCLEOTIDES = "looks-like-labels", "looks-like-nucleotides"

_STATES = frozenset("".join(STATES.values()) + UNLABELLED)
_BASES, _CODES = frozenset("ACGTUN"), frozenset("ACGTUNRYSWKMBDHVX")
_LABELS_FROM, _NUCLEOTIDES_FROM, _RUN, _SHARE = 10, 12, 1.6, 0.9
_WORDS = {
    LABELS: ("labels", "labelled files are read by `liftray ingest`"),
    NUCLEOTIDES: ("nucleotides", "translate them first"),
}


def suspicion(sequence: str) -> str:
    """Why a sequence is probably no protein: `LABELS`, `NUCLEOTIDES`, or "".

    Args:
        sequence: (L,) upper-case letters.
    """
    if _are_labels(sequence) or any(_ends_in_labels(sequence, parts) for parts in (2, 3)):
        return LABELS
    return NUCLEOTIDES if _are_nucleotides(sequence) else ""


class Suspicions:
    """Counts the suspicious chains of one run and keeps the first of each kind."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._first: dict[str, str] = {}
        self._seen = 0

    def add(self, sequence: str, chain_id: str, place: str = "") -> None:
        """Look at one chain.

        Args:
            sequence: Its residues.
            chain_id: Its id.
            place: File and line, where there is one.
        """
        self._seen += 1
        kind = suspicion(sequence)
        if kind:
            self.counts[kind] += 1
            self._first.setdefault(kind, f"{chain_id} ({place})" if place else chain_id)

    def sentences(self) -> list[str]:
        """One sentence for each kind, for the summary and the person who watches."""
        found = []
        for kind, count in sorted(self.counts.items()):
            name, remedy = _WORDS[kind]
            looks = "look" if count > 1 else "looks"
            what = f"{count} of {self._seen} sequences {looks} like {name} and no protein"
            found.append(f"{what}; first: {self._first[kind]}; {remedy}")
        return found


def _are_labels(text: str) -> bool:
    if len(text) < _LABELS_FROM or not set(text) <= _STATES or not {"H", "E"} & set(text):
        return False
    runs = 1 + sum(one != other for one, other in pairwise(text))
    return len(text) >= _RUN * runs


def _ends_in_labels(sequence: str, parts: int) -> bool:
    """Whether the letters after the first part are labels, one row or two, and the first part is none."""
    size, rest = divmod(len(sequence), parts)
    return not rest and not set(sequence[:size]) <= _STATES and _are_labels(sequence[size:])


def _are_nucleotides(sequence: str) -> bool:
    letters = Counter(sequence)
    if len(sequence) < _NUCLEOTIDES_FROM or not letters.keys() <= _CODES:
        return False
    bases = sum(letters[base] for base in _BASES)
    return bases >= _SHARE * len(sequence) and len((letters.keys() & _BASES) - {"N"}) >= 3
