"""What every public function shares: its preparation, its errors and the default MLflow store."""

import functools
import os
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from liftray import environment
from liftray.errors import find_liftray_error

AnyPath = str | os.PathLike[str]
_P = ParamSpec("_P")
_R = TypeVar("_R")


def public(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Make a function public: it prepares the environment, and raises the LiftrayError behind an error of Ray.

    Args:
        function: The function that does the work.

    Returns:
        The function with the same signature and documentation.
    """

    @functools.wraps(function)
    def wrapped(*arguments: _P.args, **options: _P.kwargs) -> _R:
        environment.prepare()
        try:
            return function(*arguments, **options)
        except Exception as error:
            known = find_liftray_error(error)
            if known is None or known is error:
                raise
            raise known from error

    return wrapped


def tracking_store(tracking_uri: str | None) -> str:
    """The MLflow store that a call uses.

    Args:
        tracking_uri: The caller's choice; None: MLFLOW_TRACKING_URI, else `sqlite:///mlflow.db`.

    Returns:
        The store's URI.
    """
    return tracking_uri or os.environ.get("MLFLOW_TRACKING_URI") or "sqlite:///mlflow.db"
