"""A packed batch keeps its windows apart, in memory and as an Arrow row."""

from dataclasses import fields

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from liftray.data import batch
from liftray.data.batch import PackedBatch
from liftray.data.labels import IGNORE_INDEX

_PAD = 77


def _packed(lengths: list[int], seed: int = 0) -> PackedBatch:
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
    )


@given(st.lists(st.integers(1, 30), min_size=1, max_size=6))
def test_padding_lays_windows_out_as_rows(lengths: list[int]) -> None:
    packed = _packed(lengths)
    tokens_BL, mask_BL, labels_BL = packed.padded(_PAD)
    assert tokens_BL.shape == (len(lengths), max(lengths))
    for row, (start, stop) in enumerate(zip(packed.cu_lens[:-1], packed.cu_lens[1:], strict=True)):
        length = stop - start
        assert np.array_equal(tokens_BL[row, :length], packed.tokens_T[start:stop])
        assert np.array_equal(labels_BL[row, :length], packed.labels_T[start:stop])
        assert (tokens_BL[row, length:] == _PAD).all()
        assert (labels_BL[row, length:] == IGNORE_INDEX).all()
        assert mask_BL[row].tolist() == [True] * length + [False] * (max(lengths) - length)


def test_a_batch_survives_the_trip_through_arrow() -> None:
    sent = [_packed([4, 1, 9], seed=1), _packed([2], seed=2), _packed([7, 7], seed=3)]
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
