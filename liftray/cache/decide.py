"""Whether storing the frozen prefix pays for a run: predicted from a quick measurement.

Invariant: under a lossless `cache.dtype` the choice never changes what is computed, only how long it takes. It is
reported in one line with its figures. Flow: launch -> [this] -> fill.
"""

import os
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from liftray import files
from liftray.backbone.sources import ResolvedBackbone
from liftray.cache.prefix import StoredPrefix
from liftray.cache.store import Store
from liftray.data.feed import FeedSpec
from liftray.data.index import ChainReader
from liftray.sections import CacheSettings, ScalingSettings

if TYPE_CHECKING:
    from liftray.backbone.encoder import Backbone

_PROBE_BYTES = 32 << 20
_PROBE_RESIDUES = 2_000
_PROBE_S = 0.5


@dataclass(frozen=True)
class Work:
    """The work of a run.

    Attributes:
        residues: Residues of one epoch, validation included.
        missing: Residues of it that are not stored yet.
        row_bytes: Bytes a residue.
        epochs: Epochs at most.
        workers: Processes that share the work.
    """

    residues: int
    missing: int
    row_bytes: int
    epochs: int
    workers: int


@dataclass(frozen=True)
class Rates:
    """Speeds measured on one worker.

    Attributes:
        residues_per_s: Residues through the frozen prefix.
        read_bytes_per_s: From the cache's disk, not from memory.
        write_bytes_per_s: To it.
        start_s: Seconds until a process with a backbone is ready.
    """

    residues_per_s: float
    read_bytes_per_s: float
    write_bytes_per_s: float
    start_s: float


@dataclass(frozen=True)
class Choice:
    """Whether the cache is used, why, in one line, and the bytes that filling it will write."""

    use: bool
    why: str
    writes: int = 0


def choose(
    prefix: StoredPrefix,
    feed: FeedSpec,
    backbone: ResolvedBackbone,
    settings: CacheSettings,
    scaling: ScalingSettings,
    epochs: int,
    promised: int = 0,
) -> Choice:
    """Decide for a run on the connected Ray cluster; measures only where the settings leave the choice open.

    Args:
        prefix: What would be stored.
        feed: The windows.
        backbone: The backbone.
        settings: The user's choice, if any, and the size limit.
        scaling: Workers and their resources.
        epochs: Epochs at most.
        promised: Bytes of the free space that other fills will write.

    Raises:
        CacheError: The cache's directory cannot be read or made.
    """
    if settings.enabled is False:
        return Choice(False, "off: cache.enabled=false")
    store = Store.open(prefix.root, prefix.key)
    work = _work(prefix, feed, store, epochs, scaling.num_workers)
    needed, room = work.missing * work.row_bytes, _room(store.directory) - promised
    if needed > room or work.residues * work.row_bytes > settings.max_gb * 1e9:
        limit = f"{room / 1e9:.1f} GB are free" if needed > room else f"cache.max_gb={settings.max_gb:g}"
        return Choice(False, f"off: it would need {work.residues * work.row_bytes / 1e9:.1f} GB and {limit}")
    if settings.enabled is True:
        return Choice(True, f"on: cache.enabled=true, {work.missing:,} residues to compute", needed)
    if not work.missing:
        return Choice(True, f"on: all {work.residues:,} residues are stored already")
    if epochs == 1:
        return Choice(False, "off: a single epoch reads nothing twice")
    return replace(predict(work, _measure(prefix, feed, backbone, scaling)), writes=needed)


def predict(work: Work, rates: Rates) -> Choice:
    """Compare a run that computes the prefix every epoch with one that fills the cache and reads it.

    Computing: epochs x residues / (rate x workers). Storing: start + missing / (rate x workers) + writing + epochs x
    bytes / read rate, the disk being shared by all workers.
    """
    rate = rates.residues_per_s * work.workers
    computing_s = work.epochs * work.residues / rate
    bytes_once = work.residues * work.row_bytes
    fill_s = rates.start_s + work.missing / rate + work.missing * work.row_bytes / rates.write_bytes_per_s
    reading_s = work.epochs * bytes_once / rates.read_bytes_per_s
    use = fill_s + reading_s < computing_s
    return Choice(
        use,
        f"{'on' if use else 'off'}: {work.epochs} epochs are predicted to compute the frozen blocks for "
        f"{computing_s:.1f} s, or to fill the cache for {fill_s:.1f} s and read it for {reading_s:.1f} s "
        f"(measured {rates.residues_per_s:,.0f} residues/s a worker, {rates.read_bytes_per_s / 1e9:.2f} GB/s)",
    )


