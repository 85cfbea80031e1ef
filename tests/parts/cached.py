"""Keys, entries and small stores for the tests of the cache."""

from pathlib import Path

import numpy as np

from liftray.cache.key import PrefixKey, entry_id
from liftray.cache.shard import Bytes
from liftray.cache.store import Store
from liftray.errors import CacheError

KEY = PrefixKey(
    backbone="ab" * 32, block=4, width=6, compute="float32", stored="bfloat16", device="cpu",
    versions={"torch": "2.13.0", "transformers": "4.57.6", "prefix": "1"},
)  # fmt: skip


def entry(number: int) -> tuple[bytes, Bytes]:
    """Id and rows of the entry of a number: of 1 to 40 tokens, the same on every call."""
    random = np.random.default_rng(number)
    length = int(random.integers(1, 41))
    return entry_id(f"SEQ{number}"), random.integers(0, 256, (length, KEY.row_bytes), dtype=np.uint8)


def ids(numbers: range) -> list[bytes]:
    return [entry(number)[0] for number in numbers]


def fill(root: Path, numbers: range, key: PrefixKey = KEY, max_shard_bytes: int = 1000) -> Store:
    """A store with the entries of some numbers; about three a shard."""
    store = Store.open(root, key)
    with store.writer(max_shard_bytes) as writer:
        for number in numbers:
            writer.add(*entry(number))
    return store


def read_back(root: Path, numbers: range) -> tuple[list[int], list[int]]:
    """Read the entries of some numbers from a store; every byte that is read must be right.

    Returns:
        The numbers that are missing, and those whose read was refused.
    """
    store = Store.open(root, KEY)
    missing = [numbers[at] for at in store.missing(ids(numbers))]
    refused = []
    for number in numbers:
        if number in missing:
            continue
        name, rows_LR = entry(number)
        try:
            with store.reader([name]) as reader:
                assert np.array_equal(reader.read(name), rows_LR), f"wrong bytes for entry {number}"
        except CacheError:
            refused.append(number)
    return missing, refused
