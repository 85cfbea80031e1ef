"""The feed without Ray: over all ranks each window comes once an epoch, and each labelled residue is scored once."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from liftray.data import batch, labels
from liftray.data.batch import TRAIN, VALID, PackedBatch
from liftray.data.feed import Feed, FeedSpec, Gather
from liftray.data.labels import IGNORE_INDEX
from liftray.errors import DataError
from tests.parts import tiny

_TRAIN_LENGTHS = [600, 1500, 511, 512, 30, *range(40, 200, 9)]
_VALID_LENGTHS = [1500, 600, 77, 12, 300]


@pytest.fixture(scope="module")
def members() -> dict[str, list[tiny.Chain]]:
    return {
        TRAIN: [*tiny.chains(_TRAIN_LENGTHS, seed=4, alphabet="ss9"), ("blank", "MKTAYIAKQR", "X" * 10)],
        VALID: tiny.chains(_VALID_LENGTHS, seed=5, alphabet="ss8", name="v"),
    }


@pytest.fixture(scope="module")
def spec(members: dict[str, list[tiny.Chain]], tmp_path_factory: pytest.TempPathFactory) -> FeedSpec:
    root = tmp_path_factory.mktemp("feed")
    chosen = tiny.settings(train__tokens_per_batch=1100, train__micro_batches_per_step=3)
    return tiny.feed_spec(
        {"t": tiny.dataset(root / "t", members[TRAIN], "ss9", row_group_size=8)},
        {"v": tiny.dataset(root / "v", members[VALID], "ss8")},
        chosen,
    )


def _epoch(spec: FeedSpec, rank: int, ranks: int, epoch: int = 0, start: int = 0) -> Iterator[PackedBatch]:
    """One rank's batches, through the Arrow tables that Ray Data would carry."""
    rows = Feed(spec, rank, ranks).plan_rows(epoch, start)
    sent = [{**row, "items": np.array(row["items"], dtype=np.int64).tobytes()} for row in rows]
    return iter(batch.from_arrow(Gather(spec)(pa.Table.from_pylist(sent))))


@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
@pytest.mark.parametrize("split", [TRAIN, VALID])
def test_each_window_comes_once_and_each_labelled_residue_is_scored_once(
    spec: FeedSpec, members: dict[str, list[tiny.Chain]], ranks: int, split: str
) -> None:
    source = {TRAIN: spec.train, VALID: spec.valid}[split]
    alphabet = {TRAIN: "ss9", VALID: "ss8"}[split]
    met: Counter[int] = Counter()
    scored = [np.zeros(len(chain[2]), dtype=int) for chain in members[split]]
    for rank in range(ranks):
        for packed in _epoch(spec, rank, ranks, epoch=1):
            if packed.split != split:
                continue
            met.update(packed.items.tolist())
            for place, item in enumerate(packed.items.tolist()):
                row, start, stop = (
                    int(getattr(source.windows, name)[item]) for name in ("row", "start", "stop")
                )
                _, sequence, ss = members[split][row]
                tokens = packed.tokens_T[packed.cu_lens[place] : packed.cu_lens[place + 1]]
                assert np.array_equal(tokens, spec.tokens.encode(sequence[start:stop]))
                codes = packed.labels_T[packed.cu_lens[place] : packed.cu_lens[place + 1]]
                inside = codes[spec.tokens.num_leading : len(codes) - spec.tokens.num_trailing]
                assert codes[codes != IGNORE_INDEX].size == inside[inside != IGNORE_INDEX].size
                at = np.flatnonzero(inside != IGNORE_INDEX)
                scored[row][start + at] += 1
                assert at.size == source.scored[item]
                wanted = labels.map_codes(labels.encode(ss, alphabet), alphabet, "ss3")[start:stop]
                assert np.array_equal(inside[at], wanted[at])
    assert met == Counter(range(len(source.windows.row)))
    for counts, (_, _, ss) in zip(scored, members[split], strict=True):
        assert counts.tolist() == [int(letter != "X") for letter in ss]


