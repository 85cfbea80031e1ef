"""From a line of a table of kinds to the class that implements it."""

from functools import cache
from importlib import import_module
from typing import Any


@cache
def load(package: str, implementation: str) -> Any:
    """Import a class.

    Args:
        package: The package of all kinds of its sort, such as `liftray.adapt.heads`.
        implementation: `module:Class`, relative to it.
    """
    module, _, name = implementation.partition(":")
    return getattr(import_module(f"{package}.{module}"), name)
