"""From settings to a run that is ready to start: everything that can be checked is checked here.

Invariant: a fault of the user is found before a process starts or a file is written. The cut is made here, once.
Flow: settings -> [this] -> resume, launch, search, study, bench.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from liftray.adapt import heads, kinds, losses
from liftray.adapt.cut import Cut
from liftray.adapt.tagger import TaggerSettings
from liftray.backbone import attention
from liftray.backbone.dimensions import Dimensions
from liftray.backbone.sources import ResolvedBackbone, resolve
from liftray.backbone.tokens import MOST_SPECIALS
from liftray.cache import fill
from liftray.cache.prefix import StoredPrefix
from liftray.config import Settings
from liftray.data import index
from liftray.data.feed import FeedSpec
from liftray.data.step_split import StepSplit
from liftray.errors import ConfigError
from liftray.predict import bundle
from liftray.train import run_digest


@dataclass(frozen=True)
class PreparedRun:
    """A run that is ready to start.

    Attributes:
        settings: The run's settings.
        backbone: The backbone of the first source that was reachable.
        cut: Where the frozen part of the backbone ends.
        feed: Windows to train and validate on.
        start: The bundle with the initial weights; None: they are random.
    """

    settings: Settings
    backbone: ResolvedBackbone
    cut: Cut
    feed: FeedSpec
    start: Path | None = None

    @property
    def digest(self) -> str:
        """Digest of all that the run computes; see `run_digest`."""
        return run_digest.run_digest(self.settings, self.backbone, self.feed)

    def with_settings(self, settings: Settings) -> "PreparedRun":
        """The same data and backbone under other settings, with the cut that follows from them.

        Raises:
            ConfigError: The backbone cannot have these adapters.
        """
        return replace(self, settings=settings, cut=_cut(settings, self.backbone))

    def stored_prefix(self) -> StoredPrefix | None:
        """Where the states at the cut are stored, or will be when the cache is filled; None: no block is constant."""
        if not self.cut.has_prefix:
            return None
        settings = self.settings
        key = fill.key_of(
            self.backbone, self.cut, settings.backbone.dtype, settings.cache, settings.scaling.use_gpu
        )
        return fill.place(self.feed, key, settings.cache)


def prepare_run(settings: Settings) -> PreparedRun:
    """Check everything that a run needs and find its data and backbone.

    Raises:
        ConfigError: Sets are not named, a batch cannot hold the longest window, a global step cannot be split over the
            workers, or no block is left to adapt.
        DataError: A data set is missing, damaged or of the wrong alphabet.
        BackboneError: No backbone source is reachable.
        BundleError: `train.start_from` names no bundle.
        TrackingError: The bundle cannot be fetched.
    """
    for role in ("train", "valid"):
        if not getattr(settings.data, role):
            raise ConfigError(
                f"data.{role} names no data set", remedy=f"set data.{role}.NAME=DIR, as ingest wrote it"
            )
    window = settings.data.max_length + MOST_SPECIALS
    if settings.train.tokens_per_batch < window:
        raise ConfigError(
            f"train.tokens_per_batch={settings.train.tokens_per_batch} cannot hold a window of "
            f"data.max_length={settings.data.max_length} residues and its special tokens",
            remedy=f"set at least {window}",
        )
    split = StepSplit.of(settings.train, window, settings.scaling.num_workers)
    backbone = resolve(settings.backbone.source)
    cut = _cut(settings, backbone)
    shape = {"max_length": settings.data.max_length, "task": settings.task, "ss3_map": settings.ss3_map}
    for path in settings.data.test.values():
        index.build({"test": path}, **shape)  # type: ignore[arg-type]
    feed = FeedSpec(
        train=index.build(settings.data.train, **shape),  # type: ignore[arg-type]
        valid=index.build(settings.data.valid, **shape),  # type: ignore[arg-type]
        tokens=backbone.tokens,
        task=settings.task,
        ss3_map=settings.ss3_map,
        seed=settings.train.seed,
        budget=split.largest if split else settings.train.tokens_per_batch,
        per_step=split.parts if split else settings.train.micro_batches_per_step,
        step_tokens=split.tokens if split else None,
        by_length=_pads(settings, backbone),
    )
    if losses.needs_counts(settings.loss):
        feed.train.class_counts(settings.task, settings.ss3_map)
    return PreparedRun(settings, backbone, cut, feed, _start_bundle(settings, backbone))


def _cut(settings: Settings, backbone: ResolvedBackbone) -> Cut:
    """The cut of a run, if the backbone has the blocks that the settings name."""
    if settings.method != "features" or settings.head.mix_blocks:
        kinds.check(settings.adapter, backbone.num_blocks, backbone.name, backbone.width)
    return TaggerSettings.of(settings).cut(backbone.family, backbone.num_blocks)


def _pads(settings: Settings, backbone: ResolvedBackbone) -> bool:
    """Whether a part of the model pads windows to rows of equal length; see `attention.attend`."""
    size = Dimensions.of(backbone.family, backbone.config)
    packed_on_gpu = (
        size.family != "t5"
        and settings.backbone.dtype == "bfloat16"
        and attention.takes_packed(size.inner // size.heads)
    )
    return heads.head_class(settings.head).pads or (settings.scaling.use_gpu and not packed_on_gpu)


def _start_bundle(settings: Settings, backbone: ResolvedBackbone) -> Path | None:
    """The bundle that `train.start_from` names, if it holds what the run trains."""
    if not settings.train.start_from:
        return None
    from liftray.track.mlflow import versions

    directory = versions.resolve(settings.train.start_from, settings.tracking.uri)
    theirs, recorded = bundle.described(directory, bundle.read_info(directory))
    ours = TaggerSettings.of(settings)
    shapes = [
        {
            "task": one.task,
            "method": one.method,
            "adapter": _of_adapter(one),
            "head": one.head.model_dump(exclude={"dropout"}),
            "backbone": digest,
        }
        for one, digest in ((ours, backbone.digest), (theirs, recorded["digest"]))
    ]
    if other := [name for name, value in shapes[0].items() if value != shapes[1][name]]:
        raise ConfigError(
            f"train.start_from: the bundle has another {' and '.join(other)} than this run",
            where=str(directory),
            remedy="start from a bundle of the same shape, or leave train.start_from empty",
        )
    return directory


def _of_adapter(settings: TaggerSettings) -> dict[str, Any]:
    """The settings of the adapter that the trained weights depend on."""
    if settings.method != "features":
        return settings.adapter.model_dump()
    return {"skip_layers": settings.adapter.skip_layers} if settings.head.mix_blocks else {}
