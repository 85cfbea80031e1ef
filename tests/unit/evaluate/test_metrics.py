import numpy as np
import pytest
from sklearn import metrics as oracle

from liftray.data.labels import IGNORE_INDEX, STATES, class_map, encode
from liftray.errors import DataError
from liftray.evaluate.chains import PredictedSet, ScoredChain
from liftray.evaluate.comparison import point_scores
from liftray.evaluate.metrics import accuracy_names, collect
from liftray.evaluate.sov import chain_sov


def labelled(predicted_set):
    mask = predicted_set.true_T != IGNORE_INDEX
    return predicted_set.true_T[mask], predicted_set.probabilities_TC[mask]


@pytest.mark.parametrize("task", ["ss3", "ss8", "ss9"])
@pytest.mark.parametrize("skill", [0.0, 0.6, 3.0])
def test_scores_agree_with_scikit_learn(random_set, task, skill):
    predicted = random_set(task, num_chains=20, seed=3, skill=skill)
    true, probabilities = labelled(predicted)
    classes, states = probabilities.argmax(axis=1), range(len(STATES[task]))
    scores = point_scores(collect(predicted))
    assert scores[f"q{task[-1]}"] == pytest.approx(oracle.accuracy_score(true, classes))
    assert scores["mcc"] == pytest.approx(oracle.matthews_corrcoef(true, classes))
    options = {"labels": list(states), "zero_division": 0}
    assert scores["macro_f1"] == pytest.approx(oracle.f1_score(true, classes, average="macro", **options))
    precision, recall, f1, _ = oracle.precision_recall_fscore_support(true, classes, **options)
    for code, state in enumerate(STATES[task]):
        assert scores[f"precision:{state}"] == pytest.approx(precision[code])
        assert scores[f"recall:{state}"] == pytest.approx(recall[code])
        assert scores[f"f1:{state}"] == pytest.approx(f1[code])
        assert scores[f"mcc:{state}"] == pytest.approx(
            oracle.matthews_corrcoef(true == code, classes == code)
        )
    assert scores["nll"] == pytest.approx(oracle.log_loss(true, probabilities, labels=list(states)), rel=1e-6)
    brier = [oracle.brier_score_loss(true == code, probabilities[:, code]) for code in states]
    assert scores["brier"] == pytest.approx(sum(brier))
    confusion = collect(predicted).columns["confusion"].sum(axis=0).reshape(len(states), -1)
    np.testing.assert_array_equal(confusion, oracle.confusion_matrix(true, classes, labels=list(states)))


def test_each_task_has_its_accuracies(random_set):
    expected = {"ss3": ("q3",), "ss8": ("q8", "q3"), "ss9": ("q9", "q8", "q3", "q3_dssp", "q3_lift")}
    for task, names in expected.items():
        assert accuracy_names(task) == names
        scores = point_scores(collect(random_set(task)))
        assert {name for name in scores if name[0] == "q"} == {
            *names,
            *(f"{name}_chain_mean" for name in names),
        }


@pytest.mark.parametrize("ss3_map", ["dssp", "lift"])
def test_q3_of_nine_states_sums_probabilities_by_the_map(random_set, ss3_map):
    predicted = random_set("ss9", skill=0.4, ss3_map=ss3_map)
    true, probabilities = labelled(predicted)
    scores = point_scores(collect(predicted))
    for name in ("dssp", "lift"):
        to_three = class_map("ss9", "ss3", name)
        summed = np.stack([probabilities[:, to_three == code].sum(axis=1) for code in range(3)], axis=1)
        assert scores[f"q3_{name}"] == pytest.approx(np.mean(summed.argmax(axis=1) == to_three[true]))
    assert scores["q3"] == scores[f"q3_{ss3_map}"]
    assert scores["q3_dssp"] != scores["q3_lift"]


def test_summing_can_beat_the_single_most_probable_state():
    # E alone is likeliest, but G, H and I together are likelier: three-state prediction is helix, not strand.
    row = np.zeros((1, 9), np.float32)
    row[0, [2, 3, 4, 5]] = 0.34, 0.22, 0.22, 0.22
    scores = point_scores(collect(PredictedSet([ScoredChain("a", "A", encode("H", "ss9"), row)], "ss9")))
    assert (scores["q9"], scores["q8"], scores["q3"]) == (0.0, 0.0, 1.0)


