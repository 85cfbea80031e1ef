"""Filling the cache: a Ray Data job that computes each window's hidden states at the cut once.

Invariant: an entry has the bytes that the uncached model computes for that window, whatever else was in the batch and
whichever shallower cut the computation started from. Killed at any moment, it goes on with what is missing.
Flow: launch -> [this: Ray Data actors] -> store -> prefix -> feed.
"""

import importlib.metadata
import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from liftray.backbone.sources import ResolvedBackbone, resolve
from liftray.cache import store as stores
from liftray.cache.evict import evict
from liftray.cache.key import PrefixKey, entry_id
from liftray.cache.prefix import StoredPrefix, ids_of
from liftray.cache.reader import Reader as StoredReader
from liftray.cache.store import Store
from liftray.data.batch import TRAIN, VALID
from liftray.data.feed import NOTHING, FeedSpec
from liftray.data.index import Reader, SplitIndex
from liftray.errors import BackboneError, CacheError
from liftray.progress import progress, say
from liftray.sections import CacheSettings, ScalingSettings

# Raised whenever `Backbone.run_frozen` or the codec could give other bytes for the same weights.
_PREFIX_VERSION = "1"
# A chunk is what an actor commits at a time, and what a kill can cost.
_CHUNK_BYTES = 64 << 20
_CHUNKS_PER_ACTOR = 4
_TOKENS_PER_BATCH = 16_384


@dataclass(frozen=True)
class FillJob:
    """What the actors of a fill are told.

    Attributes:
        source: The backbone source that the driver found.
        backbone_digest: Digest that each node's copy must have.
        key: What is filled.
        root: The cache's directory.
        splits: Windows by split.
    """

    source: str
    backbone_digest: str
    key: PrefixKey
    root: str
    splits: dict[str, SplitIndex]


def key_of(
    backbone: ResolvedBackbone, cut: int, compute: str, settings: CacheSettings, use_gpu: bool
) -> PrefixKey:
    """The key of a run's hidden states."""
    versions = {name: importlib.metadata.version(name) for name in ("torch", "transformers")}
    return PrefixKey(
        backbone=backbone.digest,
        cut=cut,
        width=backbone.width,
        compute=compute,
        stored=compute if settings.dtype == "auto" else settings.dtype,
        device="cuda" if use_gpu else "cpu",
        versions={**versions, "prefix": _PREFIX_VERSION},
    )


def place(feed: FeedSpec, key: PrefixKey, settings: CacheSettings) -> StoredPrefix:
    """Where a run's hidden states are, or will be when `fill` has run."""
    splits = {TRAIN: feed.train, VALID: feed.valid}
    return StoredPrefix(settings.dir, key, {name: ids_of(split) for name, split in splits.items()})


def fill(
    prefix: StoredPrefix,
    feed: FeedSpec,
    backbone: ResolvedBackbone,
    settings: CacheSettings,
    scaling: ScalingSettings,
) -> None:
    """Compute what is missing, on the connected Ray cluster; damaged entries are found first and count as missing.

    Args:
        prefix: Where to.
        feed: The windows.
        backbone: The backbone.
        settings: Size limit.
        scaling: As many actors as the run has workers, with their resources.

    Raises:
        CacheError: The disk is full or not writable; what was committed stays.
    """
    store = Store.open(prefix.root, prefix.key)
    wanted = prefix.all_ids()
    damaged = store.verify(wanted)
    if damaged:
        say(f"cache: {len(damaged)} damaged entries are computed again")
    missing = set(wanted[at] for at in store.missing(wanted))
    if missing:
        job = FillJob(
            source=backbone.source,
            backbone_digest=backbone.digest,
            key=prefix.key,
            root=prefix.root,
            splits={TRAIN: feed.train, VALID: feed.valid},
        )
        _run(job, list(chunks(job, prefix, missing, scaling.num_workers)), scaling)
        still = store.missing(wanted)
        if still:
            raise CacheError(
                f"{len(still)} sequences are not in the cache after it was filled",
                where=str(store.directory),
                remedy="put cache.dir on storage that all nodes share",
            )
    # First the lease on what this run reads: what is thrown out is what no one uses.
    prefix.hold()
    evict(prefix.root, int(settings.max_gb * 1e9))


