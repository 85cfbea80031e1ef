"""LiftRay in the measurements: `run_rank`, with and without Ray, with and without the cache.

Invariant: the product's own code is timed, from feed to optimizer; only where batches and checkpoints go differs.
Flow: workload -> [this] -> residues/s next to the competitors'.
"""

import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from liftray import config
from liftray.bench.workload import Timing, Workload
from liftray.cache import fill
from liftray.cache.actor import FillJob, PrefixActor
from liftray.cache.prefix import StoredPrefix
from liftray.cache.store import Store
from liftray.config import Settings
from liftray.data.batch import TRAIN, VALID
from liftray.data.feed import Feed
from liftray.data.ingest import ingest
from liftray.train import launch
from liftray.train.prepare import PreparedRun, prepare_run
from liftray.train.rank_job import RankJob

if TYPE_CHECKING:
    import torch

Cache = Literal["off", "warm"]
# Enough for validation to run; it is not timed.
_VALID = 4
_REPORTED = "first_report"


def run(
    workload: Workload,
    *,
    cache: Cache = "warm",
    tokens_per_batch: int = 4096,
    recompute: bool = False,
    folder: str | None = None,
) -> Timing:
    """Train without Ray, on one rank of a process group; an epoch is a pass.

    Args:
        workload: What is compared; bfloat16 is `backbone.dtype=bfloat16`.
        cache: `off` computes the frozen prefix in every epoch; `warm` reads it, filled before the clock starts.
        tokens_per_batch: Budget of a batch; each is one optimizer step.
        recompute: Whether the blocks above the cut compute their activations again in the backward pass.
        folder: Where `set_up` left what the run needs; None: it is made here, which takes memory of its own.

    Returns:
        Seconds of each epoch's training part; in its details the share of them that waited for data.
    """
    import torch

    from liftray.train.rank import run_rank

    device = torch.device(workload.device)
    records: list[dict[str, Any]] = []
    with _folder(folder) as place, _process_group(device):
        prepared = prepare(workload, place, cache=cache, tokens_per_batch=tokens_per_batch)
        if cache == "warm":
            prepared = _filled(prepared)
        settings = prepared.settings.replace({"train.recompute_activations": recompute})
        job = RankJob.of(replace(prepared, settings=settings), place)
        run_rank(job, 0, 1, device, Feed.local_batches, lambda metrics, _: records.append(metrics))
    return timing(workload, records, prepared)


def run_with_ray(
    workload: Workload, *, cache: Cache = "warm", tokens_per_batch: int = 4096, workers: int = 1
) -> Timing:
    """Train as `jobs/train.py` does: Ray Data, Ray Train and DeepSpeed on a local cluster; an epoch is a pass.

    Args:
        workload: What is compared.
        cache: As for `run`.
        tokens_per_batch: Budget of a batch. A global step is one batch a worker.
        workers: Training processes of one CPU each.

    Returns:
        As `run`; in its details also `start_up_s`, seconds from the call to the first step, the first epoch's
        validation of four chains included.
    """
    from liftray.train.cluster import connected

    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        prepared = prepare(workload, place, cache=cache, tokens_per_batch=tokens_per_batch, workers=workers)
        if cache == "warm":
            _filled(prepared)  # the run finds it full
        with connected(prepared.settings.run, prepared.settings.scaling):
            start = time.time()
            ended = launch.fit(prepared, place / "run", [_first_report(place / _REPORTED)])
        reported = float((place / _REPORTED).read_text())
    history = ended.progress.history
    timed = timing(workload, history, prepared)
    start_up_s = reported - start - history[0]["train/seconds"]
    return replace(timed, details={**timed.details, "start_up_s": start_up_s})


def set_up(workload: dict[str, Any], cache: Cache, tokens_per_batch: int, folder: str) -> None:
    """Make in a folder all that `run` needs, the full cache included, so that another process can use it.

    Args:
        workload: Fields of the `Workload`.
        cache: As for `run`.
        tokens_per_batch: As for `run`.
        folder: The folder; files that exist remain.
    """
    prepared = prepare(Workload(**workload), Path(folder), cache=cache, tokens_per_batch=tokens_per_batch)
    if cache == "warm":
        _filled(prepared)


def prepare(
    workload: Workload, folder: Path, *, cache: Cache, tokens_per_batch: int, workers: int = 1
) -> PreparedRun:
    """Write the chains, and a backbone of random weights where there are no others, and check the run."""
    data = {}
    for name, chains in (("train", workload.drawn()), ("valid", workload.drawn()[:_VALID])):
        data[name] = str(folder / name)
        if not (folder / name).exists():
            file = folder / f"{name}.txt"
            file.write_text(
                "".join(f">{identifier}\n{sequence}\n{ss}\n" for identifier, sequence, ss in chains)
            )
            ingest([file], folder / name, format="three-line", alphabet="ss9")
    return prepare_run(_settings(workload, folder, data, cache, tokens_per_batch, workers))


