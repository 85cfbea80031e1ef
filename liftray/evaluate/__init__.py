"""Scores with intervals, and baselines next to them; `liftray.evaluate(...)` calls `liftray.api.evaluate`."""

from liftray.callable_package import make_callable

make_callable(__name__)
