import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import log_loss

from liftray.data.labels import IGNORE_INDEX
from liftray.errors import DataError
from liftray.evaluate.calibration import (
    at_temperature,
    calibrate,
    confidence_bins,
    expected_calibration_error,
    fit_temperature,
)
from liftray.evaluate.chains import PredictedSet, ScoredChain
from liftray.evaluate.scores import score_set


def softmax(logits):
    exponent = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponent / exponent.sum(axis=1, keepdims=True)


def drawn(temperature, rows=4000, seed=0, classes=9):
    """Logits that are `temperature` times too large for the labels drawn from them."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(scale=2, size=(rows, classes))
    true = np.array([generator.choice(classes, p=row) for row in softmax(logits)])
    return temperature * logits, true


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 4.0])
def test_the_temperature_that_made_the_logits_is_recovered(temperature):
    logits, true = drawn(temperature)
    # Sampling error of 4,000 labels; the log-likelihood is that flat around its top.
    assert fit_temperature(logits, true) == pytest.approx(temperature, rel=0.06)


def test_no_other_temperature_has_a_lower_nll():
    logits, true = drawn(2.5, rows=500)
    best = fit_temperature(logits, true)
    lowest = log_loss(true, softmax(logits / best), labels=list(range(9)))
    for other in np.geomspace(0.2, 9, 60):
        assert lowest <= log_loss(true, softmax(logits / other), labels=list(range(9))) + 1e-9


@settings(max_examples=30)
@given(st.integers(0, 2**31), st.floats(-50, 50))
def test_what_is_added_to_a_row_changes_nothing(seed, shift):
    logits, true = drawn(2.0, rows=60, seed=seed)
    log_probabilities = np.log(softmax(logits))
    assert fit_temperature(logits + shift, true) == pytest.approx(
        fit_temperature(log_probabilities, true), rel=1e-3
    )


def test_rows_without_a_label_are_left_out():
    logits, true = drawn(2.0, rows=300)
    blank = np.concatenate([true, np.full(50, IGNORE_INDEX)])
    padded = np.concatenate([logits, np.full((50, 9), np.nan)])
    assert fit_temperature(padded, blank) == fit_temperature(logits, true)


def test_the_temperature_of_a_set_that_is_too_easy_stays_within_bounds():
    logits = 3 * np.eye(3)
    assert fit_temperature(logits, np.arange(3)) == pytest.approx(0.1, rel=1e-3)
    assert fit_temperature(logits, np.array([1, 2, 0])) == pytest.approx(10, rel=1e-3)


@pytest.mark.parametrize(
    ("logits", "true", "message"),
    [
        (np.array([[0.0, np.nan]]), np.array([0]), "not a finite number"),
        (np.array([[0.0, -np.inf]]), np.array([0]), "not a finite number"),
        (np.zeros((1, 2)), np.array([IGNORE_INDEX]), "no labelled residue"),
        (np.zeros((1, 2)), np.array([2]), r"outside 0\.\.1"),
        (np.zeros((1, 2)), np.array([-1]), r"outside 0\.\.1"),
        (np.zeros((2, 2)), np.array([0]), "for labels of shape"),
        (np.zeros(2), np.array([0, 1]), "logits of shape"),
    ],
)
def test_what_cannot_be_fitted_is_refused(logits, true, message):
    with pytest.raises(DataError, match=message):
        fit_temperature(logits, true)


def test_probabilities_at_a_temperature_are_those_of_the_divided_logits():
    logits, _ = drawn(1.0, rows=50)
    np.testing.assert_allclose(at_temperature(softmax(logits), 1.7), softmax(logits / 1.7))
    impossible = np.array([[1.0, 0.0, 0.0]], np.float32)
    assert np.isfinite(at_temperature(impossible, 3.0)).all()


@pytest.mark.parametrize("seed", [0, 1])
def test_bins_and_curve_agree_with_scikit_learn(seed):
    logits, true = drawn(2.0, rows=1002, seed=seed, classes=3)
    probabilities = softmax(logits)  # so many rows that no quantile falls on one
    confidence, correct = probabilities.max(axis=1), probabilities.argmax(axis=1) == true
    bins = confidence_bins(confidence)
    accuracy, mean = calibration_curve(correct, confidence, n_bins=15, strategy="quantile")
    np.testing.assert_allclose([confidence[bins == number].mean() for number in range(15)], mean)
    np.testing.assert_allclose([correct[bins == number].mean() for number in range(15)], accuracy)
    assert set(np.bincount(bins)) <= {66, 67}
    weights = np.bincount(bins) / bins.size
    assert expected_calibration_error(probabilities, true) == pytest.approx(weights @ np.abs(accuracy - mean))


def test_equal_confidences_share_a_bin():
    # Right 4 times in 10 at confidence 0.4: perfectly calibrated, in whatever order the residues are.
    probabilities = np.tile([0.4, 0.3, 0.3], (100, 1))
    true = np.repeat([0, 1], [40, 60])
    assert expected_calibration_error(probabilities, true) == pytest.approx(0.0)


def test_calibration_of_validation_sets_is_recorded(random_set):
    def too_sure(predicted):
        sharper = [
            ScoredChain(
                c.id, c.sequence, c.true_L, at_temperature(c.probabilities_LC, 1 / 3).astype(np.float32)
            )
            for c in predicted.chains
        ]
        return PredictedSet(sharper, predicted.task)

    sets = [too_sure(random_set("ss9", num_chains=15, seed=seed)) for seed in (0, 1)]
    result = calibrate(sets, {"one": "ab12", "two": "cd34"})
    assert result.temperature > 1.5
    assert result.nll_after < result.nll_before
    assert result.ece_after < result.ece_before
    assert result.fitted_on == {"one": "ab12", "two": "cd34"}
    scores = [score_set(predicted) for predicted in sets]
    assert result.num_residues == sum(row["num_residues"] for row in scores)
    pooled = sum(row["nll"] * row["num_residues"] for row in scores) / result.num_residues
    assert result.nll_before == pytest.approx(pooled)
    assert result.as_dict() == {name: getattr(result, name) for name in result.__slots__}


def test_calibration_keeps_every_prediction(random_set):
    predicted = random_set("ss9")
    cooled = at_temperature(predicted.probabilities_TC, 2.3)
    assert (cooled.argmax(axis=1) == predicted.probabilities_TC.argmax(axis=1)).all()
    np.testing.assert_allclose(cooled.sum(axis=1), 1)


def test_sets_of_unlike_alphabets_are_refused(random_set):
    for sets in ([], [random_set("ss3"), random_set("ss9")]):
        with pytest.raises(DataError, match="of one alphabet"):
            calibrate(sets, {})
