"""Leakage: how many chains of a test set are also in the training set.

Invariant: each test chain is counted once, as identical, near or neither. Training chains are streamed:
memory grows with the test set, time with the residues of both. Flow: train and test sequences -> [this] ->
evaluation_report, gates.

A test chain is `identical` when a training chain has the same sequence. It is `near` when a single training chain holds
at least half of the test chain's distinct 7-mers. Seven residues rarely recur by chance (1 in 20^7) and half of them
shared means a near-duplicate, a fragment or a close homologue (roughly 90 % identity and more); remote homologues are
not detected. 7-mers with an unknown residue (X) are left out; a chain without a 7-mer can only be identical.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NotRequired, TypedDict

import numpy as np
import numpy.typing as npt

from liftray.errors import DataError
from liftray.predict.training_sketch import TrainingSketch, UIntArray, kmers_of

NEAR_SHARE = 0.5
FEWEST_KEPT = 4
"""With fewer 7-mers in a sketch, a half may be one or two by chance."""

LEAKY_SHARE = 0.05
"""A set is leaky when more than this share of its chains is identical or near.

The score of a chain seen in training can be up to about 20 points too high. One chain in twenty then moves the score
of the set by a point at most: about the sampling half-width of a set of 364 chains.
"""


class Leakage(TypedDict):
    """JSON-ready result.

    Keys: `chains` in the test set; `identical` and `near` chains (counts, disjoint); `share` of the two
    together (fraction); `leaky` (share over LEAKY_SHARE); `ids` of the leaked chains.
    """

    chains: int
    identical: int
    near: int
    share: float
    leaky: bool
    ids: list[str]
    training_set: NotRequired[str]


def leakage(train_sequences: Iterable[str], test_chains: Iterable[tuple[str, str]]) -> Leakage:
    """Find the test chains that are in the training set.

    Args:
        train_sequences: Residues of each training chain; read once.
        test_chains: (id, residues) of each test chain.

    Raises:
        DataError: No test chain.
    """
    test = _checked(test_chains)
    known = {sequence for _, sequence in test}
    found: set[str] = set()

    def train() -> Iterator[UIntArray]:
        for sequence in train_sequences:
            if sequence in known:
                found.add(sequence)
            yield kmers_of(sequence)

    near = _near([kmers_of(sequence) for _, sequence in test], train(), 1)
    return _counted(test, np.array([sequence in found for _, sequence in test]), near)


def leakage_by_sketch(sketches: Sequence[TrainingSketch], test_chains: Iterable[tuple[str, str]]) -> Leakage:
    """The same from what a bundle keeps of its training chains.

    Args:
        sketches: Those of a bundle, at least one.
        test_chains: (id, residues) of each test chain.

    Raises:
        DataError: No test chain.
    """
    test = _checked(test_chains)
    identical = np.array([any(one.holds(sequence) for one in sketches) for _, sequence in test])
    near = np.zeros(len(test), dtype=bool)
    for one in sketches:
        fewest = 1 if one.scale == 1 else FEWEST_KEPT
        near |= _near([one.kept(sequence) for _, sequence in test], one.kmers, fewest)
    return _counted(test, identical, near)


def _checked(test_chains: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    test = list(test_chains)
    if not test:
        raise DataError(
            "leakage cannot be measured on an empty test set", remedy="give at least one test chain"
        )
    return test


def _near(kmers: list[UIntArray], train: Iterable[UIntArray], fewest: int) -> npt.NDArray[np.bool_]:
    """(N,) whether one training chain holds enough of a test chain's 7-mers, where it has at least `fewest`."""
    distinct_N = np.array([chain.size for chain in kmers])
    # Inverted index: posting list i names the test chains that hold vocabulary[i].
    every, owner = np.concatenate(kmers), np.repeat(np.arange(len(kmers)), distinct_N)
    order = np.argsort(every, kind="stable")
    vocabulary, start = np.unique(every[order], return_index=True)
    posting, end = owner[order], np.append(start[1:], every.size)
    most_N = np.zeros(len(kmers), dtype=np.int64)
    for chain in train:
        shared = _lookup(vocabulary, chain)
        if shared.size:
            hits = np.concatenate([posting[start[at] : end[at]] for at in shared])
            np.maximum(most_N, np.bincount(hits, minlength=len(kmers)), out=most_N)
    near_N: npt.NDArray[np.bool_] = (distinct_N >= fewest) & (most_N >= NEAR_SHARE * distinct_N)
    return near_N


def _counted(
    test: list[tuple[str, str]], identical: npt.NDArray[np.bool_], near: npt.NDArray[np.bool_]
) -> Leakage:
    near = near & ~identical
    share = float((identical | near).mean())
    return Leakage(
        chains=len(test),
        identical=int(identical.sum()),
        near=int(near.sum()),
        share=share,
        leaky=share > LEAKY_SHARE,
        ids=[test[at][0] for at in np.flatnonzero(identical | near)],
    )


def _lookup(vocabulary: UIntArray, kmers: UIntArray) -> npt.NDArray[np.int64]:
    """Places in the sorted vocabulary of those k-mers that it has."""
    if not vocabulary.size:
        return np.zeros(0, dtype=np.int64)
    at = np.minimum(np.searchsorted(vocabulary, kmers), vocabulary.size - 1)
    return at[vocabulary[at] == kmers]
