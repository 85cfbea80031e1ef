"""Eviction takes the shards used longest ago, over all keys, and never one that somebody uses."""

import gc
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from liftray.cache.evict import evict
from liftray.cache.key import PrefixKey
from liftray.cache.store import Store
from liftray.errors import CacheError
from tests.parts.cached import KEY, entry, fill, ids, read_back

OTHER = KEY.at(5)


def one_shard(root: Path, number: int, used_s: int, key: PrefixKey = KEY) -> int:
    """A shard of one entry, last used at a time; gives its bytes on disk."""
    store = Store.open(root, key)
    before = set(store.directory.glob("*.rows"))
    with store.writer() as writer:
        writer.add(*entry(number))
    [path] = set(store.directory.glob("*.rows")) - before
    os.utime(path, (used_s, used_s))
    return path.stat().st_size + path.with_suffix(".ledger").stat().st_size


def held(root: Path) -> list[tuple[int, int]]:
    """(block, number) of the entries in the cache."""
    return [
        (key.block, number)
        for key in (KEY, OTHER)
        for number in range(6)
        if not Store.open(root, key).missing([entry(number)[0]])
    ]


def test_the_least_recently_used_go_first_over_all_keys(tmp_path: Path) -> None:
    sizes = {
        (4, 0): one_shard(tmp_path, 0, 3000),
        (5, 1): one_shard(tmp_path, 1, 1000, OTHER),
        (4, 2): one_shard(tmp_path, 2, 4000),
        (5, 3): one_shard(tmp_path, 3, 2000, OTHER),
    }
    total = sum(sizes.values())
    assert evict(tmp_path, total) == 0
    assert held(tmp_path) == [(4, 0), (4, 2), (5, 1), (5, 3)]
    assert evict(tmp_path, total - 1) == sizes[5, 1]
    assert held(tmp_path) == [(4, 0), (4, 2), (5, 3)]
    # A reader's opening is a use: the oldest is now the youngest.
    Store.open(tmp_path, OTHER).reader([entry(3)[0]]).close()
    assert evict(tmp_path, sizes[5, 3] + sizes[4, 2]) == sizes[4, 0]
    assert evict(tmp_path, sizes[5, 3]) == sizes[4, 2]
    assert held(tmp_path) == [(5, 3)]
    assert evict(tmp_path, 0) == sizes[5, 3]
    assert held(tmp_path) == []
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".rows", ".ledger")]
    one_shard(tmp_path, 0, 1)
    assert held(tmp_path) == [(4, 0)]


def test_what_a_reader_or_its_views_use_stays(tmp_path: Path) -> None:
    store = fill(tmp_path, range(6), max_shard_bytes=1)
    reader = store.reader(ids(range(3)))
    view = reader.read(entry(0)[0])
    assert evict(tmp_path, 0) > 0
    assert held(tmp_path) == [(4, 0), (4, 1), (4, 2)]
    reader.close()
    gc.collect()
    assert evict(tmp_path, 0) > 0
    assert held(tmp_path) == [(4, 0)], "a view of its shard is alive"
    assert np.array_equal(view, entry(0)[1])
    del view
    gc.collect()
    assert evict(tmp_path, 0) > 0
    assert held(tmp_path) == []


def test_a_lease_of_another_process_holds_and_ends_with_it(tmp_path: Path) -> None:
    fill(tmp_path, range(4), max_shard_bytes=1)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from tests.parts.cached import *\n"
        "reader = Store.open(Path(sys.argv[2]), KEY).reader(ids(range(2)))\n"
        "print('open', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(Path(__file__).parents[3]), str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"open\n"
        evict(tmp_path, 0)
        assert held(tmp_path) == [(4, 0), (4, 1)]
        process.kill()
        process.wait()
    evict(tmp_path, 0)
    assert held(tmp_path) == []


def test_what_is_being_written_stays_and_what_a_dead_writer_left_goes(tmp_path: Path) -> None:
    store = Store.open(tmp_path, KEY)
    (store.directory / ("ab" * 16 + ".rows")).write_bytes(b"left")
    (store.directory / ("cd" * 16 + ".ledger")).write_bytes(b"left too")
    (store.directory / f".{'ef' * 16}.ledger.0123456789ab").write_bytes(b"torn")
    (store.directory / "notes.txt").write_text("not ours")
    with store.writer() as writer:
        assert sorted(path.name for path in store.directory.iterdir()) == [".lock", "key.json", "notes.txt"]
        writer.add(*entry(0))
        assert evict(tmp_path, 0) == 0
        with Store.open(tmp_path, KEY).writer() as other:  # sweeps
            other.add(*entry(1))
    assert read_back(tmp_path, range(2)) == ([], [])


def test_a_reader_whose_shard_was_evicted_says_what_to_do(tmp_path: Path) -> None:
    store = fill(tmp_path, range(4), max_shard_bytes=1)
    assert store.missing(ids(range(4))) == []
    evict(tmp_path, 0)
    with pytest.raises(CacheError, match="4 of 4 sequences are not in the cache"):
        store.reader(ids(range(4)))


def test_nothing_to_evict(tmp_path: Path) -> None:
    assert evict(tmp_path / "absent", 0) == 0
    Store.open(tmp_path, KEY)
    assert evict(tmp_path, 0) == 0
