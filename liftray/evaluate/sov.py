"""Segment overlap: SOV'99 (Zemla, Venclovas, Fidelis & Rost, Proteins 34:220, 1999) and SOV_refine (Liu & Wang,
Source Code for Biology and Medicine 13:1, 2018).

Invariant: the score of a set follows from sums of per-chain, per-state numerators and normalisers, so a resampled set
is scored by sums alone. Pure NumPy; a whole set at once, without a loop over chains. Flow: predictions -> [this] ->
metrics.

Over pairs (s1, s2) of a true and a predicted segment of the same state that share a residue,

    SOV(i) = 1/N(i) * sum (minov + delta) / maxov * len(s1)
    N(i)   = sum of len(s1) over the pairs + sum of len(s1) over true segments that overlap no predicted one

and the overall score divides the sum of the numerators of all states by the sum of their N. The two scores differ
in what they forgive at the ends of a segment:

    SOV'99      delta = min(maxov - minov, minov, len(s1) // 2, len(s2) // 2)
    SOV_refine  delta = min(maxov - minov, delta_all * len(s1) / L * minov / maxov)
                delta_all = states in the true chain / sum over all its segments of (len / L)^2

so SOV_refine forgives less where the overlap is small, and more in chains of many short segments; L is the chain's
length, and its parameter lambda is 1, as published.

Residues without a label break segments, in truth and prediction alike, and do not count in L. Cutting them out
instead would join the two sides of a disordered loop into one segment that the protein does not have.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from liftray.data.labels import IGNORE_INDEX

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]


class SovCounts(NamedTuple):
    """Sums from which both scores of any set of chains follow.

    Attributes:
        sov99_NC: (N, C) numerators of SOV'99, by chain and state.
        refine_NC: (N, C) numerators of SOV_refine.
        norm_NC: (N, C) normalisers N(i), common to both.
    """

    sov99_NC: FloatArray
    refine_NC: FloatArray
    norm_NC: FloatArray


class ChainSov(NamedTuple):
    """Both scores of one chain, fractions; NaN where there is nothing to score.

    Attributes:
        sov99: SOV'99 over all states.
        refine: SOV_refine over all states.
        sov99_C: (C,) SOV'99 of each state.
        refine_C: (C,) SOV_refine of each state.
    """

    sov99: float
    refine: float
    sov99_C: FloatArray
    refine_C: FloatArray


def sov_counts(
    true_T: IntArray, predicted_T: IntArray, chain_T: IntArray, num_chains: int, num_states: int
) -> SovCounts:
    """Numerators and normaliser of both scores for each chain and state.

    Args:
        true_T: (T,) true codes of all chains, IGNORE_INDEX where there is no label.
        predicted_T: (T,) predicted codes.
        chain_T: (T,) chain of each residue, ascending.
        num_chains: N; chains without a labelled residue score 0 / 0.
        num_states: C.
    """
    counts = SovCounts(*(np.zeros((num_chains, num_states)) for _ in range(3)))
    labelled = np.flatnonzero(true_T != IGNORE_INDEX)
    if not labelled.size:
        return counts
    true_M, predicted_M, chain_M = true_T[labelled], predicted_T[labelled], chain_T[labelled]
    piece_M = _runs(chain_M, labelled - np.arange(labelled.size))  # unbroken stretch of labels within a chain
    true_segment_M, predicted_segment_M = _runs(piece_M, true_M), _runs(piece_M, predicted_M)
    true_length, predicted_length = np.bincount(true_segment_M), np.bincount(predicted_segment_M)
    starts = np.flatnonzero(np.diff(true_segment_M, prepend=-1))
    allowance_N = _allowance(true_length, true_M[starts], chain_M[starts], num_chains, num_states)

    agree = np.flatnonzero(true_M == predicted_M)
    # Two intervals share one stretch, so a pair of overlapping segments is one run of their two numbers.
    pair = _runs(true_segment_M[agree], predicted_segment_M[agree])
    first = agree[np.flatnonzero(np.diff(pair, prepend=-1))]
    length1, length2 = true_length[true_segment_M[first]], predicted_length[predicted_segment_M[first]]
    minov = np.bincount(pair, minlength=first.size)
    maxov = length1 + length2 - minov
    at = (chain_M[first], true_M[first])
    delta99 = np.minimum.reduce([maxov - minov, minov, length1 // 2, length2 // 2])
    np.add.at(counts.sov99_NC, at, (minov + delta99) / maxov * length1)
    refined = np.minimum(maxov - minov, allowance_N[chain_M[first]] * length1 * minov / maxov)
    np.add.at(counts.refine_NC, at, (minov + refined) / maxov * length1)

    np.add.at(counts.norm_NC, at, length1)
    missed = np.ones(true_length.size, dtype=bool)
    missed[true_segment_M[first]] = False
    np.add.at(counts.norm_NC, (chain_M[starts[missed]], true_M[starts[missed]]), true_length[missed])
    return counts


def chain_sov(true_L: IntArray, predicted_L: IntArray, num_states: int) -> ChainSov:
    """Both scores of one chain.

    Args:
        true_L: (L,) true codes, IGNORE_INDEX where there is no label.
        predicted_L: (L,) predicted codes.
        num_states: C.
    """
    sov99_NC, refine_NC, norm_NC = sov_counts(
        true_L, predicted_L, np.zeros(len(true_L), np.int64), 1, num_states
    )
    with np.errstate(invalid="ignore"):
        return ChainSov(
            float(sov99_NC.sum() / norm_NC.sum()),
            float(refine_NC.sum() / norm_NC.sum()),
            sov99_NC[0] / norm_NC[0],
            refine_NC[0] / norm_NC[0],
        )


def _allowance(
    length: IntArray, state: IntArray, chain: IntArray, num_chains: int, num_states: int
) -> FloatArray:
    """SOV_refine's delta_all / L for each chain, from all true segments: (N,), 0 where a chain has none."""
    residues_N = np.bincount(chain, length, minlength=num_chains)
    squares_N = np.bincount(chain, length.astype(np.float64) ** 2, minlength=num_chains)
    present_NC = np.zeros((num_chains, num_states), dtype=bool)
    present_NC[chain, state] = True
    # (states / sum (len / L)^2) / L = states * L / sum len^2
    return present_NC.sum(axis=1) * residues_N / np.maximum(squares_N, 1)


def _runs(*keys: IntArray) -> IntArray:
    """Number the runs of equal keys, from 0: (M,) keys -> (M,) run numbers."""
    change = np.zeros(keys[0].size, dtype=np.int64)
    for key in keys:
        change[1:] |= key[1:] != key[:-1]
    return np.cumsum(change)
