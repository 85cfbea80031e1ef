"""A config file over its base: a value of the file wins, one level deep, and errors name the file that causes them."""

from pathlib import Path

import pytest

from liftray.config import load, to_yaml
from liftray.errors import ConfigError

BASE = """
data:
  train: {a: x, b: y}
adapter: {kind: lora, reduction_factor: 8}
train: {lr: 3.0e-4, epochs: 7}
"""


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / "base.yaml").write_text(BASE)
    return tmp_path


def _write(folder: Path, text: str, name: str = "run.yaml") -> Path:
    (folder / name).write_text(text)
    return folder / name


def test_the_file_wins_and_the_base_fills_in(base: Path) -> None:
    path = _write(base, "base: base.yaml\ntrain: {epochs: 2}\ntask: ss9\n")
    found = load(path, ["adapter.reduction_factor=16"])
    assert (found.train.epochs, found.train.lr, found.task) == (2, 3e-4, "ss9")
    assert (found.adapter.kind, found.adapter.reduction_factor) == ("lora", 16)
    assert found.data.train == {"a": "x", "b": "y"}


def test_sets_that_are_named_anew_are_not_mixed(base: Path) -> None:
    assert load(_write(base, "base: base.yaml\ndata: {train: {c: z}}\n")).data.train == {"c": "z"}


def test_a_base_lies_beside_its_file_wherever_the_job_runs(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (base / "deeper").mkdir()
    _write(base / "deeper", BASE)
    path = _write(base, "base: deeper/run.yaml\n")
    monkeypatch.chdir("/")
    assert load(path).train.epochs == 7


@pytest.mark.parametrize(
    "named", ["../base.yaml", "./../base.yaml", "inner/../../base.yaml", "link.yaml", "~/base.yaml"]
)
def test_a_base_outside_the_folder_is_read_only_where_the_user_allows_it(
    base: Path, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(base))
    folder = base / "deeper"
    (folder / "inner").mkdir(parents=True)
    (folder / "link.yaml").symlink_to(base / "base.yaml")
    path = _write(folder, f"base: {named}\n")
    with pytest.raises(ConfigError, match=r"run.yaml: base is .*, outside the folder .*--base-anywhere"):
        load(path)
    assert load(path, base_anywhere=True).train.epochs == 7


def test_an_absolute_base_is_read_only_where_the_user_allows_it(base: Path) -> None:
    path = _write(base, f"base: {base / 'base.yaml'}\n")
    with pytest.raises(ConfigError, match="outside the folder"):
        load(path)
    assert load(path, base_anywhere=True).train.epochs == 7


def test_the_links_of_a_mounted_config_map_are_followed(base: Path) -> None:
    (base / "..2026").mkdir()
    for name in ("base.yaml", "run.yaml"):
        (base / "..2026" / name).write_text(BASE if name == "base.yaml" else "base: base.yaml\n")
        (base / name).unlink(missing_ok=True)
        (base / name).symlink_to(Path("..2026") / name)
    assert load(base / "run.yaml").train.epochs == 7


def test_the_printed_config_is_resolved(base: Path, tmp_path: Path) -> None:
    found = load(_write(base, "base: base.yaml\ntrain: {epochs: 2}\n"))
    printed = to_yaml(found)
    assert "base:" not in printed
    assert load(_write(tmp_path, printed, "again.yaml")) == found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("base: run.yaml\n", "run.yaml: it is its own base; name a file that has no base"),
        ("base: middle.yaml\n", "run.yaml: its base .*middle.yaml has a base itself"),
        ("base: absent.yaml\n", "absent.yaml: no such file; .*run.yaml names it as its base"),
        ("base: /etc/passwd\n", "run.yaml: base is '/etc/passwd'"),
        ("base: [base.yaml]\n", r"base is \['base.yaml'\]"),
        ("base: ''\n", "base is ''"),
        ("base:\n", "run.yaml: base is None"),
        ("base: bad.yaml\n", "run.yaml over .*bad.yaml: train.epochs: .*given: -1"),
        ("base: wrong.yaml\n", "wrong.yaml: unknown key train.epoch; did you mean train.epochs"),
        ("base: list.yaml\n", "list.yaml: a config is a mapping of sections"),
        ("base: base.yaml\ntrain: {epoch: 1}\n", "run.yaml: unknown key train.epoch"),
        ("base: base.yaml\ntrain: 3\n", "run.yaml: train is a section, not a value"),
    ],
)
def test_errors_name_the_file_at_fault(base: Path, text: str, message: str) -> None:
    _write(base, "base: base.yaml\n", "middle.yaml")
    _write(base, "train: {epoch: 3}\n", "wrong.yaml")
    _write(base, "- 1\n", "list.yaml")
    _write(base, "train: {epochs: -1}\n", "bad.yaml")
    with pytest.raises(ConfigError, match=message):
        load(_write(base, text))


def test_a_base_is_no_key(base: Path) -> None:
    with pytest.raises(ConfigError, match="unknown key base"):
        load(None, ["base=base.yaml"])