def test_means_over_chains_weigh_chains_alike():
    def chain(name, true, predicted):
        eye = np.eye(3, dtype=np.float32)
        return ScoredChain(name, "A" * len(true), encode(true, "ss3"), eye[encode(predicted, "ss3")])

    chains = [chain("short", "HH", "CC"), chain("long", "H" * 8, "H" * 8), chain("blank", "XX", "HH")]
    scores = point_scores(collect(PredictedSet(chains, "ss3")))
    assert scores["q3"] == pytest.approx(0.8)
    assert scores["q3_chain_mean"] == pytest.approx(0.5)
    assert scores["sov99_chain_mean"] == pytest.approx(0.5)


def test_rows_alone_are_the_scores_of_chains(random_set):
    predicted = random_set("ss3", num_chains=6, seed=9)
    statistics = collect(predicted)
    rows = statistics.scores(statistics.matrix_NK)
    for number, chain in enumerate(predicted.chains):
        classes = chain.probabilities_LC.argmax(axis=1)
        alone = chain_sov(chain.true_L, classes, 3)
        assert (rows["sov99"][number], rows["sov_refine"][number]) == pytest.approx(
            (alone.sov99, alone.refine)
        )
        mask = chain.true_L != IGNORE_INDEX
        assert rows["q3"][number] == pytest.approx(np.mean(classes[mask] == chain.true_L[mask]))


def test_a_state_that_is_nowhere_counts_zero_in_macro_f1():
    eye = np.eye(3, dtype=np.float32)
    codes = encode("HHCC", "ss3")
    scores = point_scores(collect(PredictedSet([ScoredChain("a", "AAAA", codes, eye[codes])], "ss3")))
    assert scores["macro_f1"] == pytest.approx(2 / 3)


def test_a_set_without_labels_is_refused(random_set):
    with pytest.raises(DataError, match="without a labelled residue"):
        collect(random_set(unlabelled=1.1))


@pytest.mark.parametrize("task", ["ss8", "ss9"])
def test_segment_overlap_in_three_states_and_in_the_own_ones(random_set, task):
    one = random_set(task, num_chains=1, seed=5)
    scores = point_scores(collect(one))
    true, classes = one.true_T, one.probabilities_TC.argmax(axis=1)
    own = chain_sov(true, classes, len(STATES[task]))
    assert (scores[f"sov99_{task}"], scores[f"sov_refine_{task}"]) == pytest.approx((own.sov99, own.refine))
    for code, state in enumerate(STATES[task]):
        assert scores[f"state_sov99:{state}"] == pytest.approx(own.sov99_C[code], nan_ok=True)
        assert scores[f"state_sov_refine:{state}"] == pytest.approx(own.refine_C[code], nan_ok=True)
    three = point_scores(collect(one.mapped("ss3")))
    for name in ("sov99", "sov_refine", "sov99:H", "sov_refine:E"):
        assert scores[name] == pytest.approx(three[name])


def test_a_certain_error_costs_a_finite_nll():
    sure = np.eye(3, dtype=np.float32)[encode("HH", "ss3")]
    scores = point_scores(collect(PredictedSet([ScoredChain("a", "AA", encode("HC", "ss3"), sure)], "ss3")))
    assert scores["nll"] == pytest.approx(-np.log(1e-12) / 2)
    assert scores["brier"] == pytest.approx(1.0)  # 0 for the right one, 1 + 1 for the wrong one


def test_chosen_chains_alone_are_a_set(random_set):
    predicted = random_set("ss9", num_chains=8)
    chosen = np.array([True, False] * 4)
    part = collect(predicted).subset(chosen)
    alone = collect(PredictedSet(predicted.chains[::2], "ss9"))
    assert part.ids == alone.ids
    assert part.lengths_N.tolist() == alone.lengths_N.tolist()
    ours, theirs = point_scores(part), point_scores(alone)
    assert ours.pop("ece") != theirs.pop("ece")  # the bins stay those of the whole set
    assert ours == pytest.approx(theirs, nan_ok=True)
