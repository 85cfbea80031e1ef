"""What a store gives is what was added, to whoever has the same key."""

import multiprocessing
import pickle
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liftray.cache.key import ID_BYTES, entry_id
from liftray.cache.shard import Bytes
from liftray.cache.store import Store, StoreSize, lower_blocks
from liftray.errors import CacheError
from tests.parts.cached import KEY, entry, fill, ids, read_back


def test_ragged_entries_come_back_as_views(tmp_path: Path) -> None:
    store = fill(tmp_path, range(30))
    assert store.missing(ids(range(28, 33))) == [2, 3, 4]
    with store.reader(ids(range(30))) as reader:
        for number in reversed(range(30)):
            name, rows_LR = entry(number)
            found = reader.read(name)
            assert np.array_equal(found, rows_LR)
            assert not found.flags.owndata
            assert not found.flags.writeable
            assert np.shares_memory(found, reader.read(name))


def test_an_empty_store_and_an_empty_request(tmp_path: Path) -> None:
    store = Store.open(tmp_path, KEY)
    assert store.size() == StoreSize(0, 0, 0)
    assert store.missing([]) == []
    assert store.missing(ids(range(2))) == [0, 1]
    assert store.verify(ids(range(2))) == []
    with store.writer():
        pass
    with store.reader([]) as reader, pytest.raises(KeyError):
        reader.read(entry(0)[0])
    assert store.size() == StoreSize(0, 0, 0)


def test_shards_are_committed_as_they_fill(tmp_path: Path) -> None:
    store, other = Store.open(tmp_path, KEY), Store.open(tmp_path, KEY)
    rows_LR = np.ones((10, KEY.row_bytes), np.uint8)
    with store.writer(max_shard_bytes=25 * KEY.row_bytes) as writer:
        for number in range(5):
            writer.add(entry_id(str(number)), rows_LR)
        # two fit a shard: the third pair is still being written
        assert other.missing([entry_id(str(number)) for number in range(5)]) == [4]
        writer.add(entry_id("long"), np.ones((100, KEY.row_bytes), np.uint8))
        assert other.missing([entry_id("4"), entry_id("long")]) == [1]
    assert other.missing([entry_id("long")]) == []
    report = other.size()
    assert (report.shards, report.entries) == (4, 6)
    assert report.bytes == sum(
        path.stat().st_size for path in store.directory.iterdir() if path.suffix in (".rows", ".ledger")
    )


def test_data_sets_share_entries_and_a_grown_one_fills_what_is_new(tmp_path: Path) -> None:
    fill(tmp_path, range(10))
    store = Store.open(tmp_path, KEY)
    wanted = range(5, 15)
    new = [wanted[at] for at in store.missing(ids(wanted))]
    assert new == [10, 11, 12, 13, 14]
    fill(tmp_path, range(10, 15))
    assert read_back(tmp_path, range(15)) == ([], [])
    assert store.size().entries == 15


def test_an_entry_added_twice_is_held_once(tmp_path: Path) -> None:
    store = fill(tmp_path, range(3), max_shard_bytes=10**6)
    size = store.size().bytes
    with store.writer() as writer:
        writer.add(*entry(7))
        writer.add(*entry(7))
    assert store.size().entries == 4
    fill(tmp_path, range(3), max_shard_bytes=10**6)  # another writer does not look
    report = store.size()
    assert (report.shards, report.entries) == (3, 4)
    assert report.bytes > 2 * size
    assert read_back(tmp_path, range(3)) == ([], [])


def test_a_block_that_fails_keeps_what_was_added(tmp_path: Path) -> None:
    store = Store.open(tmp_path, KEY)

    def fail() -> None:
        with store.writer() as writer:
            writer.add(*entry(0))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert read_back(tmp_path, range(2)) == ([1], [])


@pytest.mark.parametrize(
    ("name", "rows_LR"),
    [
        (b"short", np.ones((1, KEY.row_bytes), np.uint8)),
        (b"x" * ID_BYTES, np.ones((1, KEY.row_bytes - 1), np.uint8)),
        (b"x" * ID_BYTES, np.ones((0, KEY.row_bytes), np.uint8)),
        (b"x" * ID_BYTES, np.ones(KEY.row_bytes, np.uint8)),
        (b"x" * ID_BYTES, np.ones((1, KEY.row_bytes), np.int8)),
    ],
)
def test_what_is_no_entry_is_not_taken(tmp_path: Path, name: bytes, rows_LR: Bytes) -> None:
    store = Store.open(tmp_path, KEY)
    with store.writer() as writer, pytest.raises(ValueError, match="entry"):
        writer.add(name, rows_LR)
    assert store.size() == StoreSize(0, 0, 0)


def test_a_reader_of_what_is_missing_says_how_to_get_it(tmp_path: Path) -> None:
    store = fill(tmp_path, range(3))
    with pytest.raises(CacheError, match=r"2 of 5 sequences are not in the cache.*liftray cache") as caught:
        store.reader(ids(range(5)))
    assert caught.value.exit_code == 2
    assert str(store.directory) in str(caught.value)


