"""Baselines without a backbone: the majority class, and a linear model on a window of residues.

Invariant: a baseline sees training labels and the sequence alone, and is scored by the same `score_set`. Nothing is
tuned on the sets that are scored: window and regularisation are fixed. Flow: training chains -> [this] ->
PredictedSet -> scores.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from liftray.data.labels import IGNORE_INDEX, STATES, Ss3Map, check_alphabet
from liftray.errors import DataError
from liftray.evaluate.chains import PredictedSet, ScoredChain

LabelledChain = tuple[str, npt.NDArray[np.int64]]
FloatArray = npt.NDArray[np.float32]

_RESIDUES = "ACDEFGHIKLMNPQRSTVWY"
_OTHER, _OUTSIDE = 20, 21  # any other letter; beyond either end of the chain
_SYMBOLS = 22
_MAX_RESIDUES = 100_000  # more change the scores of such a small model by less than their interval
_MAX_ITERATIONS = 200  # about 40 are needed at 100,000 residues
_INVERSE_REGULARISATION = 1.0

_CODES = np.full(256, _OTHER, dtype=np.int64)
_CODES[np.frombuffer(_RESIDUES.encode("ascii"), dtype=np.uint8)] = np.arange(len(_RESIDUES))


class Baseline(Protocol):
    """A predictor that sees the sequence alone."""

    @property
    def name(self) -> str:
        """Its name in tables."""

    @property
    def alphabet(self) -> str:
        """Alphabet of its classes."""

    def probabilities(self, sequence: str) -> FloatArray:
        """Class probabilities (L, C) of one chain of L residues."""


@dataclass(frozen=True)
class Majority:
    """Predicts the training frequencies everywhere, so that the most frequent class wins in each alphabet.

    Attributes:
        alphabet: Alphabet of the classes.
        frequencies_C: (C,) share of each class among the labelled training residues.
    """

    alphabet: str
    frequencies_C: FloatArray
    name: str = "majority class"

    def probabilities(self, sequence: str) -> FloatArray:
        """The same row for each residue: (L, C)."""
        return np.tile(self.frequencies_C, (len(sequence), 1))


@dataclass(frozen=True)
class WindowedLinear:
    """Multinomial logistic regression on the one-hot residues of a window around the residue predicted.

    Attributes:
        alphabet: Alphabet of the classes.
        weights_WXC: (W, 22, C) logit of each class by place in the window and symbol.
        bias_C: (C,) logit of each class; -inf for a class that training never saw.
    """

    alphabet: str
    weights_WXC: FloatArray
    bias_C: FloatArray
    name: str = "windowed linear"

    def probabilities(self, sequence: str) -> FloatArray:
        """Softmax of the summed weights of the window's symbols: (L, C)."""
        window = len(self.weights_WXC)
        if not sequence:
            return np.zeros((0, len(self.bias_C)), dtype=np.float32)
        symbols_LW = np.lib.stride_tricks.sliding_window_view(_padded(sequence, window), window)
        logits_LC = self.bias_C + self.weights_WXC[np.arange(window), symbols_LW].sum(axis=1)
        exponent_LC = np.exp(logits_LC - logits_LC.max(axis=1, keepdims=True))
        return (exponent_LC / exponent_LC.sum(axis=1, keepdims=True)).astype(np.float32)


def majority(train: Iterable[LabelledChain], alphabet: str) -> Majority:
    """Count the labels of the training chains.

    Args:
        train: (sequence, (L,) codes) of each chain.
        alphabet: Alphabet of the codes.

    Raises:
        DataError: No labelled residue, or labels that do not fit their sequence.
    """
    check_alphabet(alphabet)
    counts_C = np.zeros(len(STATES[alphabet]), dtype=np.int64)
    for _, codes_L in _checked(train):
        counts_C += np.bincount(codes_L[codes_L != IGNORE_INDEX], minlength=counts_C.size)
    if not counts_C.any():
        raise DataError(
            "no labelled residue to train a baseline on", remedy="give training chains with labels"
        )
    return Majority(alphabet, (counts_C / counts_C.sum()).astype(np.float32))