def _work(prefix: StoredPrefix, feed: FeedSpec, store: Store, epochs: int, workers: int) -> Work:
    lengths: dict[bytes, int] = {}
    total = 0
    for split, ids in ((feed.train, prefix.ids["train"]), (feed.valid, prefix.ids["valid"])):
        total += int(split.windows.lengths.sum())
        lengths.update(zip((row.tobytes() for row in ids), split.windows.lengths.tolist(), strict=True))
    entries = list(lengths)
    missing = sum(lengths[entries[at]] for at in store.missing(entries))
    return Work(total, missing, prefix.key.row_bytes, epochs, workers)


def _room(directory: Path) -> int:
    return shutil.disk_usage(directory).free


def _measure(
    prefix: StoredPrefix, feed: FeedSpec, backbone: ResolvedBackbone, scaling: ScalingSettings
) -> Rates:
    import ray

    reader = ChainReader(feed.train)
    residues: list[str] = []
    while sum(len(one) for one in residues) < _PROBE_RESIDUES and len(residues) < len(feed.train.windows.row):
        item = len(residues)
        sequence = reader.chain(int(feed.train.windows.row[item]))[0]
        residues.append(sequence[int(feed.train.windows.start[item]) : int(feed.train.windows.stop[item])])
    start = time.perf_counter()
    task = ray.remote(num_cpus=scaling.cpus_per_worker, num_gpus=int(scaling.use_gpu))(_probe)
    rate, read, write, inside_s = ray.get(task.remote(prefix, backbone.source, residues))
    return Rates(rate, read, write, time.perf_counter() - start - inside_s)


def _probe(prefix: StoredPrefix, source: str, residues: list[str]) -> tuple[float, float, float, float]:
    """On a worker's resources: residues/s through the prefix, bytes/s from and to the disk, seconds that this took."""
    from liftray.backbone import model as backbones
    from liftray.backbone.sources import resolve

    key = prefix.key
    backbone = backbones.load(resolve([source]), dtype=key.compute, device=key.device)  # type: ignore[arg-type]
    start = time.perf_counter()
    rate = frozen_rate(backbone, residues, key.block, key.device)
    read, write = _disk(Path(prefix.root))
    return rate, read, write, time.perf_counter() - start


def frozen_rate(backbone: "Backbone", residues: list[str], block: int, device: str) -> float:
    """Residues/s through the lowest blocks, measured for half a second after a first pass.

    Args:
        backbone: On the device.
        residues: Windows that are run as one batch, again and again.
        block: Number of blocks to run.
        device: Device of the backbone.
    """
    import torch

    from liftray.backbone.packed import WindowLayout

    tokens = [torch.from_numpy(backbone.tokens.encode(one)) for one in residues]
    layout = WindowLayout.of(tuple(len(each) for each in tokens), device)
    packed_T = torch.cat(tokens).to(device)

    def run() -> None:
        with backbone.autocast(device):
            backbone.run_frozen(packed_T, layout, block)
        if device == "cuda":
            torch.cuda.synchronize()

    run()
    begun, rounds = time.perf_counter(), 0
    while rounds == 0 or time.perf_counter() - begun < _PROBE_S:
        run()
        rounds += 1
    return rounds * sum(map(len, residues)) / (time.perf_counter() - begun)


def _disk(directory: Path) -> tuple[float, float]:
    """Bytes/s read and written.

    The file is read from the disk, not from memory, and its sha256 is taken, as the feed does in its first epoch.
    """
    path = directory / f".probe.{os.getpid()}"
    block = os.urandom(1 << 20)
    try:
        start = time.perf_counter()
        with path.open("wb") as file:
            for _ in range(_PROBE_BYTES >> 20):
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
            written = time.perf_counter()
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        begun = time.perf_counter()
        files.sha256_file(path)
        return _PROBE_BYTES / (time.perf_counter() - begun), _PROBE_BYTES / (written - start)
    finally:
        path.unlink(missing_ok=True)
