"""Whenever a writer dies, the store opens to the shards committed before or with the new one, each whole."""

import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from liftray import files
from liftray.cache.evict import evict
from liftray.cache.index import as_array
from liftray.cache.store import Store
from tests.parts import crash
from tests.parts.cached import KEY, entry, fill, ids, read_back

OLD, NEW = range(4), range(4, 10)


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> crash.RecordingDisk:
    """A recording disk over a cache that holds the old entries."""
    live = tmp_path / "live"
    fill(live, OLD)
    disk = crash.RecordingDisk(live)
    monkeypatch.setattr(files, "DISK", disk)
    return disk


def test_every_crash_of_a_fill_keeps_the_old_and_gives_new_shards_whole(
    disk: crash.RecordingDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = fill(disk.root, NEW)
    shards = [set(index.tolist()) for index in _shards(store)]
    monkeypatch.setattr(files, "DISK", files.Disk())
    lengths = set()
    for label, place in crash.states(disk.log, tmp_path / "states"):
        missing, refused = read_back(place, range(10))
        assert refused == [], label
        assert set(missing) <= set(NEW), label
        lost = {entry(number)[0] for number in missing}
        assert all(shard <= lost or not shard & lost for shard in shards), label
        lengths.add(len(missing))
        fill(place, range(missing[0], 10) if missing else range(0))
        assert read_back(place, range(10)) == ([], []), label
        names = [path.stem for path in Store.open(place, KEY).directory.glob("*.rows")]
        assert len(names) == Store.open(place, KEY).size().shards, label
    assert {0, len(NEW)} < lengths
    end = f"after {len(disk.log)} "
    last = [place for label, place in crash.states(disk.log, tmp_path / "end") if label.startswith(end)]
    assert last
    assert all(read_back(place, range(10)) == ([], []) for place in last), (
        "committed, it outlasts a loss of power"
    )


def _shards(store: Store) -> list:  # type: ignore[type-arg]
    index = store.index()
    return [index.ids[index.shards == number] for number in range(len(index.names))]


def test_every_crash_of_a_first_fill_can_be_gone_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = tmp_path / "live"
    live.mkdir()
    disk = crash.RecordingDisk(live)
    monkeypatch.setattr(files, "DISK", disk)
    fill(live / "cache", OLD)
    monkeypatch.setattr(files, "DISK", files.Disk())
    count = 0
    for label, place in crash.states(disk.log, tmp_path / "states"):
        assert read_back(place / "cache", OLD)[1] == [], label
        fill(place / "cache", OLD)
        assert read_back(place / "cache", OLD) == ([], []), label
        count += 1
    assert count > 20


@pytest.mark.parametrize("job", ["strike", "evict"])
def test_every_crash_of_a_removal_leaves_it_done_or_not(
    job: str,
    disk: crash.RecordingDisk,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = Store.open(disk.root, KEY)
    if job == "strike":
        index = store.index()
        name = index.names[int(index.shards[int(index.find(as_array(ids(range(1))))[0])])]
        store.strike(name, as_array(ids(range(1))))
        ends = [0]
    else:
        evict(disk.root, 0)
        ends = list(OLD)
    monkeypatch.setattr(files, "DISK", files.Disk())
    caplog.clear()
    found = []
    for label, place in crash.states(disk.log, tmp_path / "states"):
        missing, refused = read_back(place, OLD)
        assert refused == [], label
        assert not caplog.records, "no state looks damaged"
        assert set(missing) <= set(ends), label
        found.append(missing)
        fill(place, OLD)
        assert read_back(place, OLD) == ([], []), label
    assert [] in found
    assert found[-1] == ends


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from tests.parts.cached import *
adds, point = int(sys.argv[3]), int(sys.argv[4])
from liftray import files
class Dies(files.Disk):
    # Dies after so many operations on the disk, in the middle of a write where it is one.
    left = point
    def _tick(self):
        self.left -= 1
        return self.left == 0
    def append(self, file, path, content):
        if self._tick():
            super().append(file, path, bytes(content)[: len(content) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        super().append(file, path, content)
    def fsync(self, path):
        super().fsync(path)
        if self._tick():
            os.kill(os.getpid(), signal.SIGKILL)
    def replace(self, source, target):
        super().replace(source, target)
        if self._tick():
            os.kill(os.getpid(), signal.SIGKILL)
files.DISK = Dies()
store = Store.open(Path(sys.argv[2]), KEY)
with store.writer(1000) as writer:
    for number in range(40):
        writer.add(*entry(number))
        if number == adds:
            os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("number", range(8))
def test_a_killed_writer_leaves_what_it_committed(number: int, tmp_path: Path) -> None:
    chance = random.Random(number)
    adds, point = (chance.randrange(40), 0) if number < 4 else (99, chance.randrange(1, 60))
    command = [
        sys.executable,
        "-c",
        KILLED,
        str(Path(__file__).parents[3]),
        str(tmp_path),
        str(adds),
        str(point),
    ]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    missing, refused = read_back(tmp_path, range(40))
    assert refused == []
    assert missing == list(range(40 - len(missing), 40)), "all before the shard that was being written"
    assert missing
    store = Store.open(tmp_path, KEY)
    left = len(list(store.directory.glob("*.rows"))) - store.size().shards
    assert left in (0, 1)
    fill(tmp_path, range(40 - len(missing), 40))
    assert read_back(tmp_path, range(40)) == ([], [])
    assert len(list(store.directory.glob("*.rows"))) == store.size().shards
    assert not [name for name in os.listdir(store.directory) if name.startswith(".") and name != ".lock"]
