"""Reads a config file and its base.

Invariant: the result is one tree in which every key is known; only errors name the files. A file may begin with
`base: FILE`; a key that the file lacks has the base's value. A base has no base of its own, so that two files at most
determine a run. Flow: `config.load` -> [this].
"""

from collections.abc import Callable, Container, Mapping
from pathlib import Path
from typing import Any

import yaml

from liftray.errors import ConfigError

BASE = "base"


def read(
    path: Path, check: Callable[[Mapping[str, Any], str], None], known: Container[str]
) -> tuple[dict[str, Any], str]:
    """Read a file's sections, with those of its base for what it lacks.

    Args:
        path: The file.
        check: Called with one file's tree and name; refuses unknown keys.
        known: Dotted keys whose values are taken whole, not merged.

    Returns:
        Section -> key -> value, and the files read, for errors of values.

    Raises:
        ConfigError: The file or its base is missing or no YAML mapping, the base has a base, or `check` refuses.
    """
    tree = _mapping(path, "give --config one of configs/*.yaml")
    has_base = BASE in tree
    named = tree.pop(BASE, None)
    check(tree, str(path))
    if not has_base:
        return tree, str(path)
    if not isinstance(named, str) or not named or Path(named).is_absolute():
        raise ConfigError(
            f"{BASE} is {named!r}",
            where=str(path),
            remedy="name a config in the same folder, such as base.yaml",
        )
    below_path = path.parent / named
    below = _mapping(below_path, f"{path} names it as its {BASE}, which must be in the same folder")
    if BASE in below:
        itself = below_path.resolve() == path.resolve()
        what = f"it is its own {BASE}" if itself else f"its {BASE} {below_path} has a {BASE} itself"
        raise ConfigError(what, where=str(path), remedy=f"name a file that has no {BASE}")
    check(below, str(below_path))
    return _over(below, tree, known), f"{path} over {below_path}"


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
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError("no such file", where=str(path), remedy=if_missing) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the config ({error})", where=str(path)) from error
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"not valid YAML ({error})", where=str(path)) from error
    if not isinstance(tree, dict):
        raise ConfigError(
            "a config is a mapping of sections", where=str(path), remedy="see configs/quickstart.yaml"
        )
    return tree
