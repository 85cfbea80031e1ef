"""Leakage: how many chains of a test set are also in the training set.

Invariant: each test chain is counted once, as identical, near or neither. Training chains are streamed:
memory grows with the test set, time with the residues of both. Flow: train and test sequences -> [this] ->
evaluation_report, gates.

A test chain is `identical` when a training chain has the same sequence. It is `near` when a single training chain holds
at least half of the test chain's distinct 7-mers. Seven residues rarely recur by chance (1 in 20^7) and half of them
shared means a near-duplicate, a fragment or a close homologue (roughly 90 % identity and more); remote homologues are
not detected. 7-mers with an unknown residue (X) are left out; a chain without a 7-mer can only be identical.
"""

from collections.abc import Iterable
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from liftray.errors import DataError

K = 7
NEAR_SHARE = 0.5

LEAKY_SHARE = 0.05
"""A set is leaky when more than this share of its chains is identical or near.

The score of a chain seen in training can be up to about 20 points too high. One chain in twenty then moves the score
of the set by a point at most: about the sampling half-width of a set of 364 chains.
"""

UIntArray = npt.NDArray[np.uint64]


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


def leakage(train_sequences: Iterable[str], test_chains: Iterable[tuple[str, str]]) -> Leakage:
    """Find the test chains that are in the training set.

    Args:
        train_sequences: Residues of each training chain; read once.
        test_chains: (id, residues) of each test chain.

    Raises:
        DataError: No test chain.
    """
    test = list(test_chains)
    if not test:
        raise DataError(
            "leakage cannot be measured on an empty test set", remedy="give at least one test chain"
        )
    kmers = [_kmers(sequence) for _, sequence in test]
    distinct_N = np.array([chain.size for chain in kmers])
    # Inverted index: posting list i names the test chains that hold vocabulary[i].
    every, owner = np.concatenate(kmers), np.repeat(np.arange(len(test)), distinct_N)
    order = np.argsort(every, kind="stable")
    vocabulary, start = np.unique(every[order], return_index=True)
    posting, end = owner[order], np.append(start[1:], every.size)

    known = {sequence for _, sequence in test}
    identical_sequences: set[str] = set()
    most_N = np.zeros(len(test), dtype=np.int64)
    for sequence in train_sequences:
        if sequence in known:
            identical_sequences.add(sequence)
        shared = _lookup(vocabulary, _kmers(sequence))
        if shared.size:
            hits = np.concatenate([posting[start[at] : end[at]] for at in shared])
            np.maximum(most_N, np.bincount(hits, minlength=len(test)), out=most_N)
    identical = np.array([sequence in identical_sequences for _, sequence in test])
    near = ~identical & (distinct_N > 0) & (most_N >= NEAR_SHARE * distinct_N)
    share = float((identical | near).mean())
    return Leakage(
        chains=len(test),
        identical=int(identical.sum()),
        near=int(near.sum()),
        share=share,
        leaky=share > LEAKY_SHARE,
        ids=[test[at][0] for at in np.flatnonzero(identical | near)],
    )


def _kmers(sequence: str) -> UIntArray:
    """Distinct 7-mers without X as 56-bit numbers, sorted."""
    letters = np.frombuffer(sequence.encode("latin-1", "replace"), dtype=np.uint8).astype(np.uint64)
    if letters.size < K:
        return np.zeros(0, dtype=np.uint64)
    windows = np.lib.stride_tricks.sliding_window_view(letters, K)
    known = ~(windows == ord("X")).any(axis=1)
    return np.unique(windows[known] @ (np.uint64(1) << np.arange(0, 8 * K, 8, dtype=np.uint64)))


def _lookup(vocabulary: UIntArray, kmers: UIntArray) -> npt.NDArray[np.int64]:
    """Places in the sorted vocabulary of those k-mers that it has."""
    if not vocabulary.size:
        return np.zeros(0, dtype=np.int64)
    at = np.minimum(np.searchsorted(vocabulary, kmers), vocabulary.size - 1)
    return at[vocabulary[at] == kmers]
