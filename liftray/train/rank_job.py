"""What the driver sends to every rank.

Invariant: everything a rank does follows from this and its number. Flow: prepare -> [this] -> worker -> rank.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path

from liftray import files, paths
from liftray.adapt.cut import Cut
from liftray.config import Settings
from liftray.data.feed import FeedSpec
from liftray.train import run_digest
from liftray.train.prepare import PreparedRun

STORE, _START = "checkpoints", "start"


@dataclass(frozen=True)
class RankJob:
    """A run as a rank needs it.

    Attributes:
        settings: The run's settings.
        source: The backbone source that the driver reached, from any directory.
        backbone_digest: Digest that this node's copy of it must have.
        cut: Where the frozen part of the backbone ends.
        feed: Windows to train and validate on.
        total_steps: Global steps of all epochs.
        idle_share: Share of the workers' time in which one waits for the others, by the plan of the first epoch.
        config_digest: Digest of the settings that a resumed run must share.
        first_version_digest: The digest that version 0.1 wrote for the same run, if it could have run it.
        store: Directory of the run's checkpoints, on storage that all nodes share.
        start: The bundle with the initial weights, on the same storage; None: they are random.
    """

    settings: Settings
    source: str
    backbone_digest: str
    cut: Cut
    feed: FeedSpec
    total_steps: int
    idle_share: float
    config_digest: str
    store: Path
    start: Path | None = None
    first_version_digest: str | None = None

    @classmethod
    def of(cls, prepared: PreparedRun, run_dir: Path) -> "RankJob":
        """Make the job of a prepared run.

        Args:
            prepared: The run.
            run_dir: The run directory; the bundle that the run starts from is copied into it.
        """
        settings, feed = prepared.settings, prepared.feed
        return cls(
            settings=settings,
            # Ray Train starts its workers in another directory.
            source=paths.absolute(prepared.backbone.source),
            backbone_digest=prepared.backbone.digest,
            cut=prepared.cut,
            feed=feed,
            total_steps=sum(feed.num_steps(epoch) for epoch in range(settings.train.epochs)),
            idle_share=feed.idle_share(0, settings.scaling.num_workers),
            config_digest=prepared.digest,
            first_version_digest=run_digest.first_version_digest(settings, prepared.backbone, feed),
            store=run_dir.resolve() / STORE,
            start=_copied_start(prepared.start, run_dir),
        )


def _copied_start(start: Path | None, run_dir: Path) -> Path | None:
    """The start bundle within the run directory, which all nodes see; of a run that has begun, the copy made then."""
    if start is None:
        return None
    copy = run_dir.resolve() / _START
    if copy.exists() and not (run_dir / STORE).exists():
        files.remove_directory(
            copy
        )  # of another run, or of an attempt that ended before its first checkpoint
    if not copy.exists():
        with files.new_directory(copy) as fresh:
            shutil.copytree(start, fresh, dirs_exist_ok=True)
    return copy
