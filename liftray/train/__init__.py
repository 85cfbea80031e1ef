"""Distributed adapter fine-tuning with Ray Train and DeepSpeed; `liftray.train(...)` calls `liftray.api.train`."""

from liftray.callable_package import make_callable

make_callable(__name__)
