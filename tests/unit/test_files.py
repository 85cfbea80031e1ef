"""A reader sees the old state or the new one, never a half."""

import json
import os
import stat
from pathlib import Path

import pytest

from liftray import files


def test_a_file_appears_whole_in_folders_made_for_it(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "x.json"
    files.write_json(path, {"ä": [1, None]})
    assert json.loads(path.read_text(encoding="utf-8")) == {"ä": [1, None]}
    files.write_text(path, "second")
    assert path.read_text() == "second"
    assert [entry.name for entry in path.parent.iterdir()] == ["x.json"]


@pytest.mark.parametrize("content", [float("nan"), float("inf"), {"x": object()}])
def test_what_is_no_json_leaves_the_old_file(tmp_path: Path, content: object) -> None:
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
    target.write_text("a file stands here")
    with pytest.raises(OSError, match="set"), files.new_directory(target) as fresh:
        (fresh / "two").write_text("2")
    assert target.read_text() == "a file stands here"
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
