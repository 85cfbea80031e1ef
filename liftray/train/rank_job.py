"""What the driver sends to every rank.

Invariant: everything a rank does follows from this and its number. Flow: launch -> [this] -> worker -> rank.
"""

from dataclasses import dataclass
from pathlib import Path

from liftray.adapt.cut import Cut
from liftray.config import Settings
from liftray.data.feed import FeedSpec


@dataclass(frozen=True)
class RankJob:
    """A run as a rank needs it.

    Attributes:
        settings: The run's settings.
        source: The backbone source that the driver found.
        backbone_digest: Digest that this node's copy of it must have.
        cut: Where the frozen part of the backbone ends.
        feed: What to train and validate on.
        total_steps: Global steps of all epochs.
        config_digest: Digest of the settings that a resumed run must share.
        first_version_digest: The digest that version 0.1 wrote for the same run, if it could have run it.
        store: Directory of the run's checkpoints, on storage that all nodes share.
        start: The bundle whose weights are the initial ones, on the same storage; None: random weights.
    """

    settings: Settings
    source: str
    backbone_digest: str
    cut: Cut
    feed: FeedSpec
    total_steps: int
    config_digest: str
    store: Path
    start: Path | None = None
    first_version_digest: str | None = None
