"""What a search's report shows of each trial.

Invariant: a trial that finished has a score with its interval; no other trial has one. Flow: ledger, evidence -> [this]
-> search_report, picture.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from liftray.adapt import kinds
from liftray.config import Settings
from liftray.search import evidence, sharing
from liftray.search.evidence import ComparedScore
from liftray.search.ledger import Ledger, Trial
from liftray.search.objectives import front
from liftray.search.trial import CHAINS, settings_of


@dataclass(frozen=True)
class TrialRow:
    """One trial in the report.

    Attributes:
        trial: The trial.
        on_front: Whether no other finished trial beats it in all objectives.
        kind: Adapter kind, or the method where that has none.
        blocks: Blocks that are trained.
        of_blocks: Blocks of its backbone.
        width: Units of the bottleneck, or rank, as built; None without adapters and for kinds that have no width.
        compared: Its score with interval; None unless it finished.
    """

    trial: Trial
    on_front: bool
    kind: str
    blocks: int
    of_blocks: int
    width: int | None
    compared: ComparedScore | None

    @property
    def description(self) -> str:
        """The trial in words."""
        where = f"the top {self.blocks} of {self.of_blocks} blocks" if self.blocks else "no block"
        width = f" of width {self.width}" if self.width is not None else ""
        return f"trial {self.trial.number} ({self.kind}{width} in {where})"


def gather(ledger: Ledger, settings: Settings, best: Trial) -> list[TrialRow]:
    """Read what the report shows of each trial, in the order of the ledger.

    Args:
        ledger: The search's trials.
        settings: Of the search.
        best: The trial that the others are compared with.

    Raises:
        DataError: Two trials predicted different chains.
    """
    score, ss3_map = settings.search.objectives[0], settings.ss3_map
    counts = {
        trial.number: evidence.read_counts(ledger.directory(trial) / CHAINS, score, ss3_map)
        for trial in ledger.trials
        if trial.state == "finished" and (ledger.directory(trial) / CHAINS).exists()
    }
    compared = (
        evidence.compare_to_best(counts, best.number, resamples=settings.evaluate.resamples)
        if best.number in counts
        else {}
    )
    prepare = sharing.Preparer()
    rows = []
    for trial, flag in zip(ledger.trials, front(ledger.trials, settings.search.objectives), strict=True):
        ours = settings_of(settings, trial.config, ledger.out)
        prepared, adapted = prepare(ours), ours.method == "adapter"
        rows.append(
            TrialRow(
                trial,
                flag,
                ours.adapter.kind if adapted else ours.method,
                0 if ours.method == "features" else prepared.cut.above,
                prepared.cut.depth,
                kinds.width_as_built(ours.adapter, prepared.backbone.width) if adapted else None,
                compared.get(trial.number),
            )
        )
    return rows


def finished(rows: Sequence[TrialRow]) -> list[tuple[TrialRow, ComparedScore]]:
    """The rows that have a score with its interval."""
    return [(row, row.compared) for row in rows if row.compared is not None]
