"""Bundles, and predictions from them; `liftray.predict(...)` calls `liftray.api.predict`."""

from liftray.callable_package import make_callable

make_callable(__name__)
