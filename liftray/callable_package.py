"""Packages that share their name with a public function: `liftray.train` is a package and can be called.

Invariant: `from liftray import train` returns the same object before and after `liftray.train.loop` is imported. Python
stores an imported package as an attribute of its parent, so a function of that name would be hidden by it.
"""

import inspect
import sys
from importlib import import_module
from types import ModuleType
from typing import Any


class CallablePackage(ModuleType):
    """A package whose call is a call of the function of the same name in `liftray.api`."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Call the public function; `help(liftray.api)` documents it."""
        return self._function(*arguments, **options)

    @property
    def __signature__(self) -> inspect.Signature:
        """The public function's signature, which notebooks show."""
        return inspect.signature(self._function)

    @property
    def _function(self) -> Any:
        return getattr(import_module("liftray.api"), self.__name__.rpartition(".")[2])


def make_callable(name: str) -> None:
    """Make an imported package callable.

    Args:
        name: The package's `__name__`.
    """
    sys.modules[name].__class__ = CallablePackage
