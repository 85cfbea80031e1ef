import pytest

from liftray.errors import DataError
from liftray.evaluate import scoring
from liftray.evaluate.comparison import compare
from tests.parts import tiny


def test_sets_are_named_once():
    assert scoring.named_sets(["a=x", "b=y=z"]) == {"a": "x", "b": "y=z"}
    for wrong, message in (
        (["a"], "not NAME=PATH"),
        (["=x"], "not NAME=PATH"),
        (["a=x", "a=y"], "named twice"),
    ):
        with pytest.raises(DataError, match=message):
            scoring.named_sets(wrong)


def test_comparisons_are_corrected_for_the_number_of_sets(random_set):
    names = ("a", "b", "c")
    ours = {name: random_set("ss3", 20, seed=seed, skill=0.5) for seed, name in enumerate(names)}
    theirs = {name: random_set("ss3", 20, seed=seed, skill=0.45) for seed, name in enumerate(names)}
    paired = scoring.compare_sets(ours, theirs | {"d": ours["a"]}, resamples=200)
    assert set(paired) == set(names)
    for score in ("q3", "nll", "recall:H"):
        ordered = sorted((row[score] for row in paired.values()), key=lambda row: row["p"])
        assert ordered[0]["p_holm"] == pytest.approx(min(1, 3 * ordered[0]["p"]))
        assert all(row["p_holm"] >= row["p"] for row in ordered)
    alone = {key: value for key, value in paired["a"]["q3"].items() if key != "p_holm"}
    assert alone == compare(ours["a"], theirs["a"], resamples=200)["q3"]


def test_one_comparison_needs_no_correction(random_set):
    paired = scoring.compare_sets(
        {"a": random_set("ss3")}, {"a": random_set("ss3", skill=0.4)}, resamples=100
    )
    assert all(row["p_holm"] == row["p"] for row in paired["a"].values())


@pytest.mark.parametrize(
    ("trained", "scored", "expected"), [("ss9", "ss3", "ss3"), ("ss3", "ss9", "ss3"), ("ss9", "ss9", "ss9")]
)
def test_baselines_are_scored_in_the_poorer_alphabet(tmp_path, random_set, trained, scored, expected):
    train = tiny.dataset(tmp_path / "train", tiny.chains([40, 50, 60], alphabet=trained), trained)
    sets = {"test": random_set(scored, 6)}
    baselines = scoring.baseline_sets([train], sets, seed=0)
    assert set(baselines) == {"majority", "windowed_linear"}
    for sets_of in baselines.values():
        predicted = sets_of["test"]
        assert predicted.task == expected
        assert [chain.id for chain in predicted.chains] == [chain.id for chain in sets["test"].chains]
        assert (predicted.true_T == sets["test"].mapped(expected).true_T).all()
        assert predicted.probabilities_TC.sum(axis=1) == pytest.approx(1.0)
