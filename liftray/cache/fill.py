"""Filling the cache: a Ray Data job that computes each window's hidden states at one block or more, each block once.

Invariant: an entry has the bytes that the uncached model computes for that window. They do not depend on the other
windows of the batch, or on the block from which the computation started. On a GPU, whose products depend on the size of
the batch, the numbers are the same to rounding. A fill that was killed computes only what is missing when it is rerun.
Flow: launch -> [this] -> actor -> store -> prefix -> feed.
"""

import importlib.metadata
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from liftray.adapt.cut import Cut
from liftray.backbone.sources import ResolvedBackbone
from liftray.cache import store as stores
from liftray.cache.actor import FillJob, PrefixActor
from liftray.cache.evict import evict
from liftray.cache.key import PrefixKey, entry_id
from liftray.cache.prefix import Ids, StoredPrefix, ids_of
from liftray.cache.store import Store
from liftray.data.batch import TRAIN, VALID
from liftray.data.feed import NOTHING, FeedSpec
from liftray.errors import CacheError
from liftray.progress import progress, show_line
from liftray.sections import CacheSettings, ScalingSettings

# Raised whenever `Backbone.run_frozen` or the codec could give other bytes for the same weights.
_PREFIX_VERSION = "2"
# A chunk is what an actor commits at a time; a kill loses one chunk of each actor.
_CHUNK_BYTES = 64 << 20
_CHUNKS_PER_ACTOR = 4


def key_of(
    backbone: ResolvedBackbone, cut: Cut, compute: str, settings: CacheSettings, use_gpu: bool
) -> PrefixKey:
    """The key of a run's hidden states at its cut."""
    versions = {name: importlib.metadata.version(name) for name in ("torch", "transformers")}
    return PrefixKey(
        backbone=backbone.digest,
        block=cut.entry,
        width=backbone.width,
        compute=compute,
        stored=compute if settings.dtype == "auto" else settings.dtype,
        device="cuda" if use_gpu else "cpu",
        versions={**versions, "prefix": _PREFIX_VERSION},
    )


def place(feed: FeedSpec, key: PrefixKey, settings: CacheSettings) -> StoredPrefix:
    """The place of a run's hidden states, which `fill` computes."""
    splits = {TRAIN: feed.train, VALID: feed.valid}
    return StoredPrefix(settings.dir, key, {name: ids_of(split) for name, split in splits.items()})


def fill(
    prefixes: Sequence[StoredPrefix],
    feed: FeedSpec,
    backbone: ResolvedBackbone,
    settings: CacheSettings,
    scaling: ScalingSettings,
) -> None:
    """Compute missing and damaged entries on the connected Ray cluster.

    Args:
        prefixes: Prefixes of one feed under keys that differ in their blocks alone.
        feed: The windows.
        backbone: The backbone.
        settings: Size limit.
        scaling: The fill has as many actors as the run has workers, with the same resources.

    Raises:
        CacheError: The disk is full or not writable; committed entries remain.
    """
    missing = {prefix.block: _missing(prefix) for prefix in prefixes}
    if any(missing.values()):
        first = prefixes[0]
        splits = {TRAIN: feed.train, VALID: feed.valid}
        job = FillJob(backbone.source, backbone.digest, first.key, first.root, splits)
        _run(job, list(chunks(job, first.ids, missing, scaling.num_workers)), sorted(missing), scaling)
        _check_filled(prefixes)
    for prefix in prefixes:
        # Leases first, so that eviction spares what this run reads.
        prefix.hold()
    evict(prefixes[0].root, int(settings.max_gb * 1e9))


def _missing(prefix: StoredPrefix) -> set[bytes]:
    store = Store.open(prefix.root, prefix.key)
    wanted = prefix.all_ids()
    damaged = store.verify(wanted)
    if damaged:
        show_line(f"cache: {len(damaged)} damaged entries are computed again")
    return {wanted[at] for at in store.missing(wanted)}


def _check_filled(prefixes: Sequence[StoredPrefix]) -> None:
    for prefix in prefixes:
        store = Store.open(prefix.root, prefix.key)
        still = store.missing(prefix.all_ids())
        if still:
            raise CacheError(
                f"{len(still)} sequences are not in the cache after it was filled",
                where=str(store.directory),
                remedy="put cache.dir on storage that all nodes share",
            )


