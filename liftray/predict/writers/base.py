"""The base classes of the writers, and file names for chains.

Invariant: a chain's id never chooses a directory. Flow: predictor -> writers -> files.
"""

import re
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt

from liftray.data.labels import STATES
from liftray.predict.prediction import ModelStamp, Prediction

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_NAME_LENGTH = 64


class Writer(ABC):
    """Writes predictions one after the other, as a context manager.

    Attributes:
        output: Name of the file or directory that it makes.

    Args:
        directory: Where to make it.
        stamp: The model that the predictions are from.
    """

    output: ClassVar[str]

    def __init__(self, directory: Path, stamp: ModelStamp) -> None:
        self.path = directory / self.output
        self.stamp = stamp

    @abstractmethod
    def write(self, prediction: Prediction, record: int) -> None:
        """Add one chain; `record` is its number in the input, from 1, which distinguishes equal ids."""

    @abstractmethod
    def close(self) -> None:
        """Finish the output."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class ChainFiles(Writer):
    """A writer that makes a directory with a file for each chain, named `NUMBER_ID.suffix`."""

    suffix: ClassVar[str]

    def __init__(self, directory: Path, stamp: ModelStamp) -> None:
        super().__init__(directory, stamp)
        self.path.mkdir()

    def write(self, prediction: Prediction, record: int) -> None:
        """Write the chain's file; see `Writer.write`."""
        path = self.path / f"{record:06d}_{file_name(prediction.id)}{self.suffix}"
        path.write_text(self.text(prediction), encoding="utf-8", newline="\n")

    @abstractmethod
    def text(self, prediction: Prediction) -> str:
        """The content of the chain's file."""

    @staticmethod
    def named(prediction: Prediction) -> str:
        """Id and description, for the file's first line."""
        return f"id={prediction.id} {prediction.description}".rstrip()

    def close(self) -> None:
        """Nothing is open between chains."""


def file_name(chain_id: str) -> str:
    """The id for use in a file name: letters, digits, `.`, `_`, `-` stay, others become `_`; 64 at most."""
    return _UNSAFE.sub("_", chain_id)[:_NAME_LENGTH]


def in_order(
    probabilities_LC: npt.NDArray[np.float32], alphabet: str, states: str
) -> npt.NDArray[np.float32]:
    """The columns in another order of the same states."""
    return probabilities_LC[:, [STATES[alphabet].index(state) for state in states]]
