"""The steps of a run: rank 0 appends a record every few seconds, which the driver shows; the losses of all at the end.

Invariant: all ranks read the losses of the device at the same steps, since that takes a collective. Rank 0 alone
chooses the number of steps between two readings, and the collective itself carries its choice. Ray Train's reports are
not used: each would stop all ranks until the controller has it.
Flow: loop -> [this] -> live.jsonl -> reporter -> terminal.
"""

import json
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from liftray import sealed

STEP_LOG, STEP_LOSSES = "live.jsonl", "step_losses.parquet"
_EVERY_S = 3.0
# A first step is slower than the others: the number of steps between two readings grows by this factor at most.
_GROWTH = 4


class StepLog:
    """Rank 0's record of the steps.

    Args:
        file: Where records go, on storage that the driver reads; None: nowhere.
        every_s: Seconds between two records, about.
        clock: Gives the time in seconds.
    """

    def __init__(
        self, file: Path | None, every_s: float = _EVERY_S, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._file, self._every_s, self._clock = file, every_s, clock
        self._last, self._stride = clock(), 1

    def next_stride(self) -> int:
        """Steps from this reading to the next one, judged by how long the steps since the last one took."""
        now = self._clock()
        seconds, self._last = now - self._last, now
        wanted = self._stride * self._every_s / max(seconds, 1e-6)
        self._stride = max(1, min(int(wanted), self._stride * _GROWTH))
        return self._stride

    def write(self, record: dict[str, Any]) -> None:
        """Append a record with the time; a disk that does not take it stops no training."""
        if self._file is None:
            return
        with suppress(OSError), self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps({**record, "seconds": self._clock()}) + "\n")


def write_losses(file: Path, losses: Sequence[float]) -> None:
    """Write the loss of every global step as Parquet.

    Args:
        file: Gets the columns `step` (from 1) and `loss`.
        losses: Mean loss of each global step.
    """
    import pyarrow as pa

    steps = pa.array(range(1, len(losses) + 1), pa.int64())
    sealed.write_table(file, pa.table({"step": steps, "loss": pa.array(losses, pa.float64())}))


def read_losses(file: Path) -> list[float]:
    """The loss of every global step that `write_losses` wrote.

    Raises:
        DataError: The file is missing or damaged.
    """
    losses: list[float] = sealed.read_table(file, ["loss"]).column("loss").to_pylist()
    return losses
