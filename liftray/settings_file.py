"""Reads a config file and its base.

Invariant: the result is one tree in which every key is known; only errors name the files. A file may begin with
`base: FILE`; a key that the file lacks has the base's value. A base has no base of its own, so that two files at most
determine a run. It is in the folder of the file or below, so that a config from elsewhere reads no other file of this
machine; a user who wants one elsewhere says so. Flow: `config.load` -> [this].
"""

import os
from collections.abc import Callable, Container, Mapping
from pathlib import Path
from typing import Any

from liftray import paths
from liftray.documents import read_yaml
from liftray.errors import ConfigError

BASE = "base"


def read(
    path: Path,
    check: Callable[[Mapping[str, Any], str], None],
    known: Container[str],
    *,
    base_anywhere: bool = False,
) -> tuple[dict[str, Any], str]:
    """Read a file's sections, with those of its base for what it lacks.

    Args:
        path: The file.
        check: Called with one file's tree and name; refuses unknown keys.
        known: Dotted keys whose values are taken whole, not merged.
        base_anywhere: Whether the base may be outside the file's folder.

    Returns:
        Section -> key -> value, and the files read, for errors of values.

    Raises:
        ConfigError: The file or its base is missing or no YAML mapping, the base has a base or is
            outside the file's folder, or `check` refuses.
    """
    tree = _mapping(path, "give --config one of configs/*.yaml")
    has_base = BASE in tree
    named = tree.pop(BASE, None)
    check(tree, str(path))
    if not has_base:
        return tree, str(path)
    below_path = _base_path(path, named, base_anywhere)
    below = _mapping(below_path, f"{path} names it as its {BASE}, which must be in the same folder")
    if BASE in below:
        itself = below_path.resolve() == path.resolve()
        what = f"it is its own {BASE}" if itself else f"its {BASE} {below_path} has a {BASE} itself"
        raise ConfigError(what, where=str(path), remedy=f"name a file that has no {BASE}")
    check(below, str(below_path))
    return _over(below, tree, known), f"{path} over {below_path}"


def _base_path(path: Path, named: object, anywhere: bool) -> Path:
    """The base that a file names."""
    remedy = "name a config in the same folder, such as base.yaml"
    if not isinstance(named, str) or not named or paths.is_address(named):
        raise ConfigError(f"{BASE} is {named!r}", where=str(path), remedy=remedy)
    below = path.parent / paths.local(named)
    if anywhere:
        return below
    # Both readings of a link count: the folder of the file as named, and of the file itself (a mounted ConfigMap).
    folders = {path.parent.resolve(), path.resolve().parent}
    lexical = Path(os.path.abspath(below))
    inside = lexical.is_relative_to(os.path.abspath(path.parent))
    if Path(named).is_absolute() or not inside or not any(map(below.resolve().is_relative_to, folders)):
        raise ConfigError(
            f"{BASE} is {named!r}, outside the folder of the config",
            where=str(path),
            remedy=f"{remedy}, or allow it with --base-anywhere",
        )
    return below


def _over(
    below: Mapping[str, Any], tree: Mapping[str, Any], known: Container[str], prefix: str = ""
) -> dict[str, Any]:
    merged = dict(below)
    for name, value in tree.items():
        key = f"{prefix}{name}"
        is_section = key not in known and isinstance(value, Mapping) and isinstance(below.get(name), Mapping)
        merged[name] = _over(below[name], value, known, f"{key}.") if is_section else value
    return merged


def _mapping(path: Path, if_missing: str) -> dict[str, Any]:
    if not path.exists():
        raise ConfigError("no such file", where=str(path), remedy=if_missing)
    tree = read_yaml(path, remedy="see configs/quickstart.yaml")
    if not isinstance(tree, dict):
        raise ConfigError(
            "a config is a mapping of sections", where=str(path), remedy="see configs/quickstart.yaml"
        )
    return tree
