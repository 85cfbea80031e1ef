"""What users write as a path or an address means the same everywhere."""

from pathlib import Path

import pytest

from liftray import paths
from liftray.errors import ConfigError


def test_home_is_expanded_and_other_paths_stay(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for given, expected in {
        "~": str(tmp_path),
        "~/a b": f"{tmp_path}/a b",
        "a/~": "a/~",
        "./~": "./~",
        "a%20b #1": "a%20b #1",
        "C:x": "C:x",
    }.items():
        assert paths.local(given) == paths.place(given) == expected
    assert paths.local(Path("~/d")) == f"{tmp_path}/d"


def test_an_unknown_home_is_refused_unless_such_a_file_exists(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"write ./~backup\.fasta for a relative path"):
        paths.local("~backup.fasta")
    Path("~backup.fasta").touch()
    assert paths.local("~backup.fasta") == "~backup.fasta"


@pytest.mark.parametrize("address", ["s3://b/d", "models:/a/1", "runs:/a/bundle", "file:///x", "dbfs:/x"])
def test_an_address_is_a_place_and_no_local_path(address: str) -> None:
    assert paths.place(address) == paths.absolute(address) == address
    with pytest.raises(ConfigError, match="is an address"):
        paths.local(address)


def test_a_place_is_the_same_from_any_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert paths.absolute("a/b") == str(tmp_path / "a/b")
    for named in ("hf:org/name@v1", "package:dist/w.bin"):
        assert paths.absolute(named) == named


@pytest.mark.parametrize("path", ["a\x00b", "a\nb", "\x1b[31m"])
def test_a_control_character_is_refused(path: str) -> None:
    with pytest.raises(ConfigError, match="control character"):
        paths.place(path)
