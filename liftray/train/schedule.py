"""The learning rate as a pure function of the step, so that a resumed run needs no scheduler state."""

import math

from liftray.config import TrainSettings


def learning_rate(settings: TrainSettings, step: int, total_steps: int) -> float:
    """Linear warm-up, then the decay that the settings name.

    Args:
        settings: Peak, warm-up share and kind of decay.
        step: Optimizer step about to be taken, from 0.
        total_steps: Steps of the whole run.

    Returns:
        The learning rate of this step.
    """
    warmup = max(1, round(settings.warmup_ratio * total_steps))
    if step < warmup:
        return settings.lr * (step + 1) / warmup
    done = (step - warmup) / max(1, total_steps - warmup)
    if settings.schedule == "cosine":
        return settings.lr * 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))
    if settings.schedule == "linear":
        return settings.lr * max(0.0, 1 - done)
    return settings.lr