def test_a_reader_goes_to_another_process_by_pickle(tmp_path: Path) -> None:
    reader = fill(tmp_path, range(9)).reader(ids(range(9)))
    sent = pickle.dumps(reader)
    assert len(sent) < 2000
    code = (
        "import pickle, sys; sys.path.insert(0, sys.argv[1]); from tests.parts.cached import entry;"
        "reader = pickle.load(sys.stdin.buffer);"
        "assert all((reader.read(entry(n)[0]) == entry(n)[1]).all() for n in range(9)); print('read')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(Path(__file__).parents[3])],
        input=sent,
        capture_output=True,
        check=True,
    )
    assert done.stdout == b"read\n"
    store = pickle.loads(pickle.dumps(Store.open(tmp_path, KEY)))
    assert store.missing(ids(range(9))) == []


def test_a_reader_goes_on_in_a_fork(tmp_path: Path) -> None:
    reader = fill(tmp_path, range(5)).reader(ids(range(5)))
    assert reader.read(entry(0)[0]).any()
    fork = multiprocessing.get_context("fork")
    process = fork.Process(target=_read_all, args=(reader,))
    process.start()
    process.join()
    assert process.exitcode == 0


def _read_all(reader) -> None:  # type: ignore[no-untyped-def]
    assert all(np.array_equal(reader.read(entry(number)[0]), entry(number)[1]) for number in range(5))


@pytest.mark.timeout(60)
def test_a_fork_of_a_writer_does_not_keep_others_from_reading(tmp_path: Path) -> None:
    fork = multiprocessing.get_context("fork")
    store, (ours, theirs) = Store.open(tmp_path, KEY), fork.Pipe()
    with store.writer() as writer:
        writer.add(*entry(0))
        process = fork.Process(target=theirs.recv)  # holds the open shard until it receives a message
        process.start()
    assert read_back(tmp_path, range(1)) == ([], [])
    ours.send("end")
    process.join()


def test_processes_write_one_store_at_once(tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    # The two middle ones overlap: both write the entries of the other too.
    ranges = [range(40), range(30, 80), range(60, 100)]
    processes = [spawn.Process(target=fill, args=(tmp_path, numbers)) for numbers in ranges]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert read_back(tmp_path, range(100)) == ([], [])
    store = Store.open(tmp_path, KEY)
    assert store.size().entries == 100
    assert store.verify(ids(range(100))) == []


def test_threads_read_while_others_write(tmp_path: Path) -> None:
    fill(tmp_path, range(20))
    failures: list[BaseException] = []

    def read() -> None:
        try:
            for _ in range(5):
                assert read_back(tmp_path, range(20)) == ([], [])
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=read) for _ in range(2)]
    threads.append(threading.Thread(target=fill, args=(tmp_path, range(20, 120))))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert read_back(tmp_path, range(120)) == ([], [])


def test_lower_blocks_of_the_lineage_highest_first(tmp_path: Path) -> None:
    for block in (0, 2, 3, 6):
        Store.open(tmp_path, KEY.at(block))
    Store.open(tmp_path, replace(KEY, block=1, stored="int8"))
    assert lower_blocks(tmp_path, KEY.at(5)) == [3, 2, 0]
    assert lower_blocks(tmp_path, KEY.at(3)) == [2, 0]
    assert lower_blocks(tmp_path, KEY.at(0)) == []
    assert lower_blocks(tmp_path / "absent", KEY) == []


def test_a_place_that_cannot_be_a_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    with pytest.raises(CacheError, match=r"cannot use the cache.*set cache\.dir") as caught:
        Store.open(tmp_path / "file", KEY)
    assert caught.value.exit_code == 2


ENTRIES = st.dictionaries(
    st.binary(min_size=ID_BYTES, max_size=ID_BYTES),
    st.integers(1, 30).flatmap(lambda length: st.binary(min_size=3 * length, max_size=3 * length)),
    max_size=12,
)


@settings(max_examples=40, deadline=None)
@given(batches=st.lists(ENTRIES, max_size=3), max_shard_bytes=st.integers(1, 200))
def test_any_entries_in_any_shards_come_back(
    tmp_path_factory: pytest.TempPathFactory, batches: list[dict[bytes, bytes]], max_shard_bytes: int
) -> None:
    key = replace(KEY, width=3, stored="int8")
    key = replace(key, width=1, stored="bfloat16") if max_shard_bytes % 2 else key
    root = tmp_path_factory.mktemp("any")
    expected: dict[bytes, Bytes] = {}
    for batch in batches:
        store = Store.open(root, key)
        with store.writer(max_shard_bytes) as writer:
            for at in store.missing(list(batch)):
                name, content = list(batch.items())[at]
                expected[name] = np.frombuffer(content * key.row_bytes, np.uint8).reshape(-1, key.row_bytes)
                writer.add(name, expected[name])
    store = Store.open(root, key)
    assert store.size().entries == len(expected)
    assert store.verify(list(expected)) == []
    with store.reader(list(expected)) as reader:
        for name, rows_LR in expected.items():
            assert np.array_equal(reader.read(name), rows_LR)
    absent = bytes(ID_BYTES) if bytes(ID_BYTES) not in expected else b"\xff" * ID_BYTES
    assert store.missing([*expected, absent])[-1:] == ([len(expected)] if absent not in expected else [])


def test_the_store_needs_neither_torch_nor_ray() -> None:
    code = (
        "import sys, liftray.cache.store;"
        "print(sorted({'torch', 'ray', 'pyarrow', 'transformers'}.intersection(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout == "[]\n"
