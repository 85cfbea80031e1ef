"""SOV'99, the segment overlap score (Zemla, Venclovas, Fidelis & Rost, Proteins 34:220, 1999).

Invariant: the score of a set is made of per-chain, per-state numerators and normalisers that add up, so a
resampled set is scored by sums alone. Stands beside `metrics`, under `bootstrap`. Pure NumPy; a whole set at
once, no loop over chains.

Over pairs (s1, s2) of a true and a predicted segment of the same state that share a residue,

    SOV(i) = 1/N(i) * sum (minov + delta) / maxov * len(s1)
    delta  = min(maxov - minov, minov, len(s1) // 2, len(s2) // 2)
    N(i)   = sum of len(s1) over the pairs + sum of len(s1) over true segments that overlap no predicted one

and the overall score divides the sum of the numerators of all states by the sum of their N.

Residues without a label break segments, in truth and prediction alike. Cutting them out instead would join
what stands on the two sides of a disordered loop into one segment that the protein does not have.
"""

import numpy as np
import numpy.typing as npt

from liftray.data.labels import IGNORE_INDEX

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]


def sov_counts(
    true_T: IntArray, predicted_T: IntArray, chain_T: IntArray, num_chains: int, num_states: int
) -> tuple[FloatArray, FloatArray]:
    """Numerator and normaliser of SOV'99 for each chain and state.

    Args:
        true_T: (T,) true codes of all chains, IGNORE_INDEX where there is no label.
        predicted_T: (T,) predicted codes.
        chain_T: (T,) chain of each residue, ascending.
        num_chains: N; chains without a residue score 0 / 0.
        num_states: S.

    Returns:
        (N, S) numerators and (N, S) normalisers N(i).
    """
    numerator_NS = np.zeros((num_chains, num_states))
    normaliser_NS = np.zeros((num_chains, num_states))
    labelled = np.flatnonzero(true_T != IGNORE_INDEX)
    if not labelled.size:
        return numerator_NS, normaliser_NS
    true_M, predicted_M, chain_M = true_T[labelled], predicted_T[labelled], chain_T[labelled]
    piece_M = _runs(chain_M, labelled - np.arange(labelled.size))  # unbroken stretch of labels within a chain
    true_segment_M, predicted_segment_M = _runs(piece_M, true_M), _runs(piece_M, predicted_M)
    true_length, predicted_length = np.bincount(true_segment_M), np.bincount(predicted_segment_M)

    agree = np.flatnonzero(true_M == predicted_M)
    # Two intervals share one stretch, so a pair of overlapping segments is one run of their two numbers.
    pair = _runs(true_segment_M[agree], predicted_segment_M[agree])
    first = agree[np.flatnonzero(np.diff(pair, prepend=-1))]
    length1, length2 = true_length[true_segment_M[first]], predicted_length[predicted_segment_M[first]]
    minov = np.bincount(pair, minlength=first.size)
    maxov = length1 + length2 - minov
    delta = np.minimum.reduce([maxov - minov, minov, length1 // 2, length2 // 2])
    at = (chain_M[first], true_M[first])
    np.add.at(numerator_NS, at, (minov + delta) / maxov * length1)
    np.add.at(normaliser_NS, at, length1)

    starts = np.flatnonzero(np.diff(true_segment_M, prepend=-1))
    missed = np.ones(true_length.size, dtype=bool)
    missed[true_segment_M[first]] = False
    np.add.at(normaliser_NS, (chain_M[starts[missed]], true_M[starts[missed]]), true_length[missed])
    return numerator_NS, normaliser_NS


def sov99(true_L: IntArray, predicted_L: IntArray, num_states: int) -> tuple[float, FloatArray]:
    """SOV'99 of one chain.

    Args:
        true_L: (L,) true codes, IGNORE_INDEX where there is no label.
        predicted_L: (L,) predicted codes.
        num_states: S.

    Returns:
        The overall score and the (S,) scores per state, fractions; NaN where there is no such state.
    """
    numerator_NS, normaliser_NS = sov_counts(
        true_L, predicted_L, np.zeros(len(true_L), np.int64), 1, num_states
    )
    with np.errstate(invalid="ignore"):
        return float(numerator_NS.sum() / normaliser_NS.sum()), numerator_NS[0] / normaliser_NS[0]


def _runs(*keys: IntArray) -> IntArray:
    """Number the runs of equal keys, from 0: (M,) keys -> (M,) run numbers."""
    change = np.zeros(keys[0].size, dtype=np.int64)
    for key in keys:
        change[1:] |= key[1:] != key[:-1]
    return np.cumsum(change)
