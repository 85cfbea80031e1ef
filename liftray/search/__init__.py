"""Hyperparameter search with Ray Tune; `liftray.search(...)` calls `liftray.api.search`."""

from liftray.callable_package import make_callable

make_callable(__name__)
