"""A workload is plain values from which chains, tokens and labels follow; shapes are the published ones."""

from dataclasses import asdict

import numpy as np
import pytest

from liftray.bench import chains
from liftray.bench.shapes import SHAPES, shape
from liftray.bench.workload import Timing, Workload
from liftray.data.labels import IGNORE_INDEX, STATES
from liftray.errors import ConfigError


def test_the_same_values_give_the_same_chains() -> None:
    one, other = Workload(chains=30, longest=200), Workload(**asdict(Workload(chains=30, longest=200)))

    assert one.drawn() == other.drawn() != Workload(chains=30, longest=200, seed=1).drawn()
    assert all(
        np.array_equal(a.tokens_L, b.tokens_L) for a, b in zip(one.encoded(), other.encoded(), strict=True)
    )


def test_chains_are_real_ones_cut_to_length() -> None:
    drawn, name = chains.sample(300, 0, longest=200, sets=[chains.SAMPLE])

    assert name == "train.ss9.txt"
    lengths = [len(sequence) for _, sequence, _ in drawn]
    assert max(lengths) == 200
    assert len(set(lengths)) > 30
    assert all(len(ss) == len(sequence) and set(ss) <= {*STATES["ss9"], "X"} for _, sequence, ss in drawn)
    assert len({identifier for identifier, _, _ in drawn}) == 300


def test_a_set_that_is_too_small_is_drawn_from_again() -> None:
    drawn, name = chains.sample(
        1000, 0, longest=511, sets=[chains.SAMPLE.parent / "absent.txt", chains.SAMPLE]
    )

    assert name == "train.ss9.txt"
    assert len({identifier for identifier, _, _ in drawn}) == 1000
    counts = np.unique([sequence for _, sequence, _ in drawn], return_counts=True)[1]
    assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize("task", ["ss3", "ss9"])
@pytest.mark.parametrize(("name", "ends"), [("esm2_8m", (1, 1)), ("prot_t5_xl", (0, 1))])
def test_special_tokens_carry_no_label(name: str, ends: tuple[int, int], task: str) -> None:
    workload = Workload(shape=name, task=task, chains=5)

    for (tokens_L, labels_L), (_, sequence, ss) in zip(workload.encoded(), workload.drawn(), strict=True):
        assert len(tokens_L) == len(labels_L) == sum(ends) + len(sequence)
        inside_L = labels_L[ends[0] : len(labels_L) - ends[1]]
        assert (labels_L == IGNORE_INDEX).sum() == sum(ends) + ss.count("X")
        assert [code == IGNORE_INDEX for code in inside_L] == [letter == "X" for letter in ss]
        assert inside_L.max() < workload.classes == len(STATES[task])


def test_what_cannot_be_measured_is_refused() -> None:
    with pytest.raises(ConfigError, match="skip_layers=6 of 6 blocks; choose 0 to 5"):
        Workload(skip_layers=6)
    with pytest.raises(ConfigError, match="0 that count; choose at least one chain"):
        Workload(repeats=0)
    with pytest.raises(ConfigError, match="no shape 'esm2_9m'; did you mean esm2_8m"):
        Workload(shape="esm2_9m")


def test_a_rate_is_that_of_the_median_pass() -> None:
    assert Timing(100, [4.0, 1.0, 2.0]).residues_per_s == 50


@pytest.mark.parametrize(
    ("name", "blocks", "width", "inner", "feed_forward"),
    [
        ("esm2_8m", 6, 320, 320, 1280),
        ("esm2_650m", 33, 1280, 1280, 5120),
        ("prot_t5_xl", 24, 1024, 4096, 16384),
    ],
)
def test_shapes_tell_their_sizes(name: str, blocks: int, width: int, inner: int, feed_forward: int) -> None:
    found = shape(name)
    assert (found.blocks, found.width, found.inner, found.feed_forward) == (
        blocks,
        width,
        inner,
        feed_forward,
    )
    assert SHAPES[name] is found
