"""The feed's promises, proven on the pure plan."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liftray.data import packing


def _lengths(count: int, seed: int = 7) -> np.ndarray:
    return np.random.default_rng(seed).integers(20, 514, size=count)


@pytest.mark.parametrize("by_length", [True, False])
@pytest.mark.parametrize("per_step", [1, 3, 8])
def test_global_steps_do_not_depend_on_ranks_or_resume(per_step: int, by_length: bool) -> None:
    """1..16 ranks x every resume step x 3 epochs x 20 seeds: the same global steps, each item once."""
    lengths = _lengths(97)
    for seed in range(20):
        for epoch in range(3):
            plan = packing.plan_train(
                lengths, seed=seed, epoch=epoch, budget=1024, per_step=per_step, by_length=by_length
            )
            assert np.array_equal(np.sort(plan.items), np.arange(97))
            steps = [
                np.arange(s * per_step, min((s + 1) * per_step, plan.num_micro))
                for s in range(plan.num_steps)
            ]
            assert np.array_equal(np.concatenate([plan.step(s) for s in range(plan.num_steps)]), plan.items)
            for ranks in range(1, 17):
                whole = [packing.deal(plan.num_micro, per_step, ranks, rank) for rank in range(ranks)]
                assert {turns.shape for turns in whole} == {(plan.num_steps, -(-per_step // ranks))}
                for step, wanted in enumerate(steps):
                    run = np.concatenate([turns[step] for turns in whole])
                    assert np.array_equal(np.sort(run[run != packing.EMPTY]), wanted)
                for start in range(plan.num_steps + 1):
                    for rank, turns in enumerate(whole):
                        resumed = packing.deal(plan.num_micro, per_step, ranks, rank, start)
                        assert np.array_equal(resumed, turns[start:])


def test_epochs_and_seeds_differ() -> None:
    lengths = _lengths(200)
    plans = [
        packing.plan_train(lengths, seed=seed, epoch=epoch, budget=2048, per_step=4).items.tolist()
        for seed in range(3)
        for epoch in range(3)
    ]
    assert len({tuple(plan) for plan in plans}) == 9


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 600), min_size=1, max_size=120),
    st.integers(64, 2048),
    st.integers(0, 5),
)
def test_budget_holds_and_nothing_is_lost(lengths: list[int], budget: int, seed: int) -> None:
    sizes = np.array(lengths)
    groups = np.arange(len(sizes)) // 7
    for plan in (
        packing.plan_train(sizes, seed=seed, epoch=0, budget=budget, per_step=2),
        packing.plan_train(
            sizes, seed=seed, epoch=0, budget=budget, per_step=2, groups=groups, shuffle_groups=2
        ),
        packing.plan_in_order(sizes, budget=budget),
    ):
        assert np.array_equal(np.sort(plan.items), np.arange(len(sizes)))
        for number in range(plan.num_micro):
            items = plan.micro(number)
            assert len(items) > 0
            assert sizes[items].max() * len(items) <= budget or len(items) == 1
    mixed = packing.plan_train(sizes, seed=seed, epoch=0, budget=budget, per_step=2, by_length=False)
    assert np.array_equal(np.sort(mixed.items), np.arange(len(sizes)))
    for number in range(mixed.num_micro):
        items = mixed.micro(number)
        assert len(items) > 0
        assert sizes[items].sum() <= budget or len(items) == 1
    assert mixed.num_micro % 2 == 0 or mixed.num_micro == len(sizes)


@pytest.mark.parametrize("per_step", [1, 2, 5])
def test_mixed_batches_are_few_and_take_equally_long(per_step: int) -> None:
    lengths = np.random.default_rng(0).gamma(3.0, 80.0, size=400).astype(int).clip(20, 513)
    plan = packing.plan_train(lengths, seed=0, epoch=0, budget=4096, per_step=per_step, by_length=False)
    loads = [int(lengths[plan.micro(number)].sum()) for number in range(plan.num_micro)]
    # Whole global steps: no rank is ever without a batch.
    assert plan.num_micro % per_step == 0
    assert plan.num_micro <= lengths.sum() / 4096 + 1 + per_step
    assert max(loads) < 1.02 * min(loads)
    # Attention takes the square of a window's length.
    squares = [int((lengths[plan.micro(number)] ** 2).sum()) for number in range(plan.num_micro)]
    assert max(squares) < 1.15 * min(squares)


def test_a_reader_needs_one_set_of_row_groups_at_a_time() -> None:
    groups = np.arange(4000) // 50
    plan = packing.plan_train(
        _lengths(4000), seed=0, epoch=1, budget=4096, per_step=1, groups=groups, shuffle_groups=8
    )
    last_use = {int(group): place for place, group in enumerate(groups[plan.items])}
    first_use = {int(group): place for place, group in reversed(list(enumerate(groups[plan.items])))}
    for place in range(0, 4000, 100):
        open_groups = [g for g in last_use if first_use[g] <= place <= last_use[g]]
        assert len(open_groups) <= 8


def test_length_bucketing_keeps_padding_low() -> None:
    lengths = np.random.default_rng(0).gamma(3.0, 80.0, size=3000).astype(int).clip(20, 513)
    plan = packing.plan_train(lengths, seed=0, epoch=0, budget=8192, per_step=4)
    assert packing.padded_tokens(plan, lengths) < 1.05 * lengths.sum()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 519), min_size=1, max_size=120),
    st.integers(1, 12),
    st.booleans(),
    st.integers(0, 5),
)
def test_a_step_is_split_over_any_number_of_workers_without_changing_its_items(
    lengths: list[int], parts: int, by_length: bool, seed: int
) -> None:
    sizes, tokens = np.array(lengths), 4152
    whole = packing.plan_train(sizes, seed=seed, epoch=1, budget=tokens, per_step=1, by_length=by_length)
    split = packing.split_steps(whole, sizes, parts=parts, by_length=by_length)
    assert (split.num_steps, split.num_micro) == (whole.num_steps, whole.num_steps * parts)
    for number in range(whole.num_steps):
        assert np.array_equal(np.sort(split.step(number)), np.sort(whole.step(number)))
    for number in range(split.num_micro):
        items = split.micro(number)
        if len(items) and parts > 1:
            taken = sizes[items].max() * len(items) if by_length else sizes[items].sum()
            assert taken <= tokens / parts + 519


def test_workers_get_about_the_same_work_from_a_split_step() -> None:
    lengths = _lengths(3000)
    for by_length in (True, False):
        whole = packing.plan_train(lengths, seed=1, epoch=0, budget=8192, per_step=1, by_length=by_length)
        for workers in (1, 2, 4, 8):
            split = packing.split_steps(whole, lengths, parts=workers, by_length=by_length)
            idle = packing.idle_share(split, lengths, ranks=workers, padded=by_length)
            assert (
                0 <= idle < (0.15 if by_length else 0.03)
            )  # windows are not divided, so some work stays uneven


def test_the_idle_share_counts_ranks_without_a_micro_batch_and_uneven_ones() -> None:
    lengths = np.array([100, 100, 60])
    plan = packing.EpochPlan(np.array([0, 1, 2]), np.array([0, 1, 2, 3]), per_step=1)
    assert packing.idle_share(plan, lengths, ranks=1, padded=False) == 0
    assert packing.idle_share(plan, lengths, ranks=8, padded=False) == pytest.approx(7 / 8)
    pairs = packing.EpochPlan(plan.items, plan.offsets, per_step=2)
    # The second step has 60 tokens for one of two ranks.
    assert packing.idle_share(pairs, lengths, ranks=2, padded=False) == pytest.approx(1 - 260 / 320)
    uneven = packing.EpochPlan(plan.items, np.array([0, 1, 3]), per_step=2)
    assert packing.idle_share(uneven, lengths, ranks=2, padded=False) == pytest.approx(1 - 260 / 320)
    assert packing.idle_share(uneven, lengths, ranks=2, padded=True) == pytest.approx(1 - 300 / 400)
