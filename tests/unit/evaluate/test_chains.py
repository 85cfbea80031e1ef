import numpy as np
import pytest

from liftray.data.labels import IGNORE_INDEX
from liftray.errors import DataError
from liftray.evaluate.chains import PredictedSet, ScoredChain


def chain(name="a", length=4, codes=None, classes=3, value=1 / 3):
    true_L = np.array([0, 1, 2, IGNORE_INDEX]) if codes is None else np.array(codes)
    return ScoredChain(name, "ACDE"[:length], true_L, np.full((4, classes), value, dtype=np.float32))


@pytest.mark.parametrize(
    ("chains", "message"),
    [
        ([], "without chains"),
        ([chain(), chain()], "'a' occurs twice"),
        ([chain(length=3)], "labels of shape"),
        ([chain(classes=9)], "probabilities of shape"),
        ([chain(value=np.nan)], "not a finite number"),
        ([chain(codes=[0, 1, 2, 3])], "label code 3 is outside 0..2"),
        ([chain(codes=[0, 1, 2, -1])], "label code -1 is outside"),
    ],
)
def test_what_cannot_be_scored_is_refused(chains, message):
    with pytest.raises(DataError, match=message):
        PredictedSet(chains, "ss3")


def test_unknown_task_is_refused():
    with pytest.raises(DataError, match="ss4"):
        PredictedSet([chain()], "ss4")


def test_chains_follow_one_another():
    both = PredictedSet([chain("a"), chain("b", codes=[2, 2, 2, 2])], "ss3")
    assert both.chain_T.tolist() == [0] * 4 + [1] * 4
    assert both.true_T.tolist() == [0, 1, 2, IGNORE_INDEX, 2, 2, 2, 2]
    assert both.probabilities_TC.shape == (8, 3)


def test_mapping_down_sums_probabilities_and_maps_labels(random_set):
    nine = random_set("ss9", ss3_map="lift")
    three = nine.mapped("ss3")
    first, mapped = nine.chains[0], three.chains[0]
    helix = first.probabilities_LC[:, [3, 4, 5, 8]].sum(axis=1)  # G I H P
    np.testing.assert_allclose(mapped.probabilities_LC[:, 2], helix, rtol=1e-6)
    assert set(mapped.true_L[first.true_L == 8]) <= {2}
    with pytest.raises(DataError, match="mapped up"):
        three.mapped("ss9")
