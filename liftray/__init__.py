"""LiftRay: adapter fine-tuning of protein language models for secondary structure prediction, on Ray.

The public functions are `load`, `predict`, `ingest`, `train`, `evaluate`, `search` and `promote`; see `liftray.api`.
Importing this package imports none of torch, ray, deepspeed, mlflow, adapters, transformers or pandas.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from liftray.api import evaluate as evaluate
    from liftray.api import ingest as ingest
    from liftray.api import load as load
    from liftray.api import predict as predict
    from liftray.api import promote as promote
    from liftray.api import search as search
    from liftray.api import train as train
    from liftray.errors import LiftrayError as LiftrayError

# oneDNN keeps what it built for each shape that it met, 1,024 of them by default. Packed batches have a new shape each:
# a process that trains a convolutional head on a CPU would grow with each step. What a step uses again is fewer.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")

__version__ = "0.1.0"
__all__ = ["LiftrayError", "evaluate", "ingest", "load", "predict", "promote", "search", "train"]

_PACKAGES = ("evaluate", "predict", "search", "train")


def __getattr__(name: str) -> Any:
    """Import a public name on first use (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in _PACKAGES:
        return import_module(f"{__name__}.{name}")  # callable: see `callable_package`
    return getattr(import_module("liftray.errors" if name == "LiftrayError" else "liftray.api"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
