"""Calibration: how well confidence matches accuracy, and temperature scaling, which corrects it with one number.

Invariant: a temperature is fitted on validation chains alone and never changes which state is the most probable,
so accuracies do not change. Pure NumPy and SciPy. Flow: predictions of the validation sets -> [calibrate] ->
`calibration` of bundle.json -> predictor, which divides its logits by the temperature; and [confidence_bins] ->
metrics -> reliability curve.

- Expected calibration error, ECE (Naeini, Cooper & Hauskrecht, AAAI 2015), of the most probable state: mean over
  residues of |accuracy - confidence| of their bin. Bins hold equal numbers of residues, since of equally wide
  bins some are nearly empty and others hold most residues; equal confidences always share a bin.
- NLL: mean of -ln p(true state), nats a residue. Brier score (1950): mean over residues of the squared distance
  between the probabilities and the label as a 0/1 vector, between 0 and 2.
- Temperature T (Guo et al., ICML 2017): softmax(logits / T) with the T of the smallest NLL. The NLL is convex in
  1/T, so it has one minimum.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from liftray.data.labels import IGNORE_INDEX
from liftray.errors import DataError
from liftray.evaluate.chains import PredictedSet

NUM_BINS = 15
FLOOR = 1e-12  # a probability of 0 for the true state costs 27.6 nats, not infinitely many

# A fit beyond these limits shows that the validation set is too small or too easy, not that the model is so far off.
_COLDEST, _HOTTEST = 0.1, 10.0
_TINY = float(np.finfo(np.float32).tiny)  # below it float32 softmax gives 0, and its logarithm no number

FloatArray = npt.NDArray[np.floating]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Calibration:
    """The entry `calibration` of bundle.json.

    Attributes:
        temperature: The divisor of the logits.
        fitted_on: Validation set -> its content digest.
        num_residues: Labelled residues that it was fitted on.
        nll_before: NLL as predicted, nats a residue.
        nll_after: NLL at the temperature.
        ece_before: ECE as predicted, a fraction.
        ece_after: ECE at the temperature.
    """

    temperature: float
    fitted_on: dict[str, str]
    num_residues: int
    nll_before: float
    nll_after: float
    ece_before: float
    ece_after: float

    def as_dict(self) -> dict[str, Any]:
        """The fields, for JSON."""
        return asdict(self)


def calibrate(valid: Sequence[PredictedSet], fitted_on: Mapping[str, str]) -> Calibration:
    """Fit the temperature on validation sets, as predicted at temperature 1 in the model's own alphabet.

    Args:
        valid: The predictions; all residues are pooled.
        fitted_on: Validation set -> content digest, to be kept with the result.

    Raises:
        DataError: No set, sets of different alphabets, or no labelled residue.
    """
    if len({predicted.task for predicted in valid}) != 1:
        raise DataError("a temperature is fitted on one or more validation sets of one alphabet")
    true_T = np.concatenate([predicted.true_T for predicted in valid])
    labelled = true_T != IGNORE_INDEX
    true_M = true_T[labelled]
    before_MC = np.concatenate([predicted.probabilities_TC for predicted in valid])[labelled]
    temperature = fit_temperature(np.log(np.maximum(before_MC, _TINY)), true_M)
    after_MC = at_temperature(before_MC, temperature)
    return Calibration(
        temperature=temperature,
        fitted_on=dict(fitted_on),
        num_residues=int(true_M.size),
        nll_before=float(residue_nll(before_MC, true_M).mean()),
        nll_after=float(residue_nll(after_MC, true_M).mean()),
        ece_before=expected_calibration_error(before_MC, true_M),
        ece_after=expected_calibration_error(after_MC, true_M),
    )


def fit_temperature(logits_MC: FloatArray, true_M: IntArray) -> float:
    """Find the temperature with the smallest NLL, between 0.1 and 10.

    Args:
        logits_MC: (M, C) logits, or log-probabilities: what is added to a row changes nothing.
        true_M: (M,) class codes; rows at IGNORE_INDEX are left out.

    Returns:
        The temperature; 1 where none is better.

    Raises:
        DataError: Arrays of different lengths, a code outside the classes, a logit that is not finite, or
            no labelled row.
    """
    logits_MC, true_M = _labelled(logits_MC, true_M)
    from scipy.optimize import minimize_scalar

    scaled_MC = logits_MC - logits_MC.max(axis=1, keepdims=True)
    true_logit_M = np.take_along_axis(scaled_MC, true_M[:, None], axis=1)[:, 0]

    def nll(log_temperature: float) -> float:
        inverse = np.exp(-log_temperature)
        return float((np.log(np.exp(scaled_MC * inverse).sum(axis=1)) - true_logit_M * inverse).mean())

    minimum = minimize_scalar(
        nll, bounds=(np.log(_COLDEST), np.log(_HOTTEST)), method="bounded", options={"xatol": 1e-5}
    )
    return float(np.exp(minimum.x)) if minimum.fun < nll(0.0) else 1.0


def at_temperature(probabilities_MC: FloatArray, temperature: float) -> FloatArray:
    """The probabilities that the logits divided by a temperature would have.

    Args:
        probabilities_MC: (M, C) probabilities at temperature 1.
        temperature: Above 0.

    Returns:
        (M, C) float64 probabilities; rows sum to 1.
    """
    logits_MC = np.log(np.maximum(probabilities_MC.astype(np.float64), _TINY)) / temperature
    exponent_MC = np.exp(logits_MC - logits_MC.max(axis=1, keepdims=True))
    return exponent_MC / exponent_MC.sum(axis=1, keepdims=True)


def residue_nll(probabilities_MC: FloatArray, true_M: IntArray) -> npt.NDArray[np.float64]:
    """(M,) -ln of the probability of the true state, in nats; probabilities below 1e-12 count as 1e-12."""
    true_probability_M = np.take_along_axis(probabilities_MC, true_M[:, None], axis=1)[:, 0]
    return -np.log(np.maximum(true_probability_M.astype(np.float64), FLOOR))


def residue_brier(probabilities_MC: FloatArray, true_M: IntArray) -> npt.NDArray[np.float64]:
    """(M,) squared distance of each row to its label's 0/1 vector, 0 to 2."""
    distance_MC = probabilities_MC.astype(np.float64)
    distance_MC[np.arange(true_M.size), true_M] -= 1
    return (distance_MC**2).sum(axis=1)