def windowed_linear(
    train: Iterable[LabelledChain], alphabet: str, *, window: int = 17, seed: int = 0
) -> WindowedLinear:
    """Fit the windowed linear model.

    Up to 100,000 labelled residues are drawn with the seed; L-BFGS, L2 with C = 1, at most 200 iterations.

    Args:
        train: (sequence, (L,) codes) of each chain.
        alphabet: Alphabet of the codes.
        window: Residues in the window, odd.
        seed: Of the draw.

    Raises:
        DataError: No labelled residue, labels that do not fit their sequence, or an even window.
    """
    check_alphabet(alphabet)
    if window < 1 or window % 2 == 0:
        raise DataError(f"window {window} has no middle residue", remedy="use an odd window such as 17")
    symbols: list[npt.NDArray[np.int64]] = [np.zeros(0, np.int64)]
    codes: list[npt.NDArray[np.int64]] = [np.zeros(0, np.int64)]
    for sequence, codes_L in _checked(train):
        symbols.append(_padded(sequence, window))
        codes.append(np.pad(codes_L, window // 2, constant_values=IGNORE_INDEX))
    symbols_T, codes_T = np.concatenate(symbols), np.concatenate(codes)
    labelled = np.flatnonzero(codes_T != IGNORE_INDEX)
    if not labelled.size:
        raise DataError(
            "no labelled residue to train a baseline on", remedy="give training chains with labels"
        )
    if labelled.size > _MAX_RESIDUES:
        labelled = np.sort(np.random.default_rng(seed).choice(labelled, _MAX_RESIDUES, replace=False))
    symbols_MW = symbols_T[labelled[:, None] + np.arange(-(window // 2), window // 2 + 1)]
    return _fit(symbols_MW, codes_T[labelled], alphabet)


def predict_set(
    baseline: Baseline, chains: Iterable[tuple[str, str, npt.NDArray[np.int64]]], ss3_map: Ss3Map = "dssp"
) -> PredictedSet:
    """Predict (id, sequence, codes) chains, labels in the baseline's alphabet, for `score_set`."""
    scored = [
        ScoredChain(id_, sequence, codes, baseline.probabilities(sequence)) for id_, sequence, codes in chains
    ]
    return PredictedSet(scored, baseline.alphabet, ss3_map)


def _fit(symbols_MW: npt.NDArray[np.int64], codes_M: npt.NDArray[np.int64], alphabet: str) -> WindowedLinear:
    from scipy.sparse import csr_matrix
    from sklearn.linear_model import LogisticRegression

    rows, window = symbols_MW.shape
    seen = np.unique(codes_M)
    weights_WXC = np.zeros((window, _SYMBOLS, len(STATES[alphabet])), dtype=np.float32)
    bias_C = np.full(len(STATES[alphabet]), -np.inf, dtype=np.float32)
    if seen.size == 1:  # nothing to distinguish, and the solver refuses it
        bias_C[seen] = 0.0
        return WindowedLinear(alphabet, weights_WXC, bias_C)
    columns = (symbols_MW + np.arange(window) * _SYMBOLS).ravel()
    one_hot = csr_matrix(
        (np.ones(columns.size, np.float32), columns, np.arange(rows + 1) * window), (rows, window * _SYMBOLS)
    )
    model = LogisticRegression(C=_INVERSE_REGULARISATION, max_iter=_MAX_ITERATIONS, tol=1e-3)
    model.fit(one_hot, codes_M)
    coefficients, intercepts = model.coef_, model.intercept_
    if seen.size == 2:  # the solver gives one row of log-odds for two classes
        coefficients, intercepts = (
            np.vstack([-coefficients, coefficients]) / 2,
            np.r_[-intercepts, intercepts] / 2,
        )
    weights_WXC[:, :, seen] = coefficients.T.reshape(window, _SYMBOLS, seen.size)
    bias_C[seen] = intercepts
    return WindowedLinear(alphabet, weights_WXC, bias_C)


def _padded(sequence: str, window: int) -> npt.NDArray[np.int64]:
    symbols_L = _CODES[np.frombuffer(sequence.encode("latin-1", "replace"), dtype=np.uint8)]
    return np.pad(symbols_L, window // 2, constant_values=_OUTSIDE)


def _checked(train: Iterable[LabelledChain]) -> Iterator[LabelledChain]:
    for sequence, codes_L in train:
        if len(sequence) != len(codes_L):
            raise DataError(f"{len(codes_L)} labels for a training chain of {len(sequence)} residues")
        yield sequence, codes_L
