import warnings

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression

from liftray.data.labels import IGNORE_INDEX, encode
from liftray.errors import DataError
from liftray.evaluate.baselines import majority, predict_set, windowed_linear
from liftray.evaluate.metrics import collect
from liftray.evaluate.scores import score_set

RESIDUES = "ACDEFGHIKLMNPQRSTVWY"


def rule_chains(count, seed):
    """Chains whose state at i follows from residue i + 3: E if V, H if A, else C."""
    rng = np.random.default_rng(seed)
    for _ in range(count):
        sequence = "".join(rng.choice(list(RESIDUES + "AAAAVVVV"), size=60))
        ss = "".join({"V": "E", "A": "H"}.get(letter, "C") for letter in sequence[3:] + "GGG")
        yield sequence, encode(ss, "ss3")


def test_majority_predicts_the_most_frequent_class_everywhere():
    baseline = majority([("AAAA", encode("HHCX", "ss3")), ("AA", encode("HE", "ss3"))], "ss3")
    np.testing.assert_allclose(baseline.probabilities("WWW"), [[0.2, 0.2, 0.6]] * 3, rtol=1e-6)


def test_majority_wins_in_each_alphabet_apart():
    # H leads at nine states; L, S and T together lead at three.
    baseline = majority([("A" * 9, encode("HHHHLLSST", "ss9"))], "ss9")
    chains = [("a", "AAAA", encode("HLST", "ss9"))]
    result = score_set(predict_set(baseline, chains))
    assert (result["q9"], result["q3"]) == (0.25, 0.75)


def test_linear_model_learns_what_a_window_shows():
    baseline = windowed_linear(rule_chains(80, 0), "ss3", window=15)
    test = [(str(n), *chain) for n, chain in enumerate(rule_chains(10, 1))]
    assert score_set(predict_set(baseline, test))["q3"] > 0.99
    # The same rule is out of sight of a window that ends two residues on.
    narrow = windowed_linear(rule_chains(80, 0), "ss3", window=5)
    assert score_set(predict_set(narrow, test))["q3"] < 0.7


def test_probabilities_are_those_of_scikit_learn():
    chains = list(rule_chains(10, 2))
    baseline = windowed_linear(chains, "ss3", window=3)
    place = {letter: at for at, letter in enumerate(RESIDUES)}

    def one_hot(sequence):
        padded = [21, *(place[letter] for letter in sequence), 21]
        rows = np.zeros((len(sequence), 66))
        for at in range(len(sequence)):
            for offset in range(3):
                rows[at, 22 * offset + padded[at + offset]] = 1
        return rows

    inputs = csr_matrix(np.concatenate([one_hot(sequence) for sequence, _ in chains]))
    model = LogisticRegression(C=1.0, max_iter=200, tol=1e-3).fit(
        inputs, np.concatenate([c for _, c in chains])
    )
    expected = model.predict_proba(one_hot(chains[0][0]))
    np.testing.assert_allclose(baseline.probabilities(chains[0][0]), expected, atol=0.01)


def test_unseen_classes_have_probability_zero_and_rows_sum_to_one():
    baseline = windowed_linear([("ACDEFG" * 5, encode("HHHLLL" * 5, "ss9"))], "ss9")
    result = baseline.probabilities("ACDXU*BZ")
    np.testing.assert_allclose(result.sum(axis=1), 1.0, rtol=1e-5)
    assert not result[:, [1, 2, 3, 4, 6, 7, 8]].any()
    assert result[0, 5] > result[0, 0]
    assert result.dtype == np.float32


def test_a_single_class_is_learned_without_a_solver():
    result = windowed_linear([("ACD", encode("HHX", "ss3"))], "ss3").probabilities("AC")
    assert result.tolist() == [[0, 0, 1], [0, 0, 1]]


def test_shapes_at_the_edges():
    baseline = windowed_linear(rule_chains(5, 3), "ss3")
    assert baseline.probabilities("").shape == (0, 3)
    assert baseline.probabilities("A").shape == (1, 3)
    assert majority(rule_chains(1, 0), "ss3").probabilities("").shape == (0, 3)


def test_the_draw_follows_the_seed(monkeypatch):
    monkeypatch.setattr("liftray.evaluate.baselines._MAX_RESIDUES", 500)
    first, again, other = (windowed_linear(rule_chains(20, 4), "ss3", seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.weights_WXC, again.weights_WXC)
    assert not np.array_equal(first.weights_WXC, other.weights_WXC)


@pytest.mark.parametrize("fit", [majority, windowed_linear])
@pytest.mark.parametrize(
    ("train", "message"),
    [
        ([], "no labelled residue"),
        ([("AC", np.full(2, IGNORE_INDEX))], "no labelled residue"),
        ([("ACD", encode("HH", "ss3"))], "2 labels for a training chain of 3"),
    ],
)
def test_untrainable_data_is_refused(fit, train, message):
    with pytest.raises(DataError, match=message):
        fit(train, "ss3")


def test_an_even_window_is_refused():
    with pytest.raises(DataError, match="odd window"):
        windowed_linear([], "ss3", window=16)


def test_real_chains_beat_the_majority(real_chains):
    train = [chain[1:] for chain in real_chains("train/lift_train.ss9.txt", "ss9")[:200]]
    valid = real_chains("train/lift_valid.ss9.txt", "ss9")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the solver must converge
        linear = windowed_linear(train, "ss9")
    baselines = [linear, majority(train, "ss9")]
    result = [collect(predict_set(baseline, valid)) for baseline in baselines]
    linear_q3, majority_q3 = (s.columns["q3"].sum() / s.columns["labelled"].sum() for s in result)
    assert 0.55 < linear_q3 < 0.70  # single sequences and a window: the field's 60-65 % of the nineties
    assert linear_q3 > majority_q3 + 0.1
