"""Ray Data delivers to each rank its own micro-batches of the plan, in order, from any place in the run."""

from dataclasses import fields
from typing import Any

import numpy as np
import pytest

from liftray.data.batch import PackedBatch
from liftray.data.feed import Feed, FeedSpec, Gather
from tests.parts import tiny

pytestmark = [pytest.mark.slow, pytest.mark.distributed, pytest.mark.usefixtures("ray_cluster")]

_EPOCHS = 2


@pytest.fixture(scope="module")
def spec(parts: dict[str, Any]) -> FeedSpec:
    chosen = tiny.settings(**parts)
    return tiny.feed_spec(parts["data__train"], parts["data__valid"], chosen, parts["backbone__source"][0])


@pytest.mark.parametrize(("rank", "ranks"), [(0, 1), (0, 2), (1, 2)])
@pytest.mark.parametrize(("epoch", "step"), [(0, 0), (0, 3), (1, 2)])
def test_batches_come_in_the_order_of_the_plan(
    spec: FeedSpec, rank: int, ranks: int, epoch: int, step: int
) -> None:
    feed, gather = Feed(spec, rank, ranks), Gather(spec)
    rows = [
        row
        for number in range(epoch, _EPOCHS)
        for row in feed.plan_rows(number, step if number == epoch else 0)
    ]
    delivered = list(feed.batches(_EPOCHS, epoch, step))
    assert len(delivered) == len(rows)
    for row, packed in zip(rows, delivered, strict=True):
        expected = gather.gather(row)
        for field in fields(PackedBatch):
            assert np.array_equal(getattr(packed, field.name), getattr(expected, field.name)), field.name


def test_a_stream_that_is_closed_early_ends(spec: FeedSpec) -> None:
    feed = Feed(spec, 0, 1)
    stream = feed.batches(_EPOCHS)
    first = next(stream)
    stream.close()
    assert (first.epoch, first.step) == (0, 0)
    assert next(feed.batches(_EPOCHS)).items.tolist() == first.items.tolist()


def test_segments_of_the_run_follow_each_other(spec: FeedSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = [(packed.epoch, packed.step, packed.micro) for packed in Feed(spec, 0, 1).batches(_EPOCHS)]
    monkeypatch.setattr("liftray.data.feed._SEGMENT_ITEMS", 1)
    parts = [(packed.epoch, packed.step, packed.micro) for packed in Feed(spec, 0, 1).batches(_EPOCHS)]
    assert parts == whole
