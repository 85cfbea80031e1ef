"""Reads `KEY=VALUE` texts of the command line.

Invariant: a value of a key that takes text is that text to the letter: `#`, `:`, `*` and other signs of YAML mean
themselves. Only quotes around the whole of it, and `null` for a key that may be null, are read as YAML. Values of all
other keys are YAML. Flow: command line -> [this] -> config.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from liftray import limits
from liftray.documents import parse_yaml
from liftray.errors import ConfigError

WHERE = "on the command line"
_SCIENTIFIC = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")


def parse(overrides: Sequence[str], kinds: Mapping[str, str], text_maps: Sequence[str]) -> dict[str, Any]:
    """Dotted key -> value; of a key given twice, the last counts.

    Args:
        overrides: `KEY=VALUE` texts.
        kinds: Dotted key -> its type, as `config.keys` writes it.
        text_maps: Keys that map names of the user's choice to texts.

    Raises:
        ConfigError: A text has another form, or is not the YAML that its key wants.
    """
    found = {}
    for override in overrides:
        key, sign, text = override.partition("=")
        if not sign:
            raise ConfigError(f"{override!r} is not KEY=VALUE", remedy="write for example train.epochs=3")
        if re.search("[\ud800-\udfff]", override):  # what a shell passes on as it is
            raise ConfigError(f"{override!a} is not UTF-8", where=WHERE, remedy="write it in UTF-8")
        key = key.strip()
        of_map = any(key.startswith(f"{name}.") for name in text_maps)
        found[key] = _value(text, "str" if of_map else kinds.get(key, ""))
    return found


def _value(text: str, kind: str) -> Any:
    if not text.strip():
        return ""  # A shell passes `registry.name=""` on as nothing; YAML would read null.
    if kind in ("str", "str|null"):
        return _text(text, nullable=kind != "str")
    if kind == "list[str]" and not text.lstrip().startswith("["):  # one of a list
        return _text(text, nullable=False)
    return _yaml(text)


def _text(text: str, *, nullable: bool) -> str | None:
    bare = text.strip()
    if bare == "null" or (nullable and bare == "~"):
        return None
    if len(bare) > 1 and bare[0] == bare[-1] and bare[0] in "'\"":
        value = _yaml(bare)
        return value if isinstance(value, str) else text
    return text


def _yaml(text: str) -> Any:
    if len(text) > limits.OVERRIDE_CHARACTERS:
        what = f"a value of over {limits.OVERRIDE_CHARACTERS:,} characters"
        raise ConfigError(what, where=WHERE, remedy="write it in a config file")
    return _numbers(
        parse_yaml(text, where=f"{WHERE}, {text[:100]!r}", remedy="put texts with signs in quotes")
    )


def _numbers(value: Any) -> Any:
    """Read 1e-3 as a number; YAML 1.1 reads a string."""
    if isinstance(value, list):
        return [_numbers(one) for one in value]
    if isinstance(value, dict):
        return {key: _numbers(one) for key, one in value.items()}
    return float(value) if isinstance(value, str) and _SCIENTIFIC.fullmatch(value) else value
