"""The search space: config keys and their values, as Ray Tune wants them.

Invariant: every combination is a valid config before the first trial starts. Flow: settings.search -> [this] -> tune.
"""

import hashlib
import itertools
import json
from collections.abc import Mapping
from typing import Any

from liftray.adapt import kinds
from liftray.config import Settings
from liftray.errors import ConfigError


def check(settings: Settings, num_blocks: int, backbone: str) -> int:
    """Refuse a space with a value that no trial could run.

    Args:
        settings: The search's settings.
        num_blocks: Blocks of the backbone.
        backbone: Its name, for the error.

    Returns:
        Number of trials.

    Raises:
        ConfigError: The space is empty, or a combination is no valid config.
    """
    space = settings.search.space
    if not space:
        raise ConfigError(
            "search.space is empty", remedy="name keys and values, such as adapter.skip_layers: [2, 4]"
        )
    for combination in itertools.product(*space.values()):
        trial = settings.replace(dict(zip(space, combination, strict=True)))
        if trial.method == "adapter":
            kinds.check(trial.adapter, num_blocks, backbone)
    grid = 1
    for values in space.values():
        grid *= len(values)
    return grid if settings.search.method == "grid" else settings.search.num_trials


def parameters(settings: Settings) -> dict[str, Any]:
    """The space as Ray Tune's domains: every combination (grid), or values drawn at random."""
    from ray import tune

    make = tune.grid_search if settings.search.method == "grid" else tune.choice
    return {key: make(values) for key, values in settings.search.space.items()}


def trial_name(overrides: Mapping[str, Any]) -> str:
    """A directory name that a combination always has, so that a repeated search finds its trials."""
    text = json.dumps(dict(sorted(overrides.items())), default=str)
    told = "-".join(f"{key.rpartition('.')[2]}={value}" for key, value in sorted(overrides.items()))
    safe = "".join(letter if letter.isalnum() or letter in "=-._" else "_" for letter in told)
    return f"{safe[:80]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
