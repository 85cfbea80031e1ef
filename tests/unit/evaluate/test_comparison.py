import numpy as np
import pytest
from scipy import stats

from liftray.errors import DataError
from liftray.evaluate.chains import PredictedSet, ScoredChain
from liftray.evaluate.comparison import compare, intervals, paired
from liftray.evaluate.metrics import collect


def chain_q3(predicted_set):
    statistics = collect(predicted_set)
    return statistics.scores(statistics.matrix_NK)["q3"]


def test_interval_of_the_chain_mean_agrees_with_scipy(random_set):
    predicted = random_set("ss3", num_chains=40, skill=0.5, unlabelled=0.0)
    low, high = intervals(collect(predicted), resamples=20_000)["q3_chain_mean"]
    expected = stats.bootstrap(
        (chain_q3(predicted),), np.mean, method="percentile", n_resamples=20_000, rng=np.random.default_rng(5)
    ).confidence_interval
    # Monte Carlo error of a 2.5 % quantile at 20,000 draws: about 2 % of the interval's width.
    tolerance = 0.05 * (expected.high - expected.low)
    assert low == pytest.approx(expected.low, abs=tolerance)
    assert high == pytest.approx(expected.high, abs=tolerance)


def test_interval_of_pooled_scores_agrees_with_scoring_drawn_sets(random_set):
    predicted = random_set("ss9", num_chains=15, skill=0.4)
    result = intervals(collect(predicted), resamples=2000)
    rng, drawn = np.random.default_rng(1), {"q9": [], "macro_f1": [], "sov99": [], "mcc": []}
    for _ in range(400):
        picked = [predicted.chains[at] for at in rng.integers(15, size=15)]
        renamed = [
            ScoredChain(str(number), chain.sequence, chain.true_L, chain.probabilities_LC)
            for number, chain in enumerate(picked)
        ]
        statistics = collect(PredictedSet(renamed, "ss9"))
        scores = statistics.scores(statistics.matrix_NK.sum(axis=0, keepdims=True))
        for name, values in drawn.items():
            values.append(scores[name][0])
    for name, values in drawn.items():
        low, high = np.quantile(values, (0.025, 0.975))
        assert result[name] == pytest.approx((low, high), abs=0.2 * (high - low))


def test_paired_p_agrees_with_scipy(random_set):
    a, b = (random_set("ss3", num_chains=30, skill=skill, unlabelled=0.0) for skill in (0.50, 0.46))
    result = paired(a, b, "q3_chain_mean", resamples=20_000)
    expected = stats.permutation_test(
        (chain_q3(a), chain_q3(b)),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples", vectorized=True, n_resamples=20_000, rng=np.random.default_rng(2),
    )  # fmt: skip
    assert result["difference"] == pytest.approx(expected.statistic)
    assert 0.001 < expected.pvalue < 0.999  # else the comparison below would say little
    assert result["p"] == pytest.approx(expected.pvalue, abs=0.02)


def test_a_better_model_is_seen_and_the_sign_follows_the_order(random_set):
    good, poor = (random_set("ss9", num_chains=25, skill=skill) for skill in (1.0, 0.2))
    forth, back = compare(good, poor), compare(poor, good)
    for score in ("q9", "q8", "q3", "q3_lift", "macro_f1", "mcc", "sov99"):
        assert forth[score]["difference"] > 0 > back[score]["difference"]
        assert forth[score]["ci95"][0] > 0
        assert forth[score]["ci95"] == pytest.approx([-value for value in reversed(back[score]["ci95"])])
        assert forth[score]["p"] == back[score]["p"] == pytest.approx(1 / 2001)


def test_equal_predictions_do_not_differ(random_set):
    result = paired(random_set("ss8"), random_set("ss8"), "q8")
    assert result == {"difference": 0.0, "ci95": [0.0, 0.0], "p": 1.0}


def test_the_order_of_chains_does_not_matter(random_set):
    a, b = random_set("ss3", skill=0.8), random_set("ss3", skill=0.3)
    turned = PredictedSet(list(reversed(b.chains)), "ss3")
    assert compare(a, turned)["q3"] == compare(a, b)["q3"]


def test_a_richer_task_is_compared_in_the_poorer_alphabet(random_set):
    nine = random_set("ss9")
    result = compare(nine, nine.mapped("ss3"))
    assert result["q3"] == {"difference": 0.0, "ci95": [0.0, 0.0], "p": 1.0}
    assert "q9" not in result


def test_unlike_sets_are_refused(random_set):
    a = random_set("ss9")
    with pytest.raises(DataError, match="in one prediction only"):
        compare(a, PredictedSet(a.chains[1:], "ss9"))
    with pytest.raises(DataError, match="different residues or labels"):
        compare(a, random_set("ss9", unlabelled=0.5))
    with pytest.raises(DataError, match="different ss3 maps"):
        compare(a, random_set("ss9", ss3_map="lift"))
    with pytest.raises(DataError, match="'q4' is not common"):
        paired(a, a, "q4")


def test_calibration_is_compared_by_proper_scores_only(random_set):
    result = compare(random_set("ss3", skill=1.0), random_set("ss3", skill=0.2))
    assert result["nll"]["difference"] < 0
    assert result["brier"]["difference"] < 0
    assert "ece" not in result


def test_one_chain_has_no_interval(random_set):
    one, other = random_set("ss3", num_chains=1), random_set("ss3", num_chains=1, skill=0.1)
    assert set(intervals(collect(one)).values()) == {None}
    assert paired(one, other, "q3")["ci95"] is None
