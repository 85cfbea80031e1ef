"""The predicted figures against cases worked out by hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liftray.bench import flops
from liftray.errors import ConfigError


@pytest.mark.parametrize(
    ("blocks", "cut", "cached", "cost"),
    [
        (6, 0, False, 12),  # six forward, six backward
        (6, 4, False, 8),  # six forward, two backward
        (6, 4, True, 4),  # two forward, two backward
        (24, 12, False, 36),
    ],
)
def test_cost_of_a_cut_model(blocks: int, cut: int, cached: bool, cost: int) -> None:
    assert flops.train_cost(blocks, cut, cached=cached) == cost


@pytest.mark.parametrize(
    ("blocks", "cut", "uncached", "warm"),
    [
        (6, 0, 1.0, 1.0),
        (6, 2, 1.2, 1.5),
        (6, 4, 1.5, 3.0),
        (24, 12, 4 / 3, 2.0),
        (24, 18, 1.6, 4.0),
        (33, 25, 66 / 41, 4.125),
    ],
)
def test_ceilings_by_hand(blocks: int, cut: int, uncached: float, warm: float) -> None:
    assert flops.ceiling_uncached(blocks, cut) == pytest.approx(uncached)
    assert flops.ceiling_warm(blocks, cut) == pytest.approx(warm)


def test_ceiling_of_a_run_that_fills_its_cache() -> None:
    # n=6, k=4, E=3: 2*6*3 = 36 against 4 + 2*3*2 = 16.
    assert flops.ceiling_cached(6, 4, epochs=3) == pytest.approx(2.25)
    # One epoch fills the cache and uses nothing of it: the cut alone.
    assert flops.ceiling_cached(24, 18, epochs=1) == pytest.approx(flops.ceiling_uncached(24, 18))


@given(blocks=st.integers(1, 100), share=st.floats(0, 0.999), epochs=st.integers(1, 1000))
def test_a_cache_pays_more_with_each_epoch_and_most_when_warm(blocks: int, share: float, epochs: int) -> None:
    cut = int(share * blocks)
    this = flops.ceiling_cached(blocks, cut, epochs)
    following = flops.ceiling_cached(blocks, cut, epochs + 1)
    slack = 1 + 1e-12
    assert flops.ceiling_uncached(blocks, cut) <= this * slack <= following * slack**2
    assert following <= flops.ceiling_warm(blocks, cut) * slack


@pytest.mark.parametrize("cut", [-1, 6, 7])
def test_a_cut_that_leaves_nothing_to_train_is_refused(cut: int) -> None:
    with pytest.raises(ConfigError, match="choose 0 to 5"):
        flops.ceiling_uncached(6, cut)


def test_no_epochs_are_refused() -> None:
    with pytest.raises(ConfigError, match="at least one"):
        flops.ceiling_cached(6, 4, epochs=0)


def test_cache_takes_two_bytes_a_number() -> None:
    assert flops.cache_bytes(width=1024, residues=1) == 2048
    assert flops.cache_bytes(width=1280, residues=10) == 25_600
    assert flops.cache_bytes(width=320, residues=1, bytes_each=4) == 1280


def test_packing_by_hand() -> None:
    # (10, 30) and (20, 40) padded to 30 and 40, then 5 alone: 60 + 80 + 5 = 145 for 105 tokens.
    lengths = [10, 30, 20, 40, 5]
    assert flops.padded_tokens(lengths, 2) == 145
    assert flops.ceiling_packing(lengths, 2) == pytest.approx(145 / 105)
    assert flops.ceiling_packing(lengths, 1) == 1.0
    assert flops.ceiling_packing([], 8) == 1.0


@pytest.mark.parametrize(
    ("cut", "bottleneck", "entered", "cost"),
    [
        (4, False, False, 4),  # LoRA: blocks 4 and 5 forward, both backward
        (4, True, False, 3),  # the gradient ends behind block 4
        (4, True, True, 2),  # block 5 forward and backward
        (5, True, False, 1),
        (5, True, True, 0),  # nothing but an adapter and the head
        (0, True, False, 11),
    ],
)
def test_cost_above_the_cut_by_hand(cut: int, bottleneck: bool, entered: bool, cost: int) -> None:
    assert flops.suffix_cost(6, cut, bottleneck=bottleneck, entered_at_adapter=entered) == cost


def test_ceiling_of_a_search_by_hand() -> None:
    # n=6, cuts 2 and 4, two epochs: 2 * (10 + 8) = 36 against a fill of 4 and 2 * (8 + 4) = 24.
    assert flops.ceiling_search(6, [2, 4], epochs=2) == pytest.approx(36 / 28)
    assert flops.ceiling_search(6, [0, 0], epochs=3) == 1.0
    # Bottlenecks: 2 * (9 + 7) = 32 against a fill of 5 and 2 * (6 + 2) = 16.
    assert flops.ceiling_search(6, [2, 4], epochs=2, bottleneck=True) == pytest.approx(32 / 21)


def test_operations_of_a_block_by_hand() -> None:
    # 5 tokens of width 2, feed-forward 8: 2 * 5 * (4 * 4 + 2 * 16); attention 4 * 2 * (9 + 4).
    assert flops.block_flops(2, 8, [3, 2]) == 480 + 104
    # Inner width 6 of the attention: 2 * 5 * (4 * 12 + 32) and 4 * 6 * 13.
    assert flops.block_flops(2, 8, [3, 2], inner=6) == 800 + 312
    # Backward: products once, attention twice.
    assert flops.suffix_flops(2, 8, [3, 2], forwards=1, backwards=0) == 584
    assert flops.suffix_flops(2, 8, [3, 2], forwards=2, backwards=1) == 2 * 584 + 480 + 208


def test_peaks_go_by_the_longest_name() -> None:
    assert flops.peak_flops("NVIDIA H100 PCIe") == 756e12
    assert flops.peak_flops("NVIDIA H100 80GB HBM3") == 989.4e12
    assert flops.peak_flops("NVIDIA A100-SXM4-80GB") == 312e12
    assert flops.peak_flops("NVIDIA H200") == 989.4e12
    assert flops.peak_flops("Tesla T4") is None


def test_utilisation_is_a_share_of_the_peak() -> None:
    assert flops.utilisation(1e12, seconds=2.0, peak=1e12) == 0.5


def test_ceilings_of_the_suites_by_hand() -> None:
    # 8 chains of 10 and 30 tokens: 240 padded for 160 real, 1.5.
    found = flops.ceilings(6, 4, [10, 30] * 4, epochs=3)
    assert found == pytest.approx(
        {
            "packing": 1.5,
            "uncached": 1.5 * 1.5,
            "uncached_pruned": 1.5 * 12 / 7,
            "first_epoch": 1.5 * 1.5,
            "whole_run": 1.5 * 2.25,
            "warm": 1.5 * 3,
            "warm_pruned": 1.5 * 4,
            "warm_at_adapter": 1.5 * 6,
            "cache": 2.0,
        }
    )
    assert flops.ceilings(6, 4, [10], epochs=3, bottleneck=False)["warm_pruned"] == 3
    assert "warm_at_adapter" not in flops.ceilings(6, 5, [10], epochs=3)