@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
def test_ranks_take_equal_turns_and_share_the_step(spec: FeedSpec, ranks: int) -> None:
    streams = [list(_epoch(spec, rank, ranks)) for rank in range(ranks)]
    turns = [[(packed.split, packed.epoch, packed.step) for packed in stream] for stream in streams]
    assert all(other == turns[0] for other in turns)
    for step in range(spec.plan(0).num_steps):
        together = [
            packed for stream in streams for packed in stream if (packed.split, packed.step) == (TRAIN, step)
        ]
        assert len(together) == ranks * spec.turns(ranks)
        assert {packed.scored for packed in together} == {
            sum(int((packed.labels_T != IGNORE_INDEX).sum()) for packed in together)
        }
        assert sorted(np.concatenate([packed.items for packed in together])) == sorted(
            spec.plan(0).step(step)
        )


def test_empty_turns_run_one_unlabelled_residue(spec: FeedSpec) -> None:
    ranks = 5
    empty = [packed for rank in range(ranks) for packed in _epoch(spec, rank, ranks) if packed.micro == -1]
    assert {packed.split for packed in empty} == {TRAIN, VALID}
    for packed in empty:
        assert (packed.labels_T == IGNORE_INDEX).all()
        assert np.array_equal(packed.tokens_T, spec.tokens.encode("A"))
        assert len(packed.items) == 0


def test_batches_keep_to_the_budget_and_padded_where_they_are_padded(spec: FeedSpec) -> None:
    for packed in _epoch(replace(spec, by_length=True), 0, 1):
        assert max(packed.lengths) * len(packed.lengths) <= spec.budget
    for packed in _epoch(replace(spec, by_length=False), 0, 1):
        assert sum(packed.lengths) <= spec.budget


@pytest.mark.parametrize("ranks", [1, 3])
def test_a_resumed_epoch_is_the_rest_of_the_whole_one(spec: FeedSpec, ranks: int) -> None:
    for rank in range(ranks):
        whole = Feed(spec, rank, ranks).plan_rows(2)
        for start in range(spec.plan(2).num_steps + 1):
            rest = Feed(spec, rank, ranks).plan_rows(2, start)
            assert rest == [row for row in whole if row["split"] == VALID or row["step"] >= start]


def test_validation_may_be_absent(spec: FeedSpec) -> None:
    without = replace(spec, valid=tiny.index.build({}, max_length=511, task="ss3", ss3_map="dssp"))
    assert {packed.split for packed in _epoch(without, 0, 1)} == {TRAIN}


def test_the_order_follows_from_seed_and_epoch_alone(spec: FeedSpec) -> None:
    def order(made: FeedSpec, epoch: int) -> list[list[int]]:
        return [row["items"] for row in Feed(made, 0, 1).plan_rows(epoch)]

    assert order(spec, 0) == order(spec, 0)
    assert order(spec, 0) != order(spec, 1)
    assert order(spec, 0) != order(replace(spec, seed=9), 0)


def test_a_residue_that_cannot_be_read_is_an_error_and_not_a_gap(spec: FeedSpec, tmp_path: Path) -> None:
    path = Path(tiny.dataset(tmp_path / "t", tiny.chains([50] * 6), row_group_size=2))
    chosen = tiny.settings(train__tokens_per_batch=1100)
    made = tiny.feed_spec({"t": str(path)}, {}, chosen)
    part = next(path.glob("*.parquet"))
    content = bytearray(part.read_bytes())
    content[4:40] = bytes(36)
    part.write_bytes(content)
    with pytest.raises(DataError, match="Parquet"):
        list(_epoch(made, 0, 1))


def test_a_run_split_over_other_workers_resumes_with_the_same_steps(spec: FeedSpec) -> None:
    whole = replace(spec, step_tokens=3 * spec.budget, per_step=1)
    steps = [sorted(whole.plan(1).step(step).tolist()) for step in range(whole.num_steps(1))]
    assert sorted(item for items in steps for item in items) == list(range(len(spec.train.windows.row)))
    for workers, start in ((2, 0), (3, 1), (4, 2)):
        split = replace(whole, per_step=workers)
        assert split.num_steps(1) == split.plan(1).num_steps == len(steps)
        rows = [row for rank in range(workers) for row in Feed(split, rank, workers).plan_rows(1, start)]
        for step in range(len(steps)):
            turns = [row["items"] for row in rows if (row["split"], row["step"]) == (TRAIN, step)]
            items = sorted(item for turn in turns for item in turn)
            assert items == (steps[step] if step >= start else [])
