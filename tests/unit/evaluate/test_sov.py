import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liftray.data.labels import encode
from liftray.evaluate.sov import chain_sov, sov_counts

LABELS = st.text("CEHX", min_size=1, max_size=60)
PAIRS = st.lists(st.tuples(st.sampled_from("CEHX"), st.sampled_from("CEH")), min_size=1, max_size=60)


def score(true: str, predicted: str) -> tuple[float, float, dict[str, tuple[float, float]]]:
    result = chain_sov(encode(true, "ss3"), encode(predicted, "ss3"), 3)
    states = zip(result.sov99_C.tolist(), result.refine_C.tolist(), strict=True)
    return result.sov99, result.refine, dict(zip("CEH", states, strict=True))


def segments(text: str) -> list[tuple[str, int, int]]:
    result, start = [], 0
    for at in range(1, len(text) + 1):
        if at == len(text) or text[at] != text[start]:
            result.append((text[start], start, at))
            start = at
    return result


def by_definition(true: str, predicted: str) -> tuple[float, float]:
    """Both published formulas, written plainly over lists of segments."""
    predicted = "".join("X" if t == "X" else p for t, p in zip(true, predicted, strict=True))
    labelled = [segment for segment in segments(true) if segment[0] != "X"]
    length = sum(stop - start for _, start, stop in labelled)
    delta_all = len(set(true) - {"X"}) / sum(((stop - start) / length) ** 2 for _, start, stop in labelled)
    sov99 = refine = normaliser = 0.0
    for state, start, stop in labelled:
        overlapping = [s for s in segments(predicted) if s[0] == state and s[1] < stop and s[2] > start]
        normaliser += (stop - start) * max(1, len(overlapping))
        for _, start2, stop2 in overlapping:
            minov = min(stop, stop2) - max(start, start2)
            maxov = max(stop, stop2) - min(start, start2)
            delta99 = min(maxov - minov, minov, (stop - start) // 2, (stop2 - start2) // 2)
            allowed = min(delta_all * (stop - start) / length * minov / maxov, maxov - minov)
            sov99 += (minov + delta99) / maxov * (stop - start)
            refine += (minov + allowed) / maxov * (stop - start)
    return sov99 / normaliser, refine / normaliser


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
def test_sov99_of_cases_computed_by_hand(true, predicted, helix, overall):
    result, _, states = score(true, predicted)
    assert result == pytest.approx(overall)
    assert states["H"][0] == pytest.approx(helix)


@pytest.mark.parametrize(
    ("true", "predicted", "helix", "overall"),
    [
        # Segments of 2, 6, 2 of 10: delta_all = 2 / 0.44 = 50/11.
        # Helix: delta min(2, 50/11 * 6/10 * 4/6 = 20/11) -> (4 + 20/11) / 6 = 32/33.
        # Coil, twice: delta min(1, 50/11 * 2/10 * 2/3 = 20/33) -> (2 + 20/33) / 3 = 86/99.
        ("CCHHHHHHCC", "CCCHHHHCCC", 32 / 33, (6 * 32 / 33 + 4 * 86 / 99) / 10),
        # delta_all = 2 / (0.36 + 0.16) = 50/13.
        # Helix: delta min(5, 50/13 * 6/10 * 1/6 = 5/13) -> (1 + 5/13) / 6 = 3/13.
        # Coil: delta min(5, 50/13 * 4/10 * 4/9 = 80/117) -> (4 + 80/117) / 9 = 548/1053.
        ("HHHHHHCCCC", "HCCCCCCCCC", 3 / 13, (6 * 3 / 13 + 4 * 548 / 1053) / 10),
        # One segment: delta_all = 1. (4 + 1/2) / 8 and (3 + 3/8) / 8, N = 16.
        ("HHHHHHHH", "HHHHCHHH", 63 / 128, 63 / 128),
        ("HHHH", "EEEE", 0.0, 0.0),
    ],
)
def test_sov_refine_of_cases_computed_by_hand(true, predicted, helix, overall):
    _, result, states = score(true, predicted)
    assert result == pytest.approx(overall)
    assert states["H"][1] == pytest.approx(helix)


def test_a_state_that_is_not_there_has_no_score():
    _, _, states = score("HHHCC", "HHHEE")
    assert np.isnan(states["E"]).all()
    assert states["C"] == (0.0, 0.0)


def test_unlabelled_residues_break_segments():
    # Cut out, the X would leave one helix of 6, of which half is predicted. Broken, one of two is predicted.
    assert score("HHHXHHH", "HHHHHHH")[:2] == (1.0, 1.0)
    assert score("HHHXHHH", "HHHHCCC")[0] == pytest.approx(3 / 6)


def test_chains_do_not_touch():
    true, predicted = encode("HHHHHH", "ss3"), encode("HHHHHH", "ss3")
    counts = sov_counts(true, predicted, np.array([0, 0, 0, 2, 2, 2]), 3, 3)
    assert [column[:, 2].tolist() for column in counts] == [[3, 0, 3]] * 3


def test_no_label_no_score():
    assert np.isnan(score("XXX", "HHH")[:2]).all()


@given(LABELS)
def test_equal_strings_score_one(true):
    if set(true) != {"X"}:
        assert score(true, true.replace("X", "C"))[:2] == pytest.approx((1.0, 1.0))


@settings(max_examples=300)
@given(PAIRS)
def test_agrees_with_the_definitions_and_stays_in_bounds(pairs):
    true, predicted = ("".join(letters) for letters in zip(*pairs, strict=True))
    if set(true) != {"X"}:
        result = score(true, predicted)[:2]
        assert all(0.0 <= value <= 1.0 + 1e-12 for value in result)
        assert result == pytest.approx(by_definition(true, predicted))


@given(PAIRS)
def test_neither_direction_nor_names_of_states_matter(pairs):
    true, predicted = ("".join(letters) for letters in zip(*pairs, strict=True))
    renamed = str.maketrans("CEH", "HCE")
    result = score(true, predicted)[:2]
    assert score(true[::-1], predicted[::-1])[:2] == pytest.approx(result, nan_ok=True)
    assert score(true.translate(renamed), predicted.translate(renamed))[:2] == pytest.approx(
        result, nan_ok=True
    )


@given(*[st.integers(0, 12)] * 2, *[st.integers(1, 12)] * 2)
def test_one_segment_against_one_is_symmetric_in_sov99(start1, start2, length1, length2):
    def one(start, length):
        return "C" * start + "H" * length + "C" * (30 - start - length)

    forth, back = (
        score(one(*a), one(*b))[2]["H"][0] for a, b in _both_ways((start1, length1), (start2, length2))
    )
    assert forth == pytest.approx(back)


def _both_ways(a, b):
    return (a, b), (b, a)


@given(st.lists(st.tuples(LABELS, st.integers(0, 2**31)), min_size=1, max_size=5))
def test_a_set_is_the_sum_of_its_chains(chains):
    true = [encode(labels, "ss3") for labels, _ in chains]
    predicted = [np.random.default_rng(seed).integers(3, size=len(labels)) for labels, seed in chains]
    chain_T = np.repeat(np.arange(len(chains)), [len(labels) for labels, _ in chains])
    together = sov_counts(np.concatenate(true), np.concatenate(predicted), chain_T, len(chains), 3)
    for number, (one, two) in enumerate(zip(true, predicted, strict=True)):
        alone = sov_counts(one, two, np.zeros(len(one), np.int64), 1, 3)
        for summed, single in zip(together, alone, strict=True):
            np.testing.assert_allclose(summed[number], single[0])
