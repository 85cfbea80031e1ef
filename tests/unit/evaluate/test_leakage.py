import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from liftray.errors import DataError
from liftray.evaluate.leakage import LEAKY_SHARE, leakage

RESIDUES = "ACDEFGHIKLMNPQRSTVWY"


def chain(length, seed):
    return "".join(np.random.default_rng(seed).choice(list(RESIDUES), size=length))


def by_definition(train, test):
    """The same counts with sets of strings."""

    def kmers(sequence):
        return {k for at in range(len(sequence) - 6) if "X" not in (k := sequence[at : at + 7])}

    identical = {name for name, sequence in test if sequence in train}
    near = {
        name
        for name, sequence in test
        if (own := kmers(sequence)) and any(2 * len(own & kmers(other)) >= len(own) for other in train)
    }
    return identical, near - identical


def test_identical_near_and_clean_chains():
    a, b, c = chain(80, 1), chain(80, 2), chain(80, 3)
    mutated = b[:40] + ("W" if b[40] != "W" else "A") + b[41:]
    result = leakage([a, "MK" + mutated, chain(80, 4)], [("a", a), ("b", b), ("c", c)])
    counts = {"chains": 3, "identical": 1, "near": 1, "leaky": True, "ids": ["a", "b"]}
    assert result == counts | {"share": pytest.approx(2 / 3)}


def test_half_of_the_kmers_in_one_chain_is_the_line():
    test = chain(27, 5)  # 21 distinct 7-mers
    assert leakage([test[:17]], [("t", test)])["near"] == 1  # 11 of 21
    assert leakage([test[:16]], [("t", test)])["near"] == 0  # 10 of 21
    # Two training chains with 10 each do not add up to one with most.
    assert leakage([test[:16], test[11:]], [("t", test)])["near"] == 0


def test_short_chains_can_only_be_identical():
    result = leakage(["ACDEFG", "ACDEFGHIKL"], [("same", "ACDEFG"), ("part", "CDEFG"), ("empty", "")])
    assert (result["identical"], result["near"], result["ids"]) == (1, 0, ["same"])


def test_runs_of_unknown_residues_are_no_likeness():
    result = leakage(["A" + "X" * 50 + chain(20, 6)], [("t", "X" * 40 + chain(20, 7))])
    assert result["share"] == 0.0


def test_a_set_is_leaky_above_the_threshold_only():
    copies = int(LEAKY_SHARE * 100)
    test = [(str(n), chain(30, n)) for n in range(100)]
    assert leakage([s for _, s in test[:copies]], test)["leaky"] is False
    assert leakage([s for _, s in test[: copies + 1]], test)["leaky"] is True


def test_training_chains_are_streamed_once():
    result = leakage((chain(30, n) for n in range(3)), [("t", chain(30, 2))])
    assert result["identical"] == 1


def test_an_empty_test_set_is_refused():
    with pytest.raises(DataError, match="empty test set"):
        leakage(["ACD"], [])


SEQUENCES = st.lists(st.text("ACX", max_size=25), min_size=1, max_size=5)


@given(SEQUENCES, SEQUENCES)
def test_agrees_with_the_definition(train, test):
    named = [(str(number), sequence) for number, sequence in enumerate(test)]
    identical, near = by_definition(train, named)
    result = leakage(train, named)
    assert (result["identical"], result["near"]) == (len(identical), len(near))
    assert set(result["ids"]) == identical | near


def test_flip_train_leaks_into_casp12(real_chains):
    train = [sequence for _, sequence, _ in real_chains("train/flip_train.ss3.txt", "ss3")]
    test = [(name, sequence) for name, sequence, _ in real_chains("test/CASP12.ss9.txt", "ss9")]
    result = leakage(train, test)
    assert (result["identical"], result["near"], result["leaky"]) == (5, 2, True)
    cleaned = [sequence for _, sequence, _ in real_chains("train/lift_train.ss9.txt", "ss9")]
    assert leakage(cleaned, test)["leaky"] is False
