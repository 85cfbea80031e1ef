import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liftray.data.labels import encode
from liftray.evaluate.sov import sov99, sov_counts

LABELS = st.text("CEHX", min_size=1, max_size=60)


def score(true: str, predicted: str) -> tuple[float, dict[str, float]]:
    overall, states = sov99(encode(true, "ss3"), encode(predicted, "ss3"), 3)
    return overall, dict(zip("CEH", states, strict=True))


def by_definition(true: str, predicted: str) -> float:
    """The published formula, written plainly over lists of segments."""

    def segments(text):
        found, start = [], 0
        for at in range(1, len(text) + 1):
            if at == len(text) or text[at] != text[start]:
                found.append((text[start], start, at))
                start = at
        return found

    predicted = "".join("X" if t == "X" else p for t, p in zip(true, predicted, strict=True))
    numerator = normaliser = 0.0
    for state, start, stop in segments(true):
        if state == "X":
            continue
        overlapping = [s for s in segments(predicted) if s[0] == state and s[1] < stop and s[2] > start]
        normaliser += (stop - start) * max(1, len(overlapping))
        for _, start2, stop2 in overlapping:
            minov = min(stop, stop2) - max(start, start2)
            maxov = max(stop, stop2) - min(start, start2)
            delta = min(maxov - minov, minov, (stop - start) // 2, (stop2 - start2) // 2)
            numerator += (minov + delta) / maxov * (stop - start)
    return numerator / normaliser


@pytest.mark.parametrize(
    ("true", "predicted", "helix", "overall"),
    [
        # One helix of 6, predicted as its middle 4: minov 4, maxov 6, delta min(2, 4, 3, 2) = 2 -> 1.
        # Coil 2 + 2 true, 3 + 3 predicted: each minov 2, maxov 3, delta min(1, 2, 1, 1) = 1 -> 1.
        ("CCHHHHHHCC", "CCCHHHHCCC", 1.0, 1.0),
        # Helix of 6 predicted as its first residue: minov 1, maxov 6, delta min(5, 1, 3, 0) = 0 -> 1/6, N 6.
        # Coil of 4 predicted as 9: minov 4, maxov 9, delta min(5, 4, 2, 4) = 2 -> 6/9, N 4.
        ("HHHHHHCCCC", "HCCCCCCCCC", 1 / 6, (6 * 1 / 6 + 4 * 6 / 9) / 10),
        # A helix of 8 broken in two by one coil residue: pairs (8, 4) and (8, 3), so N = 16.
        # (4 + min(4, 4, 4, 2)) / 8 = 6/8 and (3 + min(5, 3, 4, 1)) / 8 = 4/8; no true coil.
        ("HHHHHHHH", "HHHHCHHH", 8 * (6 / 8 + 4 / 8) / 16, 8 * (6 / 8 + 4 / 8) / 16),
        # Nothing right: numerators 0, N = the lengths.
        ("HHHH", "EEEE", 0.0, 0.0),
    ],
)
def test_cases_computed_by_hand(true, predicted, helix, overall):
    found, states = score(true, predicted)
    assert found == pytest.approx(overall)
    assert states["H"] == pytest.approx(helix)


def test_a_state_that_is_not_there_has_no_score():
    _, states = score("HHHCC", "HHHEE")
    assert np.isnan(states["E"])
    assert states["C"] == 0.0


def test_unlabelled_residues_break_segments():
    # Cut out, the X would leave one helix of 6, of which half is found. Broken, one of two is found.
    assert score("HHHXHHH", "HHHHHHH")[0] == 1.0
    broken, _ = score("HHHXHHH", "HHHHCCC")
    assert broken == pytest.approx(3 / 6)


def test_chains_do_not_touch():
    true, predicted = encode("HHHHHH", "ss3"), encode("HHHHHH", "ss3")
    numerator_NS, normaliser_NS = sov_counts(true, predicted, np.array([0, 0, 0, 2, 2, 2]), 3, 3)
    assert normaliser_NS[:, 2].tolist() == [3, 0, 3]
    assert numerator_NS[:, 2].tolist() == [3, 0, 3]


def test_no_label_no_score():
    assert np.isnan(score("XXX", "HHH")[0])


@given(LABELS)
def test_equal_strings_score_one(true):
    if set(true) != {"X"}:
        assert score(true, true.replace("X", "C"))[0] == pytest.approx(1.0)


@settings(max_examples=300)
@given(st.lists(st.tuples(st.sampled_from("CEHX"), st.sampled_from("CEH")), min_size=1, max_size=60))
def test_agrees_with_the_definition_and_stays_in_bounds(pairs):
    true, predicted = ("".join(letters) for letters in zip(*pairs, strict=True))
    if set(true) != {"X"}:
        found, _ = score(true, predicted)
        assert 0.0 <= found <= 1.0 + 1e-12
        assert found == pytest.approx(by_definition(true, predicted))


@given(st.lists(st.tuples(LABELS, st.integers(0, 2**31)), min_size=1, max_size=5))
def test_a_set_is_the_sum_of_its_chains(chains):
    true = [encode(labels, "ss3") for labels, _ in chains]
    predicted = [np.random.default_rng(seed).integers(3, size=len(labels)) for labels, seed in chains]
    chain_T = np.repeat(np.arange(len(chains)), [len(labels) for labels, _ in chains])
    together = sov_counts(np.concatenate(true), np.concatenate(predicted), chain_T, len(chains), 3)
    for number, (one, two) in enumerate(zip(true, predicted, strict=True)):
        alone = sov_counts(one, two, np.zeros(len(one), np.int64), 1, 3)
        np.testing.assert_allclose(together[0][number], alone[0][0])
        np.testing.assert_allclose(together[1][number], alone[1][0])
