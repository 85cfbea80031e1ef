"""JSON and YAML of unknown origin as plain Python values, with a bound on time and memory.

Invariant: what leaves here is a tree of null, booleans, numbers, valid Unicode texts, lists and mappings, without
shared or circular parts, within `limits`; anything else is an error of the caller's class that names the file.
Flow: `input_files` -> [this] -> configs, policies, descriptions of data sets, backbones and bundles.
"""

import json
import math
import re
from pathlib import Path
from typing import Any

import yaml

from liftray import limits
from liftray.errors import ConfigError, DataError, InputError
from liftray.input_files import read_input

_LONG_NUMBER = re.compile(rf"[0-9_]{{{limits.NUMBER_DIGITS + 1}}}")
_SHOWN = 300
_AGAIN = "write or fetch the file again"


def read_json(
    path: str | Path,
    *,
    max_bytes: int = limits.JSON_BYTES,
    error: type[InputError] = DataError,
    remedy: str = _AGAIN,
) -> Any:
    """Read a JSON file.

    Args:
        path: A regular file, not compressed.
        max_bytes: The most that it may have.
        error: Class of the errors.
        remedy: What the errors of its content advise.

    Raises:
        InputError: Of class `error`: the file is missing, too large, or `parse_json` refuses it.
    """
    content = read_input(path, max_bytes=max_bytes, error=error, inflated=False)
    return parse_json(content, where=str(path), error=error, remedy=remedy)


def parse_json(
    content: bytes | str,
    *,
    where: str,
    error: type[InputError] = DataError,
    remedy: str = _AGAIN,
    ours: bool = False,
) -> Any:
    """Parse one JSON value; a mapping that names a key twice is refused.

    Args:
        content: UTF-8 bytes, or text.
        where: The file, or what else holds the value, for the errors.
        error: Class of the errors.
        remedy: What the errors advise.
        ours: Written by LiftRay: one mapping, no NaN or infinity, and numbers of 64 bits.

    Raises:
        InputError: Of class `error`: no JSON, not UTF-8, nested over `limits.NESTING`, or an absurd number.
    """
    options: dict[str, Any] = {"parse_int": _integer}
    if ours:
        options = {"parse_int": _integer_64, "parse_float": _finite, "parse_constant": _no_constant}
    try:
        text = content.decode("utf-8-sig") if isinstance(content, bytes) else content
        _check_json_nesting(text)
        tree = json.loads(text, object_pairs_hook=_mapping, **options)
        if ours and not isinstance(tree, dict):
            raise ValueError("no mapping")
        if "\\u" in text or not isinstance(content, bytes):
            _check_values(tree)
    except (ValueError, RecursionError) as fault:
        raise error(f"not JSON ({_short(fault)})", where=where, remedy=remedy) from fault
    return tree


def read_yaml(path: str | Path, *, error: type[InputError] = ConfigError, remedy: str = _AGAIN) -> Any:
    """Read a YAML file; errors as `read_json`."""
    content = read_input(path, max_bytes=limits.CONFIG_BYTES, error=error, inflated=False)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        raise error(
            f"not UTF-8 text ({_short(fault)})", where=str(path), remedy="save it as UTF-8"
        ) from fault
    return parse_yaml(text, where=str(path), error=error, remedy=remedy)


def parse_yaml(
    text: str, *, where: str, error: type[InputError] = ConfigError, remedy: str | None = None
) -> Any:
    """Parse one YAML document of plain values; a mapping that names a key twice is refused.

    Args:
        text: The document.
        where: The file, or what else holds it, for the errors.
        error: Class of the errors.
        remedy: What the errors advise.

    Raises:
        InputError: Of class `error`: no YAML, of over `limits.CONFIG_NODES` values or nested over `limits.NESTING`, or
            it holds a date, a tag or another value that JSON lacks.
    """
    try:
        if _LONG_NUMBER.search(text):
            raise ValueError(f"a number of over {limits.NUMBER_DIGITS} digits")
        tree = yaml.load(text, Loader=_Loader)
        _check_values(tree)
    # Bad numbers, dates, escapes and tags leave PyYAML as these.
    except (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as fault:
        raise error(f"not valid YAML ({_short(fault)})", where=where, remedy=remedy) from fault
    return tree


class _Loader(yaml.SafeLoader):
    """The safe loader with bounds on depth and size, both checked before anything is built."""

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self._depth = 0
        self._count = 0
        self._sizes: dict[int, int] = {}  # of each finished node, the values under it

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        before = self._count
        self._depth += 1
        if self._depth > limits.NESTING:
            raise _refused(f"nested over {limits.NESTING} deep", event)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if not isinstance(event, yaml.AliasEvent):
            self._count += 1
            self._sizes[id(node)] = self._count - before
            if isinstance(node, yaml.MappingNode):
                self._check_keys(node)
        elif id(node) in self._sizes:
            self._count += self._sizes[id(node)]
        else:
            raise _refused("an alias of itself", event)
        if self._count > limits.CONFIG_NODES:
            raise _refused(f"over {limits.CONFIG_NODES} values, with those that aliases repeat", event)
        return node

    @staticmethod
    def _check_keys(node: Any) -> None:
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if (key.tag, key.value) in seen:
                raise _refused(f"key {key.value!r} twice", key)
            seen.add((key.tag, key.value))


def _short(fault: Exception) -> str:
    text = " ".join(str(fault).split())
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _refused(what: str, place: Any) -> yaml.YAMLError:
    return yaml.composer.ComposerError(None, None, what, place.start_mark)


def _check_json_nesting(text: str) -> None:
    depth = 0
    for found in _STRUCTURE.finditer(text):
        sign = found.group()
        depth += (sign in "[{") - (sign in "]}")
        if depth > limits.NESTING:
            raise ValueError(f"nested over {limits.NESTING} deep")


# Texts are matched whole, so that brackets inside them do not count.
_STRUCTURE = re.compile(r'"(?:[^"\\]+|\\.)*+"?|[\[\]{}]', re.DOTALL)


def _mapping(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    tree = dict(pairs)
    if len(tree) != len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"key {next(name for name in names if names.count(name) > 1)!r} twice")
    return tree


def _integer(digits: str) -> int:
    if len(digits) > limits.NUMBER_DIGITS:
        raise ValueError(f"a number of over {limits.NUMBER_DIGITS} digits")
    return int(digits)


def _integer_64(digits: str) -> int:
    number = _integer(digits)
    if abs(number) >= 1 << 64:
        raise ValueError("a number of over 64 bits")
    return number


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text[:_SHOWN]} is too large")
    return number


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


def _check_values(tree: Any) -> None:
    """Refuse what JSON lacks (YAML reads some texts as dates), and half characters, which no output can hold."""
    pending = [tree]
    while pending:
        one = pending.pop()
        if isinstance(one, str):
            one.encode("utf-8")
        elif isinstance(one, dict):
            pending += [*one.keys(), *one.values()]
        elif isinstance(one, list):
            pending += one
        elif (
            isinstance(one, int) and one.bit_length() > 4 * limits.NUMBER_DIGITS
        ):  # base 60 has short spellings
            raise ValueError(f"a number of over {limits.NUMBER_DIGITS} digits")
        elif not isinstance(one, int | float | None):
            raise ValueError(f"{one} is read as a {type(one).__name__}; put it in quotes")