def chunks(
    job: FillJob, ids: Mapping[str, Ids], missing: Mapping[int, set[bytes]], actors: int
) -> Iterator[dict[str, Any]]:
    """Rows for the actors: windows of one split with the same start and blocks, longest first, about equal in bytes.

    Args:
        job: The fill.
        ids: Split -> (N, 16) entry ids of its windows.
        missing: Block -> entries to compute there.
        actors: Processes that share the rows.
    """
    todo: dict[bytes, tuple[str, int]] = {}
    wanted = set().union(*missing.values())
    for name, rows in ids.items():
        for item, row in enumerate(rows):
            if (entry := row.tobytes()) in wanted:
                todo.setdefault(entry, (name, item))
    lengths = {name: split.windows.lengths for name, split in job.splits.items()}
    total = sum(int(lengths[name][item]) for name, item in todo.values())
    limit = min(_CHUNK_BYTES // job.key.row_bytes, max(total // (actors * _CHUNKS_PER_ACTOR), 1))
    for (name, start, blocks), items in _alike(job, todo, missing).items():
        items.sort(key=lambda item: -int(lengths[name][item]))
        held, size = [], 0
        for item in items:
            held.append(item)
            size += int(lengths[name][item])
            if size >= limit or item == items[-1]:
                yield _row(name, start, blocks, held, size)
                held, size = [], 0
    # An empty turn runs a residue that is no window of a split.
    nothing = entry_id(NOTHING)
    if blocks := tuple(block for block in sorted(missing) if nothing in missing[block]):
        yield _row("", 0, blocks, [], len(NOTHING))


def _row(split: str, start: int, blocks: tuple[int, ...], items: list[int], residues: int) -> dict[str, Any]:
    packed = {"items": np.array(items, dtype=np.int64).tobytes(), "blocks": bytes(blocks)}
    return {"split": split, "start": start, **packed, "residues": residues}


def _alike(
    job: FillJob, todo: Mapping[bytes, tuple[str, int]], missing: Mapping[int, set[bytes]]
) -> dict[tuple[str, int, tuple[int, ...]], list[int]]:
    """(Split, start, blocks at which to store) -> windows."""
    by_blocks: dict[tuple[int, ...], list[bytes]] = {}
    for entry in todo:
        by_blocks.setdefault(tuple(block for block in sorted(missing) if entry in missing[block]), []).append(
            entry
        )
    groups: dict[tuple[str, int, tuple[int, ...]], list[int]] = {}
    for blocks, entries in by_blocks.items():
        for entry, start in _starts(job, blocks[0], entries).items():
            name, item = todo[entry]
            groups.setdefault((name, start, blocks), []).append(item)
    return groups


def _starts(job: FillJob, block: int, entries: list[bytes]) -> dict[bytes, int]:
    """The highest block below a block at which each entry is stored already; 0: none.

    Rounded rows are no start, because their error would spread.
    """
    starts = dict.fromkeys(entries, 0)
    if not job.key.exact:
        return starts
    left = entries
    for below in stores.lower_blocks(job.root, job.key.at(block)):
        absent = [left[at] for at in Store.open(job.root, job.key.at(below)).missing(left)]
        starts.update(dict.fromkeys(set(left) - set(absent), below))
        left = absent
    return starts


def _run(job: FillJob, rows: list[dict[str, Any]], at: list[int], scaling: ScalingSettings) -> None:
    import ray.data
    from ray.data.context import DataContext

    # It reports each data set's plan and end; the progress line below is what a person needs.
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    total = sum(row["residues"] for row in rows)
    dataset = ray.data.from_items(rows, override_num_blocks=len(rows))
    done = dataset.map_batches(
        PrefixActor,
        fn_constructor_args=(job,),
        batch_size=1,
        num_cpus=scaling.cpus_per_worker,
        num_gpus=1 if scaling.use_gpu else 0,
        compute=ray.data.ActorPoolStrategy(size=min(scaling.num_workers, len(rows))),
    )
    blocks = f"block{'s' if len(at) > 1 else ''} {', '.join(map(str, at))}"
    with progress(f"cache: {blocks}", total, "residues") as advance:
        for batch in done.iter_batches(batch_size=1, batch_format="numpy"):
            advance(int(batch["residues"].sum()))