def confidence_bins(confidence_M: FloatArray, num_bins: int = NUM_BINS) -> IntArray:
    """(M,) bin of each residue, 0 to `num_bins` - 1: as equal in mass as ties allow, by ascending confidence."""
    edges = np.quantile(confidence_M, np.linspace(0, 1, num_bins + 1)[1:-1])
    return np.searchsorted(edges, confidence_M)


def expected_calibration_error(probabilities_MC: FloatArray, true_M: IntArray) -> float:
    """ECE of labelled rows, a fraction.

    Args:
        probabilities_MC: (M, C) probabilities.
        true_M: (M,) class codes.
    """
    confidence_M = probabilities_MC.max(axis=1).astype(np.float64)
    correct_M = probabilities_MC.argmax(axis=1) == true_M
    gap_X = np.bincount(confidence_bins(confidence_M), correct_M - confidence_M)
    return float(np.abs(gap_X).sum() / true_M.size)


def _labelled(logits_MC: FloatArray, true_M: IntArray) -> tuple[npt.NDArray[np.float64], IntArray]:
    if logits_MC.ndim != 2 or true_M.shape != logits_MC.shape[:1]:
        raise DataError(f"logits of shape {logits_MC.shape} for labels of shape {true_M.shape}")
    keep = true_M != IGNORE_INDEX
    kept_MC, true_M = logits_MC[keep].astype(np.float64), true_M[keep]
    if not true_M.size:
        raise DataError(
            "no labelled residue to fit a temperature on", remedy="give validation chains with labels"
        )
    if not np.isfinite(kept_MC).all():
        raise DataError(
            "a logit is not a finite number", remedy="a model with such outputs cannot be calibrated"
        )
    if true_M.min() < 0 or true_M.max() >= kept_MC.shape[1]:
        raise DataError(f"a label code is outside 0..{logits_MC.shape[1] - 1}")
    return kept_MC, true_M
