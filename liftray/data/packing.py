"""The plan of an epoch: windows to micro-batches, micro-batches to global steps, and both to ranks.

Invariant: micro-batches and global steps are a function of (lengths, seed, epoch, budget, micro-batches a step) alone.
The number of ranks decides only which rank runs which micro-batch. Every rank takes the same number of them, with empty
ones (weight zero) at the end of a step. Over all ranks each item occurs exactly once in an epoch. Pure NumPy.
Flow: [this] -> feed -> ranks.
"""

import heapq
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

EMPTY = -1  # The micro-batch number of a turn in which a rank has nothing to do.
# Batches are formed inside pools of this many items: enough to find similar lengths, few enough to stay random.
_POOL = 2048


@dataclass(frozen=True)
class EpochPlan:
    """Micro-batches of one epoch in the order they are run.

    Attributes:
        items: (N,) item numbers, micro-batch after micro-batch.
        offsets: (micro-batches + 1,) where each begins in `items`.
        per_step: Micro-batches of a global step; the last step may have fewer.
    """

    items: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]
    per_step: int

    @property
    def num_micro(self) -> int:
        """Number of micro-batches."""
        return len(self.offsets) - 1

    @property
    def num_steps(self) -> int:
        """Number of global steps."""
        return -(-self.num_micro // self.per_step)

    def micro(self, number: int) -> npt.NDArray[np.int64]:
        """Items of one micro-batch; none for EMPTY."""
        if number == EMPTY:
            return self.items[:0]
        return self.items[self.offsets[number] : self.offsets[number + 1]]

    def step(self, number: int) -> npt.NDArray[np.int64]:
        """Items of one global step."""
        first = number * self.per_step
        last = min(first + self.per_step, self.num_micro)
        return self.items[self.offsets[first] : self.offsets[last]]


def plan_train(
    lengths: npt.NDArray[np.integer],
    *,
    seed: int,
    epoch: int,
    budget: int,
    per_step: int,
    groups: npt.NDArray[np.integer] | None = None,
    shuffle_groups: int = 32,
    by_length: bool = True,
) -> EpochPlan:
    """Shuffle items, gather them within a budget of tokens, and shuffle the micro-batches.

    Args:
        lengths: (N,) tokens of each item, special tokens included.
        seed: The run's seed.
        epoch: Number of the epoch, from 0.
        budget: Most tokens in a micro-batch; an item longer than that is alone in one.
        per_step: Micro-batches of a global step.
        groups: (N,) row group of each item. Items are shuffled within sets of shuffled row groups, so that a
            reader holds one set and not all data. None: all items are one set.
        shuffle_groups: Row groups that are shuffled together.
        by_length: Whether similar lengths share a micro-batch, for a model that pads; the budget then counts padded
            tokens. Otherwise lengths are mixed: all micro-batches take about equally long and fill whole global steps,
            so that no rank waits for another.

    Returns:
        The plan of this epoch.
    """
    sizes = lengths.astype(np.int64)
    rng = np.random.default_rng((seed, epoch))
    micro: list[npt.NDArray[np.int64]] = []
    for together in _shuffled(len(sizes), groups, shuffle_groups, rng):
        batches = []
        for start in range(0, len(together), _POOL):
            pool = together[start : start + _POOL]
            pool = pool[np.argsort(sizes[pool], kind="stable")]
            batches.extend(
                _fill(pool, sizes, budget) if by_length else _spread(pool, sizes, budget, per_step)
            )
        micro.extend(batches[index] for index in rng.permutation(len(batches)))
    return _plan(micro, per_step)


def plan_in_order(lengths: npt.NDArray[np.integer], *, budget: int) -> EpochPlan:
    """Gather items by length, longest first, for scoring: no shuffle, one micro-batch a step.

    Args:
        lengths: (N,) tokens of each item, special tokens included.
        budget: Most padded tokens in a micro-batch.

    Returns:
        A plan that every item is in once.
    """
    sizes = lengths.astype(np.int64)
    return _plan(_fill(np.argsort(-sizes, kind="stable"), sizes, budget), per_step=1)


def deal(num_micro: int, per_step: int, ranks: int, rank: int, start_step: int = 0) -> npt.NDArray[np.int64]:
    """Give one rank its turns.

    Args:
        num_micro: Micro-batches of the epoch.
        per_step: Micro-batches of a global step.
        ranks: Number of ranks.
        rank: Which rank.
        start_step: First global step still to run.

    Returns:
        (steps, turns) micro-batch numbers, EMPTY where the rank has none; turns = ceil(per_step / ranks) for every
        rank and every step, so that collectives meet.
    """
    steps = -(-num_micro // per_step)
    turns = -(-per_step // ranks)
    place = np.arange(turns) * ranks + rank
    number = np.arange(start_step, max(steps, start_step))[:, None] * per_step + place
    return np.where((place < per_step) & (number < num_micro), number, EMPTY)


def split_steps(
    plan: EpochPlan, lengths: npt.NDArray[np.integer], *, parts: int, by_length: bool = True
) -> EpochPlan:
    """Divide each global step into micro-batches; the steps and their items stay the same.

    Args:
        plan: A plan with one micro-batch a step.
        lengths: (N,) tokens of each item, special tokens included.
        parts: Micro-batches of each global step.
        by_length: Whether similar lengths share a micro-batch, so that little is padded. Otherwise all micro-batches
            get about equally many tokens.

    Returns:
        A plan of `parts` micro-batches a step, the largest first; some are empty where a step has fewer items.
    """
    sizes = lengths.astype(np.int64)
    micro: list[npt.NDArray[np.int64]] = []
    for number in range(plan.num_steps):
        step = plan.step(number)
        ordered = step[np.argsort(-sizes[step], kind="stable")]
        batches = _divide(ordered, sizes, parts) if by_length else _balance(ordered, sizes, parts)
        tokens = [_padded(batch, sizes) if by_length else int(sizes[batch].sum()) for batch in batches]
        micro.extend(batches[index] for index in np.argsort(-np.array(tokens), kind="stable"))
    return _plan(micro, parts)


def idle_share(plan: EpochPlan, lengths: npt.NDArray[np.integer], *, ranks: int, padded: bool) -> float:
    """Share of the ranks' time in which a rank waits for the others, if time is proportional to tokens.

    Args:
        plan: The plan of an epoch.
        lengths: (N,) tokens of each item, special tokens included.
        ranks: Number of ranks.
        padded: Whether a micro-batch is padded to its longest item, so that its padding takes time too.

    Returns:
        0 where all ranks are busy all the time, up to 1 - 1 / ranks where one rank has all the work.
    """
    sizes = lengths.astype(np.int64)
    turns = -(-plan.per_step // ranks)
    work = np.zeros((plan.num_steps, turns * ranks), dtype=np.int64)
    for number in range(plan.num_micro):
        items = plan.micro(number)
        tokens = _padded(items, sizes) if padded else int(sizes[items].sum())
        work[divmod(number, plan.per_step)] = tokens
    taken = int(work.reshape(plan.num_steps, turns, ranks).max(axis=-1).sum()) * ranks
    return 1.0 - int(work.sum()) / taken if taken else 0.0


def padded_tokens(plan: EpochPlan, lengths: npt.NDArray[np.integer]) -> int:
    """Tokens computed when each micro-batch is padded to its longest item."""
    return sum(int(lengths[plan.micro(m)].max()) * len(plan.micro(m)) for m in range(plan.num_micro))


def _shuffled(
    count: int, groups: npt.NDArray[np.integer] | None, shuffle_groups: int, rng: np.random.Generator
) -> list[npt.NDArray[np.int64]]:
    if groups is None:
        return [rng.permutation(count)]
    members = np.split(np.argsort(groups, kind="stable"), np.flatnonzero(np.diff(np.sort(groups))) + 1)
    order = rng.permutation(len(members))
    sets = []
    for start in range(0, len(order), shuffle_groups):
        together = np.concatenate([members[index] for index in order[start : start + shuffle_groups]])
        sets.append(rng.permutation(together))
    return sets


def _fill(
    ordered: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64], budget: int
) -> list[npt.NDArray[np.int64]]:
    batches, start, longest = [], 0, 0
    for end, item in enumerate(ordered.tolist()):
        longest_with = max(longest, int(lengths[item]))
        if end > start and longest_with * (end - start + 1) > budget:
            batches.append(ordered[start:end])
            start, longest_with = end, int(lengths[item])
        longest = longest_with
    if len(ordered) > start:
        batches.append(ordered[start:])
    return batches


def _spread(
    ordered: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64], budget: int, per_step: int
) -> list[npt.NDArray[np.int64]]:
    """Few batches of about equally many tokens: the longest item left goes to the emptiest batch (Graham 1969).

    Their number is a multiple of `per_step`, unless there are fewer items.
    """
    alone = ordered[lengths[ordered] > budget]
    rest = ordered[lengths[ordered] <= budget][::-1]
    count = -(-int(lengths[rest].sum()) // budget)
    while True:
        count += -(count + len(alone)) % per_step
        batches = _balance(rest, lengths, count)
        if all(int(lengths[items].sum()) <= budget for items in batches):
            return [items for items in [*alone[:, None], *batches] if len(items)]
        count += 1


def _padded(items: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]) -> int:
    return int(lengths[items].max()) * len(items) if len(items) else 0


def _balance(
    ordered: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64], parts: int
) -> list[npt.NDArray[np.int64]]:
    """Parts of about equally many tokens: the longest item left goes to the emptiest part (Graham 1969)."""
    loads = [(0, number) for number in range(parts)]
    batches: list[list[int]] = [[] for _ in range(parts)]
    for item in ordered.tolist():
        load, number = loads[0]
        batches[number].append(item)
        heapq.heapreplace(loads, (load + int(lengths[item]), number))
    return [np.array(items, dtype=np.int64) for items in batches]


def _divide(
    ordered: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64], parts: int
) -> list[npt.NDArray[np.int64]]:
    """Parts of neighbours, the largest of which has as few padded tokens as possible."""
    low, high = 1, max(1, _padded(ordered, lengths))
    while low < high:
        budget = (low + high) // 2
        if len(_fill(ordered, lengths, budget)) <= parts:
            high = budget
        else:
            low = budget + 1
    batches = _fill(ordered, lengths, low)
    return batches + [ordered[:0]] * (parts - len(batches))


def _plan(micro: list[npt.NDArray[np.int64]], per_step: int) -> EpochPlan:
    offsets = np.concatenate([[0], np.cumsum([len(items) for items in micro])]).astype(np.int64)
    items = np.concatenate(micro) if micro else np.zeros(0, dtype=np.int64)
    return EpochPlan(items=items, offsets=offsets, per_step=per_step)