def chunks(job: FillJob, prefix: StoredPrefix, missing: set[bytes], actors: int) -> Iterator[dict[str, Any]]:
    """Rows for the actors: windows of one split with the same start, longest first, about equal in bytes.

    Args:
        job: What is filled.
        prefix: Which entry each window is.
        missing: Entries to compute.
        actors: Processes that share the rows.
    """
    todo: dict[bytes, tuple[str, int]] = {}
    for name, ids in prefix.ids.items():
        for item, row in enumerate(ids):
            if (entry := row.tobytes()) in missing:
                todo.setdefault(entry, (name, item))
    starts = _starts(job, list(todo))
    lengths = {name: split.windows.lengths for name, split in job.splits.items()}
    total = sum(int(lengths[name][item]) for name, item in todo.values())
    limit = min(_CHUNK_BYTES // job.key.row_bytes, max(total // (actors * _CHUNKS_PER_ACTOR), 1))
    groups: dict[tuple[str, int], list[int]] = {}
    for entry, (name, item) in todo.items():
        groups.setdefault((name, starts[entry]), []).append(item)
    for (name, start), items in groups.items():
        items.sort(key=lambda item: -int(lengths[name][item]))
        held, size = [], 0
        for item in items:
            held.append(item)
            size += int(lengths[name][item])
            if size >= limit or item == items[-1]:
                items_bytes = np.array(held, dtype=np.int64).tobytes()
                yield {"split": name, "start": start, "items": items_bytes, "residues": size}
                held, size = [], 0
    # What an empty turn runs is no window of a split.
    if entry_id(NOTHING) in missing:
        yield {"split": "", "start": 0, "items": b"", "residues": len(NOTHING)}


def _starts(job: FillJob, entries: list[bytes]) -> dict[bytes, int]:
    """The deepest shallower cut at which each entry is stored already; 0: none.

    Rows of 8 bits are no start: their error would be computed with.
    """
    starts = dict.fromkeys(entries, 0)
    if job.key.stored == "int8":
        return starts
    left = entries
    for cut in stores.cuts(job.root, job.key):
        absent = [left[at] for at in Store.open(job.root, job.key.at(cut)).missing(left)]
        starts.update(dict.fromkeys(set(left) - set(absent), cut))
        left = absent
    return starts


def _run(job: FillJob, rows: list[dict[str, Any]], scaling: ScalingSettings) -> None:
    import ray.data
    from ray.data.context import DataContext

    # It tells of each data set's plan and end; the progress line here tells what a person needs.
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
    with progress(f"cache: block {job.key.cut}", total, "residues") as advance:
        for batch in done.iter_batches(batch_size=1, batch_format="numpy"):
            advance(int(batch["residues"].sum()))


class PrefixActor:
    """One actor of a fill: a backbone, and a writer for each chunk.

    Args:
        job: What is filled.
    """

    def __init__(self, job: FillJob) -> None:
        from liftray.backbone import model as backbones

        resolved = resolve([job.source])
        if resolved.digest != job.backbone_digest:
            raise BackboneError(
                "this node's copy of the backbone differs from the driver's",
                where=job.source,
                remedy="give every node the same files",
            )
        self._job = job
        self._backbone = backbones.load(resolved, dtype=job.key.compute, device=job.key.device)  # type: ignore[arg-type]
        self._readers = {name: Reader(split) for name, split in job.splits.items()}

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Compute and commit one chunk."""
        [split], [start], [items] = batch["split"], batch["start"], batch["items"]
        residues = [NOTHING] if not split else list(self._residues(str(split), items))
        key, start = self._job.key, int(start)
        with Store.open(self._job.root, key).writer() as writer, self._below(residues, start) as below:
            for group in _batches(residues, 1 if key.device == "cpu" else _TOKENS_PER_BATCH):
                for one, rows_LR in zip(group, self._states(group, start, below), strict=True):
                    writer.add(entry_id(one), rows_LR)
        return {"residues": batch["residues"]}

    def _residues(self, split: str, items: bytes) -> Iterator[str]:
        windows = self._job.splits[split].windows
        for item in np.frombuffer(items, dtype=np.int64).tolist():
            sequence = self._readers[split].chain(int(windows.row[item]))[0]
            yield sequence[int(windows.start[item]) : int(windows.stop[item])]

    def _states(self, group: list[str], start: int, below: StoredReader | None) -> list[Any]:
        import torch

        from liftray.backbone.attention import Layout
        from liftray.cache import codec

        key, backbone = self._job.key, self._backbone
        tokens = [torch.from_numpy(backbone.tokens.encode(one)) for one in group]
        layout = Layout.of(tuple(len(each) for each in tokens), key.device)
        hidden_TD = None
        if below is not None:
            try:
                rows_TR = np.concatenate([below.read(entry_id(one)) for one in group])
                hidden_TD = codec.decode(torch.from_numpy(rows_TR).to(key.device), key.stored)
            except CacheError as error:  # damaged: from the residues, then
                say(f"cache: {error}")
        with backbone.autocast(key.device):
            hidden_TD = backbone.run_frozen(
                torch.cat(tokens).to(key.device),
                layout,
                key.cut,
                0 if hidden_TD is None else start,
                hidden_TD,
            )
        return np.split(codec.encode(hidden_TD, key.stored), np.cumsum(layout.lengths)[:-1])

    def _below(self, residues: list[str], start: int) -> AbstractContextManager[StoredReader | None]:
        """Stored hidden states at a shallower cut."""
        if start == 0:
            return nullcontext()
        return Store.open(self._job.root, self._job.key.at(start)).reader([entry_id(one) for one in residues])


def _batches(residues: list[str], budget: int) -> Iterator[list[str]]:
    """Groups of neighbours whose residues stay within a budget; at least one each."""
    group: list[str] = []
    size = 0
    for one in residues:
        if group and size + len(one) > budget:
            yield group
            group, size = [], 0
        group.append(one)
        size += len(one)
    if group:
        yield group
