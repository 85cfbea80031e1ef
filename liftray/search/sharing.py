"""The frozen prefixes that a search's trials share: each stored once, before the trials that read it.

Invariant: every trial of a signature reads the same stored states, which are there before it starts; the shallowest
cut is stored first, because the deeper ones are computed from it. Flow: trials' settings -> [this] -> cache.fill.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from liftray.adapt import tagger
from liftray.cache import decide, fill
from liftray.cache.prefix import StoredPrefix
from liftray.config import Settings
from liftray.progress import say
from liftray.train import launch
from liftray.train.launch import Prepared


@dataclass(frozen=True)
class Stored:
    """What was stored for a search.

    Attributes:
        read: Signature -> whether trials of it read the cache.
        held: Keeps what is read from being thrown out for as long as this object lives.
    """

    read: dict[str, bool]
    held: list[StoredPrefix]


def signature(prepared: Prepared) -> str:
    """What two runs have in common that can read the same stored states."""
    settings, feed = prepared.settings, prepared.feed
    parts = {
        "backbone": [prepared.backbone.digest, settings.backbone.dtype],
        "cut": cut(prepared),
        "stored": settings.cache.dtype,
        "data": [[dataset.digest for dataset in split.datasets] for split in (feed.train, feed.valid)],
        "max_length": settings.data.max_length,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def cut(prepared: Prepared) -> int:
    """The block whose input is the last constant state of a run."""
    settings, backbone = prepared.settings, prepared.backbone
    return tagger.entry(settings.method, settings.adapter, backbone.family, backbone.num_blocks)


class Preparer:
    """Prepares many runs that differ little: data sets and backbones are looked at once."""

    def __init__(self) -> None:
        self._found: dict[str, Prepared] = {}

    def __call__(self, settings: Settings) -> Prepared:
        """What `launch.prepare` gives, as far as signatures and stored states depend on it."""
        key = f"{settings.digest('data', 'backbone', 'task', 'ss3_map')} {settings.train.tokens_per_batch}"
        if key not in self._found:
            self._found[key] = launch.prepare(settings)
        return replace(self._found[key], settings=settings)


def store(trials: Sequence[Settings], weight: float = 1.0) -> Stored:
    """Store the prefixes of trials on the connected Ray cluster, where reading them pays or was asked for.

    Args:
        trials: Settings of the trials, or of one for each cut there may be.
        weight: Trials that each of these stands for.

    Raises:
        CacheError: The disk is full or not writable.
    """
    prepare = Preparer()
    groups = [(signature(prepared), prepared) for prepared in map(prepare, trials)]
    sizes = Counter(name for name, _ in groups)
    first = dict(reversed(groups))
    stored = Stored({}, [])
    for name, prepared in sorted(first.items(), key=lambda group: cut(group[1])):
        stored.read[name] = _store(prepared, max(1, round(weight * sizes[name])), stored.held)
    return stored


def _store(prepared: Prepared, trials: int, held: list[StoredPrefix]) -> bool:
    settings, feed, backbone = prepared.settings, prepared.feed, prepared.backbone
    prefix = launch.prefix_of(prepared)
    if prefix is None:
        return False
    # All trials of the group read what is stored once: for the decision they are one long run.
    epochs = settings.train.epochs * trials
    choice = decide.choose(prefix, feed, backbone, settings.cache, settings.scaling, epochs)
    say(f"cache: block {prefix.cut}, shared by {trials} trials: {choice.why}")
    if choice.use:
        fill.fill(prefix, feed, backbone, settings.cache, settings.scaling)
        held.append(prefix)
    return choice.use


def ordered(trials: Sequence[Settings]) -> list[int]:
    """Places of the trials in the order that shares most: those of one cut together, the shallowest first."""
    prepare = Preparer()
    keys = [(cut(prepared), signature(prepared)) for prepared in map(prepare, trials)]
    return sorted(range(len(trials)), key=lambda at: (keys[at], at))
