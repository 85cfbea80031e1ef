"""The timed part of the suite `cache`, in its own process.

Invariant: each round fills a new store, so no round reads what an earlier one left. Warm-up rounds are dropped.
Operations that are compared move the same bytes. Flow: suite `cache` -> process -> [this] -> seconds.
"""

import os
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from liftray.backbone import model as backbones
from liftray.backbone.model import Backbone
from liftray.backbone.packed import WindowLayout
from liftray.bench import ours
from liftray.bench.bare import packed
from liftray.bench.competitors import models
from liftray.bench.workload import Workload
from liftray.cache import codec
from liftray.cache.actor import PrefixActor
from liftray.cache.prefix import StoredPrefix
from liftray.cache.shard import ROWS
from liftray.cache.store import Store
from liftray.data.batch import TRAIN
from liftray.errors import ConfigError
from liftray.progress import progress
from liftray.train.prepare import PreparedRun

_BLOCK = 1 << 20
_GPU_TOKENS = 16_384

Batches = list[list[int]]


class Laps:
    """Seconds of each lap of the measured rounds, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self.counts = False

    @contextmanager
    def lap(self, name: str) -> Iterator[None]:
        """Time a block."""
        start = time.perf_counter()
        yield
        if self.counts:
            self.seconds[name].append(time.perf_counter() - start)


def measure(
    workload: dict[str, Any], tokens_per_batch: int, stored: list[str], directory: str
) -> dict[str, Any]:
    """Fill and read stores.

    Args:
        workload: Fields of the `Workload`.
        tokens_per_batch: Budget of the batches that are read.
        stored: Ways to store a number.
        directory: A directory on the disk to measure; "": the system's directory of temporary files.

    Returns:
        `residues` that are stored, `bytes` of them by `stored`, and `seconds` of each lap by name.
    """
    chosen = Workload(**workload)
    laps = Laps()
    sizes: dict[str, int] = {}
    rounds = chosen.warmup + chosen.repeats
    with (
        tempfile.TemporaryDirectory(prefix="liftray-bench-", dir=directory or None) as name,
        progress("bench cache", rounds * len(stored), "fills") as advance,
    ):
        prepared = ours.prepare(chosen, Path(name), cache="warm", tokens_per_batch=tokens_per_batch)
        batches = _batches(prepared)
        backbone = backbones.load(
            prepared.backbone,
            dtype=prepared.settings.backbone.dtype,
            device=chosen.device,
        )
        for number in range(rounds):
            laps.counts = number >= chosen.warmup
            _prefix_alone(laps, prepared, backbone, chosen)
            for kind in stored:
                one = _OneKind(laps, prepared, batches, kind, Path(name) / f"cache-{number}-{kind}")
                sizes[kind] = one.measure()
                advance()
    lengths = prepared.feed.train.windows.lengths
    residues = sum(int(lengths[item]) for batch in batches for item in batch)
    return {"residues": residues, "bytes": sizes, "seconds": dict(laps.seconds)}


class _OneKind:
    """One store: filled, written again from memory, read; and the same bytes as plain files and in memory."""

    def __init__(self, laps: Laps, prepared: PreparedRun, batches: Batches, stored: str, root: Path) -> None:
        settings = prepared.settings.replace({"cache.dir": str(root), "cache.dtype": stored})
        self._prepared = replace(prepared, settings=settings)
        self._laps, self._batches, self._stored, self._root = laps, batches, stored, root

    def measure(self) -> int:
        """Time everything, remove the store, and give the bytes of its rows."""
        prefix = self._prefix()
        job = ours.fill_job(self._prepared, prefix)
        actor = PrefixActor(job)
        missing = set(prefix.all_ids())
        with self._lap("fill"):
            ours.run_fill(actor, job, prefix, missing)
        files = sorted(self._root.rglob(f"*{ROWS}"))
        content = b"".join(file.read_bytes() for file in files)
        self._write_again(prefix)
        self._plain(content)
        _forget(files)
        with self._lap("disk_read"):
            _read_plain(files)
        _forget(files)
        fresh = self._prefix()
        with self._lap("read_first"):
            self._read(fresh)
        with self._lap("read_later"):
            self._read(fresh)
        fresh.hold().close()
        shutil.rmtree(self._root)
        return len(content)

    def _prefix(self) -> StoredPrefix:
        return _stored_prefix(self._prepared)

    def _lap(self, name: str) -> Any:
        return self._laps.lap(f"{name}_{self._stored}")

    def _read(self, prefix: StoredPrefix) -> None:
        """As the feed and the step do: gather the rows of a batch and decode them."""
        for batch in self._batches:
            rows_TR = np.concatenate([prefix.read(TRAIN, item) for item in batch])
            codec.decode(torch.from_numpy(rows_TR), self._stored)

    def _write_again(self, prefix: StoredPrefix) -> None:
        """Encode and commit hidden states that are in memory: the part of a fill that is not computing."""
        items = [item for batch in self._batches for item in batch]
        hidden: list[Tensor] = [
            codec.decode(torch.from_numpy(prefix.read(TRAIN, item).copy()), self._stored) for item in items
        ]
        prefix.hold().close()
        store = Store.open(self._root / "again", prefix.key)
        with self._lap("write"), store.writer() as writer:
            for item, hidden_LD in zip(items, hidden, strict=True):
                writer.add(prefix.ids[TRAIN][item].tobytes(), codec.encode(hidden_LD, self._stored))
        shutil.rmtree(self._root / "again")

    def _plain(self, content: bytes) -> None:
        """The same bytes to a plain file, and from one place in memory to another."""
        path = self._root / "plain"
        with self._lap("disk_write"), path.open("wb", buffering=0) as file:
            for start in range(0, len(content), _BLOCK):
                file.write(memoryview(content)[start : start + _BLOCK])
            os.fsync(file.fileno())
        path.unlink()
        source = np.frombuffer(content, dtype=np.uint8)
        step = max(1, len(source) // len(self._batches))
        with self._lap("memory_copy"):
            for start in range(0, len(source), step):
                source[start : start + step].copy()


def _stored_prefix(prepared: PreparedRun) -> StoredPrefix:
    prefix = prepared.stored_prefix()
    if prefix is None:
        raise ConfigError(
            "no block is below the cut: there is nothing to store", remedy="choose cut=1 or more"
        )
    return prefix


def _batches(prepared: PreparedRun) -> Batches:
    """The items of an epoch in the order of training; of chains with equal residues the first alone."""
    prefix = _stored_prefix(prepared)
    plan = prepared.feed.plan(0)
    seen: set[bytes] = set()
    batches: Batches = []
    for number in range(plan.num_micro):
        held = []
        for item in plan.micro(number).tolist():
            entry = prefix.ids[TRAIN][item].tobytes()
            if entry not in seen:
                seen.add(entry)
                held.append(item)
        if held:
            batches.append(held)
    return batches


def _prefix_alone(laps: Laps, prepared: PreparedRun, backbone: Backbone, workload: Workload) -> None:
    """The frozen blocks over tokens that are ready, batched as a fill does: the longest first, one by one on a CPU."""
    prefix = _stored_prefix(prepared)
    sequences = sorted({sequence for _, sequence, _ in workload.drawn()}, key=len, reverse=True)
    tokens = [torch.from_numpy(backbone.tokens.encode(sequence)) for sequence in sequences]
    lengths = [len(each) for each in tokens]
    budget = 1 if workload.device == "cpu" else _GPU_TOKENS
    models.wait(workload.device)
    with laps.lap("prefix_alone"), torch.no_grad(), backbone.autocast(workload.device):
        for members in packed(lengths, range(len(tokens)), budget):
            layout = WindowLayout.of(tuple(lengths[row] for row in members), workload.device)
            tokens_T = torch.cat([tokens[row] for row in members]).to(workload.device)
            backbone.run_frozen(tokens_T, layout, prefix.block)
        models.wait(workload.device)


def _forget(paths: list[Path]) -> None:
    """Drop files from the kernel's page cache, so that they are read from the disk; all were synced before."""
    for path in paths:
        with path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _read_plain(paths: list[Path]) -> None:
    buffer = bytearray(_BLOCK)
    for path in paths:
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass
