"""Paths as users give them: `~` is the home directory, and an address is no directory of this machine.

Invariant: what `local` and `place` return is used as it is; nothing else expands a user's path or looks at its scheme.
Pure, but for a look at the home directory. Flow: settings, options, calls -> [this].
"""

import os
import re
from pathlib import Path

from liftray.errors import ConfigError

# One letter alone would be a drive.
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")
# Backbones by name, which are no paths.
_NAMED = ("hf:", "package:")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def is_address(path: str | os.PathLike[str]) -> bool:
    """Whether a path begins with a scheme, such as `s3://`."""
    return _ADDRESS.match(os.fspath(path)) is not None


def local(path: str | os.PathLike[str]) -> str:
    """A path of this machine, with `~` expanded.

    Raises:
        ConfigError: It is an address, is of an unknown user, or has a control character.
    """
    text = os.fspath(path)
    if is_address(text):
        raise ConfigError(
            f"{text!r} is an address, and only a path of this machine works here", remedy="give a local path"
        )
    return _expanded(text)


def place(path: str | os.PathLike[str]) -> str:
    """A path of this machine with `~` expanded, or an address as it is.

    Raises:
        ConfigError: The path is of an unknown user, or has a control character.
    """
    text = os.fspath(path)
    return text if is_address(text) else _expanded(text)


def absolute(path: str) -> str:
    """The same place from any working directory: an address or a named source as it is, a path made absolute."""
    return path if is_address(path) or path.startswith(_NAMED) else str(Path(path).resolve())


def _expanded(text: str) -> str:
    if _CONTROL.search(text):
        raise ConfigError(f"the path {text!r} has a control character", remedy="rename it")
    expanded = os.path.expanduser(text)
    if expanded.startswith("~") and not os.path.lexists(expanded):
        raise ConfigError(
            f"no home directory is known for {text!r}", remedy=f"write ./{text} for a relative path"
        )
    return expanded
