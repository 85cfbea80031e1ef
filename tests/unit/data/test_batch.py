"""A packed batch keeps its windows apart, in memory and as an Arrow row."""

from dataclasses import fields

import numpy as np
import pyarrow as pa

from liftray.data import batch
from liftray.data.batch import PackedBatch
from liftray.data.labels import IGNORE_INDEX


def _packed(lengths: list[int], seed: int = 0, stored: bool = False) -> PackedBatch:
    rng = np.random.default_rng(seed)
    total = sum(lengths)
    return PackedBatch(
        split="train",
        epoch=3,
        step=5,
        micro=11,
        scored=1 << 40,
        tokens_T=rng.integers(0, 33, total),
        labels_T=np.where(rng.random(total) < 0.3, IGNORE_INDEX, rng.integers(0, 9, total)),
        cu_lens=np.cumsum([0, *lengths]),
        items=rng.integers(0, 1 << 40, len(lengths)),
        hidden_TR=rng.integers(0, 256, (total, 12), dtype=np.uint8) if stored else None,
    )


def test_a_batch_survives_the_trip_through_arrow() -> None:
    sent = [_packed([4, 1, 9], seed=1), _packed([2], seed=2, stored=True), _packed([7, 7], seed=3)]
    table = pa.Table.from_pylist([packed.row() for packed in sent], schema=batch.ROW_SCHEMA)
    # Slices and chunks have offsets of their own.
    for received in (
        batch.from_arrow(table),
        [batch.from_arrow(table.slice(row, 1))[0] for row in range(3)],
        batch.from_arrow(pa.concat_tables([table.slice(0, 1), table.slice(1)])),
    ):
        assert len(received) == 3
        for one, other in zip(sent, received, strict=True):
            for field in fields(PackedBatch):
                mine, theirs = getattr(one, field.name), getattr(other, field.name)
                assert np.array_equal(mine, theirs), field.name
