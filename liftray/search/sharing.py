"""The frozen prefixes that a search's trials share: each stored once, before the trials that read it.

Invariant: every trial of a signature reads the same stored states, which are stored before it starts. One pass fills
the prefixes of trials that differ in their cuts alone. Flow: trials' settings -> [this] -> cache.fill.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from liftray.cache import decide, fill
from liftray.cache.prefix import StoredPrefix
from liftray.config import Settings
from liftray.progress import show_line
from liftray.sections import ScalingSettings
from liftray.train.prepare import PreparedRun, prepare_run


@dataclass(frozen=True)
class StoredPrefixes:
    """The prefixes that were stored for a search.

    Attributes:
        read: Signature -> whether trials of it read the cache.
        held: The prefixes, with leases on their shards while this object lives.
    """

    read: dict[str, bool]
    held: list[StoredPrefix]


def signature(prepared: PreparedRun) -> str:
    """Digest that is equal for runs that can read the same stored states."""
    settings, feed = prepared.settings, prepared.feed
    parts = {
        "backbone": [prepared.backbone.digest, settings.backbone.dtype],
        "cut": prepared.cut.entry,
        "stored": settings.cache.dtype,
        "data": [[dataset.digest for dataset in split.datasets] for split in (feed.train, feed.valid)],
        "max_length": settings.data.max_length,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


class Preparer:
    """Prepares many runs that differ little: data sets and backbones are read once."""

    def __init__(self) -> None:
        self._found: dict[str, PreparedRun] = {}

    def __call__(self, settings: Settings) -> PreparedRun:
        """The run as `prepare_run` makes it, in all that signatures and stored states depend on."""
        shared = settings.digest("data", "backbone", "task", "ss3_map", "scaling")
        key = f"{shared} {settings.head.kind} {settings.train.tokens_per_batch} {settings.train.tokens_per_step}"
        if key not in self._found:
            self._found[key] = prepare_run(settings)
        return self._found[key].with_settings(settings)


def store(trials: Sequence[Settings], at_a_time: int, weight: float = 1.0) -> StoredPrefixes:
    """Store the prefixes of trials on the connected Ray cluster, where reading them pays or the settings ask for it.

    Args:
        trials: Settings of the trials, or of one for each cut there may be.
        at_a_time: Trials that will run at the same time; the fill uses the resources of all their workers.
        weight: Number of trials that each of these represents.

    Raises:
        CacheError: The disk is full or not writable.
    """
    prepare = Preparer()
    groups = [(signature(prepared), prepared) for prepared in map(prepare, trials)]
    sizes = Counter(name for name, _ in groups)
    stored = StoredPrefixes({}, [])
    passes: dict[tuple[str, ...], list[tuple[PreparedRun, StoredPrefix]]] = {}
    promised = 0
    for name, prepared in dict(groups).items():
        prefix, writes = _chosen(prepared, max(1, round(weight * sizes[name])), at_a_time, promised)
        stored.read[name] = prefix is not None
        if prefix is not None:
            promised += writes
            passes.setdefault(_pass(prepared, prefix), []).append((prepared, prefix))
    for together in passes.values():
        prefixes = [prefix for _, prefix in together]
        one = together[0][0]
        fill.fill(prefixes, one.feed, one.backbone, one.settings.cache, _of_all(one, at_a_time))
        stored.held.extend(prefixes)
    return stored


def _of_all(prepared: PreparedRun, at_a_time: int) -> ScalingSettings:
    """The workers of several runs at the same time."""
    scaling = prepared.settings.scaling
    return scaling.model_copy(update={"num_workers": scaling.num_workers * at_a_time})


def _chosen(
    prepared: PreparedRun, trials: int, at_a_time: int, promised: int
) -> tuple[StoredPrefix | None, int]:
    """The prefix of a group of trials, where reading it pays or the settings ask for it, and the bytes to write."""
    settings, feed, backbone = prepared.settings, prepared.feed, prepared.backbone
    prefix = prepared.stored_prefix()
    if prefix is None:
        return None, 0
    # All trials of the group read what is stored once: for the decision they are one long run.
    epochs = settings.train.epochs * trials
    scaling = _of_all(prepared, at_a_time)
    choice = decide.choose(prefix, feed, backbone, settings.cache, scaling, epochs, promised)
    show_line(f"cache: block {prefix.block}, shared by {trials} trials: {choice.why}")
    return (prefix, choice.writes) if choice.use else (None, 0)


def _pass(prepared: PreparedRun, prefix: StoredPrefix) -> tuple[str, ...]:
    """Key that is equal for prefixes that one job can fill."""
    return (
        prefix.root,
        prefix.key.lineage(),
        *(hashlib.sha256(ids.tobytes()).hexdigest() for ids in prefix.ids.values()),
    )


def ordered(trials: Sequence[Settings]) -> list[int]:
    """Places of the trials in the order that shares most: those of one cut together, the shallowest first."""
    prepare = Preparer()
    keys = [(prepared.cut.entry, signature(prepared)) for prepared in map(prepare, trials)]
    return sorted(range(len(trials)), key=lambda at: (keys[at], at))
