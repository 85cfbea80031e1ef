"""The job that fills the frozen-prefix cache ahead of training.

Invariant: it fills what `launch.fit` fills under the same settings, and nothing else. Flow: jobs/cache.py -> [this] ->
fill -> store.
"""

from pathlib import Path
from typing import Any

from liftray import files
from liftray.cache import fill
from liftray.cache.store import Store
from liftray.config import Settings
from liftray.errors import ConfigError
from liftray.progress import show_line
from liftray.train import cluster
from liftray.train.prepare import prepare_run

SUMMARY = "summary.json"


def prefill(settings: Settings) -> dict[str, Any]:
    """Fill the cache that a run with these settings would read.

    Args:
        settings: A run's settings; `cache.enabled` has no effect.

    Returns:
        The content of `summary.json` in the store's directory.

    Raises:
        InputError: The user's input is invalid; nothing was written.
        CacheError: The disk is full or not writable; committed entries remain.
    """
    prepared = prepare_run(settings)
    show_line(prepared.backbone.describe())
    prefix = prepared.stored_prefix()
    if prefix is None:
        raise ConfigError(
            "no block is constant, so there is nothing to store",
            remedy="set adapter.skip_layers to 1 or more, or method=features",
        )
    cluster.check(settings.run, settings.scaling)
    with cluster.connected(settings.run, settings.scaling):
        fill.fill([prefix], prepared.feed, prepared.backbone, settings.cache, settings.scaling)
    store = Store.open(prefix.root, prefix.key)
    held = store.size()
    summary = {
        "directory": str(Path(store.directory).resolve()),
        "block": prefix.block,
        "dtype": prefix.stored,
        "entries": held.entries,
        "shards": held.shards,
        "gigabytes": round(held.bytes / 1e9, 3),
    }
    files.write_json(store.directory / SUMMARY, summary)
    return summary
