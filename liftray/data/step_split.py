"""How a global step of a given number of tokens is split over workers and accumulation.

Invariant: which chains form a global step does not depend on the number of workers; only the split into micro-batches
does. Every worker has a micro-batch in every turn, and none is larger than `train.tokens_per_batch`. Pure.
Flow: settings -> [this] -> prepare, feed, memory estimate.
"""

from dataclasses import dataclass

from liftray.errors import ConfigError
from liftray.sections import TrainSettings


@dataclass(frozen=True)
class StepSplit:
    """The split of a global step that is given in tokens.

    Attributes:
        tokens: Most tokens of a global step.
        parts: Micro-batches of a global step: workers x accumulation.
        largest: Most tokens of a micro-batch.
    """

    tokens: int
    parts: int
    largest: int

    @classmethod
    def of(cls, train: TrainSettings, window: int, workers: int) -> "StepSplit | None":
        """Split a global step into as few micro-batches as fit, the same number for each worker.

        Args:
            train: `tokens_per_step`, and `tokens_per_batch`, the limit of a micro-batch.
            window: Most tokens of a window.
            workers: Number of workers.

        Returns:
            The split; None where `tokens_per_step` is not set and the batch is given in micro-batches.

        Raises:
            ConfigError: The step has too few tokens for so many workers, or a micro-batch would exceed the limit.
        """
        tokens, limit = train.tokens_per_step, train.tokens_per_batch
        if tokens is None:
            return None
        most_parts = tokens // window
        if workers > most_parts:
            raise ConfigError(
                f"train.tokens_per_step={tokens} is too small to be split over {workers} workers: a window takes up "
                f"to {window} tokens",
                remedy=f"set scaling.num_workers to {most_parts} at most, or train.tokens_per_step to "
                f"{workers * window} at least"
                if most_parts
                else f"set train.tokens_per_step to {workers * window} at least",
            )
        largest = tokens
        for parts in range(workers, most_parts + 1, workers):
            # Windows are not divided, so a micro-batch may exceed the mean by less than one window.
            largest = tokens if parts == 1 else -(-tokens // parts) + window
            if largest <= limit:
                return cls(tokens, parts, largest)
        raise ConfigError(
            f"train.tokens_per_batch={limit} is too small to split train.tokens_per_step={tokens} over {workers} "
            "workers",
            remedy=f"set train.tokens_per_batch to {largest} at least",
        )
