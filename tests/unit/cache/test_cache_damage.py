"""Damage to any file of a store is found before a byte of it is used, and what it cost can be computed again."""

import logging
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from liftray.cache.key import PrefixKey
from liftray.cache.reader import Reader
from liftray.cache.store import Store
from liftray.errors import CacheError
from tests.parts.cached import KEY, entry, fill, ids, read_back

ALL = range(12)
KINDS = ("rows", "ledger", "key.json")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sound")
    fill(root, ALL)
    return root


@pytest.fixture
def root(sound: Path, tmp_path: Path) -> Path:
    return shutil.copytree(sound, tmp_path / "cache")


def one(root: Path, kind: str) -> Path:
    directory = KEY.directory(root)
    return directory / kind if kind == "key.json" else sorted(directory.glob(f"*.{kind}"))[1]


def flips(size: int) -> list[Callable[[bytes], bytes]]:
    """200 ways to change one byte, spread over the file."""
    random = np.random.default_rng(size)
    places = random.integers(0, size, 200).tolist()
    return [
        lambda content, at=at, by=by: content[:at] + bytes([content[at] ^ by]) + content[at + 1 :]
        for at, by in zip(places, random.integers(1, 256, 200).tolist(), strict=True)
    ]


def truncations(size: int) -> list[Callable[[bytes], bytes]]:
    """20 ways to cut the file off, among them to nothing and by one byte."""
    lengths = [0, size - 1, *np.random.default_rng(size).integers(0, size, 18).tolist()]
    return [lambda content, length=length: content[:length] for length in lengths]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ways", [flips, truncations])
def test_no_damage_is_ever_read(root: Path, kind: str, ways: Callable) -> None:
    path = one(root, kind)
    content = path.read_bytes()
    ledgers = {each: each.read_bytes() for each in KEY.directory(root).glob("*.ledger")}
    for number, damage in enumerate(ways(len(content))):
        path.write_bytes(damage(content))
        missing, refused = read_back(root, ALL)  # asserts that what is given out is right
        if kind == "key.json":
            assert (missing, refused) == ([], []), number
            assert path.read_bytes() == content, number  # found, and written again
        else:
            assert missing + refused, number
            assert set(missing + refused) < set(ALL), number
            assert (kind == "rows" and ways is flips) or not refused, "found before it is opened"
        for each, before in ledgers.items():
            each.write_bytes(before)  # a refused entry was struck
        path.write_bytes(content)
    assert read_back(root, ALL) == ([], [])


@pytest.mark.parametrize("kind", ["rows", "ledger"])
@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "absent"])
def test_a_fill_computes_again_what_damage_cost(root: Path, kind: str, damage: str) -> None:
    path = one(root, kind)
    content = path.read_bytes()
    path.unlink()
    if damage != "absent":
        path.write_bytes(
            {"flip": bytes([content[0] ^ 1]) + content[1:], "cut": content[:-1], "empty": b""}[damage]
        )
    store = Store.open(root, KEY)
    store.verify(ids(ALL))
    again = [ALL[at] for at in store.missing(ids(ALL))]
    assert 0 < len(again) < len(ALL)
    with store.writer() as writer:
        for number in again:
            writer.add(*entry(number))
    assert read_back(root, ALL) == ([], [])
    # Nothing of a shard that is of no use stays on the disk.
    names = {each.stem for each in store.directory.iterdir() if each.suffix in (".rows", ".ledger")}
    assert names == set(store.index().names)


def test_one_damaged_entry_costs_one_entry(root: Path) -> None:
    path = one(root, "rows")
    content = bytearray(path.read_bytes())
    content[-1] ^= 0x10
    path.write_bytes(content)
    store = Store.open(root, KEY)
    assert store.missing(ids(ALL)) == []
    [lost] = store.verify(ids(ALL))
    assert store.missing(ids(ALL)) == [lost]
    assert Store.open(root, KEY).missing(ids(ALL)) == [lost]
    assert store.verify(ids(ALL)) == []
    assert read_back(root, ALL) == ([ALL[lost]], [])


def test_a_sound_copy_takes_the_place_of_a_damaged_one(root: Path) -> None:
    fill(root, ALL, max_shard_bytes=10**6)
    assert len(list(KEY.directory(root).glob("*.rows"))) > 3
    path = one(root, "rows")
    path.write_bytes(bytes(path.stat().st_size))
    store = Store.open(root, KEY)
    assert store.verify(ids(ALL)) == []
    assert store.size().entries == len(ALL)
    assert read_back(root, ALL) == ([], [])