def timing(workload: Workload, records: list[dict[str, Any]], prepared: PreparedRun) -> Timing:
    """The timing of an epoch's records, without the warm-up epochs."""
    epochs = [record for record in records if "train/seconds" in record][workload.warmup :]
    return Timing(
        int(prepared.feed.train.windows.lengths.sum()),
        [record["train/seconds"] for record in epochs],
        {"data_wait_share": max(record["train/data_wait_share"] for record in epochs)},
    )


def _settings(
    workload: Workload, folder: Path, data: dict[str, str], cache: Cache, tokens_per_batch: int, workers: int
) -> Settings:
    source = workload.model.weights if workload.pretrained else ""
    return config.load(None).replace(
        {
            "task": workload.task,
            "data.train": {"train": data["train"]},
            "data.valid": {"valid": data["valid"]},
            "data.max_length": workload.longest,
            "backbone.source": [source or str(random_backbone(workload, folder / "backbone"))],
            "backbone.dtype": workload.precision,
            "adapter.kind": workload.kind,
            "adapter.reduction_factor": workload.reduction_factor,
            "adapter.skip_layers": workload.skip_layers,
            "head.dropout": workload.dropout,
            "train.lr": workload.lr,
            "train.epochs": workload.warmup + workload.repeats,
            "train.patience": workload.warmup + workload.repeats,
            "train.tokens_per_batch": tokens_per_batch,
            "train.micro_batches_per_step": workers,
            "train.seed": workload.seed,
            "cache.enabled": cache == "warm",
            "cache.dir": str(folder / "cache"),
            "scaling.num_workers": workers,
            "scaling.use_gpu": workload.device == "cuda",
            "run.dir": str(folder / "run"),
        }
    )


def random_backbone(workload: Workload, directory: Path) -> Path:
    """Write a backbone of the workload's shape with random weights, as a model hub would give it, if none is there."""
    if directory.exists():
        return directory
    from safetensors.torch import save_file

    from liftray.backbone.model import from_config

    directory.mkdir()
    made = from_config(workload.model.family, workload.model.config, workload.seed)
    tensors = {name: tensor.contiguous() for name, tensor in made.hf.state_dict().items()}
    tensors.pop("encoder.embed_tokens.weight", None)  # T5's other name of `shared.weight`
    save_file(tensors, directory / "model.safetensors")
    described = {"model_type": workload.model.family, **workload.model.config}
    (directory / "config.json").write_text(json.dumps(described))
    return directory


def _filled(prepared: PreparedRun) -> PreparedRun:
    """Fill the cache in this process with what is missing, as the fill's Ray Data job does in its actors."""
    prefix = prepared.stored_prefix()
    if prefix is None:
        raise ValueError("no block is constant: there is nothing to cache")
    job = fill_job(prepared, prefix)
    wanted = prefix.all_ids()
    missing = {wanted[at] for at in Store.open(prefix.root, prefix.key).missing(wanted)}
    if missing:
        run_fill(PrefixActor(job), job, prefix, missing)
    return replace(prepared, feed=replace(prepared.feed, prefix=prefix))


def fill_job(prepared: PreparedRun, prefix: StoredPrefix) -> FillJob:
    """A fill as its actors need it."""
    feed, backbone = prepared.feed, prepared.backbone
    splits = {TRAIN: feed.train, VALID: feed.valid}
    return FillJob(backbone.source, backbone.digest, prefix.key, prefix.root, splits)


def run_fill(actor: PrefixActor, job: FillJob, prefix: StoredPrefix, missing: set[bytes]) -> None:
    """Let one actor compute and commit all entries that are missing."""
    for row in fill.chunks(job, prefix.ids, {prefix.block: missing}, actors=1):
        actor({name: [value] for name, value in row.items()})


def _first_report(file: Path) -> Any:
    """A Ray Train callback that notes when the first epoch was reported."""
    from ray.train import UserCallback

    class FirstReport(UserCallback):
        def after_report(self, *_: Any, **__: Any) -> None:
            if not file.exists():
                file.write_text(repr(time.time()))

    return FirstReport()


@contextmanager
def _folder(path: str | None) -> Iterator[Path]:
    if path is not None:
        yield Path(path)
        return
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@contextmanager
def _process_group(device: "torch.device") -> Iterator[None]:
    """A process group of one rank while the block runs."""
    import torch.distributed as dist

    from liftray.train.rank import join_group_of_one

    join_group_of_one(device)
    try:
        yield
    finally:
        dist.destroy_process_group()
