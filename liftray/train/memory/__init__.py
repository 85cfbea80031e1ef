"""Memory of a training worker: what it needs at its peak, estimated before anything is loaded, and reported."""

from liftray.train.memory.estimate import (
    LARGEST_BUCKET,
    Memory,
    device_of,
    forward,
    micro_batch_tokens,
    training,
)
from liftray.train.memory.report import USABLE, remedies, report

__all__ = [
    "LARGEST_BUCKET",
    "USABLE",
    "Memory",
    "device_of",
    "forward",
    "micro_batch_tokens",
    "remedies",
    "report",
    "training",
]