def test_a_read_names_the_file_the_entry_and_the_remedy_and_strikes_the_entry(root: Path) -> None:
    path = one(root, "rows")
    path.write_bytes(bytes(path.stat().st_size))
    store = Store.open(root, KEY)
    with store.reader(ids(ALL)) as reader:
        refused = [number for number in ALL if _is_refused(reader, number, path)]
    assert 0 < len(refused) < len(ALL)
    assert [ALL[at] for at in store.missing(ids(ALL))] == refused


def test_damage_is_reported_once_and_stops_nothing(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = one(root, "ledger")
    path.write_bytes(path.read_bytes()[:-1])
    with caplog.at_level(logging.WARNING):
        store = Store.open(root, KEY)
        for _ in range(3):
            assert store.missing(ids(ALL))
    assert caplog.text.count(path.stem) == 1
    assert "computed again" in caplog.text


FOREIGN = [
    KEY.at(5),
    replace(KEY, backbone="cd" * 32),
    replace(KEY, versions={**KEY.versions, "prefix": "2"}),
]


@pytest.mark.parametrize("other", FOREIGN, ids=["block", "backbone", "versions"])
def test_another_keys_store_in_our_place_is_refused(root: Path, other: PrefixKey, tmp_path: Path) -> None:
    fill(root, ALL, key=other)
    shutil.rmtree(KEY.directory(root))
    shutil.copytree(other.directory(root), KEY.directory(root))
    before = {path: path.read_bytes() for path in KEY.directory(root).iterdir()}
    with pytest.raises(CacheError, match=r"key\.json.*another key.*remove that directory") as caught:
        Store.open(root, KEY)
    assert caught.value.exit_code == 2
    assert {path: path.read_bytes() for path in KEY.directory(root).iterdir()} == before


@pytest.mark.parametrize("other", FOREIGN, ids=["block", "backbone", "versions"])
def test_another_keys_shard_among_ours_is_not_used(
    tmp_path: Path, other: PrefixKey, caplog: pytest.LogCaptureFixture
) -> None:
    fill(tmp_path, ALL, key=other, max_shard_bytes=10**6)
    store = Store.open(tmp_path, KEY)
    for path in other.directory(tmp_path).glob("*.*"):
        if path.suffix in (".rows", ".ledger"):
            shutil.copy(path, store.directory)
    assert store.missing(ids(ALL)) == list(ALL)
    assert "another key" in caplog.text
    fill(tmp_path, ALL)
    assert read_back(tmp_path, ALL) == ([], [])


def test_ledgers_that_changed_places_are_not_used(tmp_path: Path) -> None:
    alike = [number for number in range(200) if len(entry(number)[1]) == 7][:2]
    for number in alike:
        fill(tmp_path, range(number, number + 1))
    first, second = KEY.directory(tmp_path).glob("*.ledger")
    both = first.read_bytes(), second.read_bytes()
    first.write_bytes(both[1])
    second.write_bytes(both[0])
    store = Store.open(tmp_path, KEY)
    assert store.missing([entry(number)[0] for number in alike]) == [0, 1]


def test_damage_of_all_copies_is_found(tmp_path: Path) -> None:
    for _ in range(3):
        fill(tmp_path, ALL, max_shard_bytes=10**6)
    store = Store.open(tmp_path, KEY)
    copies = list(store.directory.glob("*.rows"))
    assert len(copies) == 3
    for path in copies:
        path.write_bytes(bytes(path.stat().st_size))
    assert store.verify(ids(range(5))) == [0, 1, 2, 3, 4]
    assert store.missing(ids(ALL)) == [0, 1, 2, 3, 4]


def test_a_ledger_that_cannot_be_read_costs_its_shard_and_is_left_alone(root: Path) -> None:
    path = one(root, "ledger")
    path.unlink()
    path.mkdir()
    store = Store.open(root, KEY)
    assert 0 < len(store.missing(ids(ALL))) < len(ALL)
    store.sweep()
    assert path.is_dir()


def _is_refused(reader: Reader, number: int, path: Path) -> bool:
    try:
        reader.read(entry(number)[0])
    except CacheError as error:
        return all(part in str(error) for part in (path.name, entry(number)[0].hex(), "liftray cache"))
    return False
