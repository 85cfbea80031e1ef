"""A reader sees the old state or the new one, never a half."""

import errno
import json
import os
import stat
from pathlib import Path

import pytest

from liftray import files
from liftray.errors import ConfigError
from tests.parts import crash


def test_a_file_appears_whole_in_folders_made_for_it(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "x.json"
    files.write_json(path, {"ä": [1, None]})
    assert json.loads(path.read_text(encoding="utf-8")) == {"ä": [1, None]}
    files.write_text(path, "second")
    assert path.read_text() == "second"
    assert [entry.name for entry in path.parent.iterdir()] == ["x.json"]


@pytest.mark.parametrize("content", [float("nan"), float("inf"), {"x": object()}])
def test_content_that_is_not_json_leaves_the_old_file(tmp_path: Path, content: object) -> None:
    path = tmp_path / "x.json"
    files.write_json(path, {"old": True})
    with pytest.raises((ValueError, TypeError)):
        files.write_json(path, content)
    assert json.loads(path.read_text()) == {"old": True}
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.json"]


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    with pytest.raises(OSError, match="x"):
        files.write_bytes(tmp_path / "x", b"new")
    assert [entry.name for entry in tmp_path.iterdir()] == ["x"]


def test_files_and_directories_get_the_rights_that_the_umask_leaves(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        files.write_bytes(tmp_path / "x", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o640


def test_a_directory_takes_its_place_when_it_is_full(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "set"
    with files.new_directory(target) as fresh:
        (fresh / "one").write_text("1")
        assert not target.exists()
    assert [entry.name for entry in target.iterdir()] == ["one"]
    with files.new_directory(target) as fresh:
        (fresh / "two").write_text("2")
        assert [entry.name for entry in target.iterdir()] == ["one"]
    assert [entry.name for entry in target.iterdir()] == ["two"]
    assert [entry.name for entry in target.parent.iterdir()] == ["set"]


@pytest.mark.parametrize("stops", [ValueError, KeyboardInterrupt])
def test_a_block_that_fails_leaves_the_old_directory(tmp_path: Path, stops: type[BaseException]) -> None:
    target = tmp_path / "set"
    with files.new_directory(target) as fresh:
        (fresh / "one").write_text("1")

    def fail() -> None:
        with files.new_directory(target) as fresh:
            (fresh / "two").write_text("2")
            raise stops

    with pytest.raises(stops):
        fail()
    assert [entry.name for entry in target.iterdir()] == ["one"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["set"]


def test_a_place_that_cannot_be_taken_keeps_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "set"
    target.write_text("a file is here")
    with pytest.raises(OSError, match="set"), files.new_directory(target) as fresh:
        (fresh / "two").write_text("2")
    assert target.read_text() == "a file is here"
    assert [entry.name for entry in tmp_path.iterdir()] == ["set"]


def test_sha256_of_known_content(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    assert (
        files.sha256_file(tmp_path / "x")
        == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )
    (tmp_path / "x").write_bytes(b"")
    assert (
        files.sha256_file(tmp_path / "x")
        == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    )


def tree(directory: Path) -> dict[str, bytes] | None:
    """Content of a directory by name, or None where there is none."""
    if not directory.is_dir():
        return None
    return {
        str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> crash.RecordingDisk:
    """A recording disk over `live`, which holds a file and a directory."""
    live = tmp_path / "live"
    (live / "set" / "deep").mkdir(parents=True)
    (live / "x").write_bytes(b"old")
    (live / "set" / "one").write_bytes(b"1")
    (live / "set" / "deep" / "two").write_bytes(b"22")
    disk = crash.RecordingDisk(live)
    monkeypatch.setattr(files, "DISK", disk)
    return disk


def test_at_any_crash_a_file_is_the_old_or_the_new_one(disk: crash.RecordingDisk, tmp_path: Path) -> None:
    files.write_bytes(disk.root / "x", b"new content")
    files.write_bytes(disk.root / "a" / "b" / "y", b"first")
    found = [
        (tree(place)["x"], (tree(place / "a" / "b") or {}).get("y"))  # type: ignore[index]
        for _, place in crash.states(disk.log, tmp_path / "states")
    ]
    assert len(found) > 12
    assert set(found) == {(b"old", None), (b"new content", None), (b"new content", b"first")}
    assert found[-1] == (b"new content", b"first")


def test_what_was_written_outlasts_a_loss_of_power(disk: crash.RecordingDisk, tmp_path: Path) -> None:
    files.write_bytes(disk.root / "x", b"new content")
    with files.new_directory(disk.root / "more" / "set") as fresh:
        (fresh / "three").write_bytes(b"333")
    done = len(disk.log)
    ends = [
        place for label, place in crash.states(disk.log, tmp_path / "s") if label.startswith(f"after {done} ")
    ]
    assert ends
    assert all((place / "x").read_bytes() == b"new content" for place in ends)
    assert all(tree(place / "more" / "set") == {"three": b"333"} for place in ends)


def test_the_replay_finds_a_write_whose_bytes_or_name_were_not_synced(
    disk: crash.RecordingDisk, tmp_path: Path
) -> None:
    path, fresh = disk.root / "x", disk.root / "fresh"
    file = disk.create(fresh)
    disk.append(file, fresh, b"new")
    os.close(file)
    disk.replace(fresh, path)
    found = {(place / "x").read_bytes() for _, place in crash.states(disk.log, tmp_path / "a")}
    assert found == {b"old", b"new", b""}
    disk.fsync(path)
    end = f"after {len(disk.log)} "
    last = [place for label, place in crash.states(disk.log, tmp_path / "b") if label.startswith(end)]
    assert {(place / "x").read_bytes() for place in last} == {b"old", b"new"}


OLD, NEW = {"one": b"1", "deep/two": b"22"}, {"three": b"3" * 100, "under/four": b"4"}


def fill(path: Path) -> None:
    with files.new_directory(path) as fresh:
        (fresh / "three").write_bytes(b"3" * 100)
        files.write_bytes(fresh / "under" / "four", b"4")


@pytest.mark.parametrize("swaps", [True, False])
def test_at_any_crash_a_directory_is_the_old_or_the_new_one(
    disk: crash.RecordingDisk, tmp_path: Path, swaps: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(one: Path, other: Path) -> None:
        raise OSError(errno.EINVAL, "not on this file system")

    if not swaps:
        monkeypatch.setattr(disk, "exchange", refuse)
    fill(disk.root / "set")
    found = []
    for label, place in crash.states(disk.log, tmp_path / "states"):
        if swaps:  # readers need no sweep
            assert tree(place / "set") in (OLD, NEW), label
        files.sweep(place)
        found.append(tree(place / "set"))
        assert found[-1] in (OLD, NEW), label
        assert {entry.name for entry in place.iterdir()} == {"set", "x"}, label
    assert OLD in found
    assert found[-1] == NEW


def test_at_any_crash_a_directory_to_be_removed_is_whole_or_gone(
    disk: crash.RecordingDisk, tmp_path: Path
) -> None:
    files.remove_directory(disk.root / "set")
    assert [entry.name for entry in disk.root.iterdir()] == ["x"]
    found = [tree(place / "set") for _, place in crash.states(disk.log, tmp_path / "states")]
    assert all(each in (OLD, None) for each in found)
    assert None in found
    with pytest.raises(FileNotFoundError):
        files.remove_directory(disk.root / "set")
    assert [entry.name for entry in disk.root.iterdir()] == ["x"]


def test_directories_are_swapped_or_replaced_by_hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: files.Disk, one: Path, other: Path) -> None:
        raise OSError(errno.ENOSYS, "an old kernel")

    fill(tmp_path / "set")
    monkeypatch.setattr(files.Disk, "exchange", refuse)
    with files.new_directory(tmp_path / "set") as fresh:
        (fresh / "one").write_bytes(b"1")
    assert tree(tmp_path / "set") == {"one": b"1"}
    assert [entry.name for entry in tmp_path.iterdir()] == ["set"]


def test_names_that_cannot_be_swapped_raise(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    with pytest.raises(FileNotFoundError):
        files.DISK.exchange(tmp_path / "here", tmp_path / "absent")


def test_a_directory_has_one_user_at_a_time(tmp_path: Path) -> None:
    place = tmp_path / "new" / "run"
    with (
        files.sole_user(place, "run"),
        pytest.raises(ConfigError, match="another run is running in it"),
        files.sole_user(place, "run"),
    ):
        pass
    with files.sole_user(place, "run"):
        pass


def test_a_device_has_no_digest(tmp_path: Path) -> None:
    (tmp_path / "head.safetensors").symlink_to("/dev/zero")
    with pytest.raises(OSError, match="no regular file"):
        files.sha256_file(tmp_path / "head.safetensors")
