"""The evidence on one version: its scores chain by chain, the state of its files, and the result of a replay.

Invariant: plain data, no MLflow and no torch; None means "not known" and never "fine".
Flow: collect, replay -> [this] -> gates.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class ChainScores:
    """Per-chain results on one set.

    Attributes:
        labelled: Chain -> number of labelled residues.
        correct: Chain -> number of them predicted rightly.
    """

    labelled: Mapping[str, int]
    correct: Mapping[str, int]

    @property
    def pooled(self) -> float | None:
        """Correct over labelled residues of all chains; None where no residue is labelled."""
        total = sum(self.labelled.values())
        return sum(self.correct.values()) / total if total else None


@dataclass(frozen=True, slots=True)
class SetEvidence:
    """One version on one set.

    Attributes:
        digests: Content digests of the data; those of all validation sets for the pooled `valid`.
        scores: What evaluation recorded, in the shape of `metrics.json`.
        chains: Per-chain results, where the run stored them.
        leaky: Whether training saw too many of its chains; None where that was not measured.
        leakage_share: Share of chains seen in training.
    """

    digests: tuple[str, ...]
    scores: Mapping[str, Any]
    chains: ChainScores | None = None
    leaky: bool | None = None
    leakage_share: float | None = None

    def score(self, name: str) -> float | None:
        """The recorded score, a fraction; pooled from the chains where none was recorded."""
        value = self.scores.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
        return self.chains.pooled if self.chains is not None else None


@dataclass(frozen=True, slots=True)
class ReplayResult:
    """The result of predicting again in a fresh process.

    Attributes:
        reasons: Codes of what went wrong; empty where the bundle reproduced the evaluated predictions.
        detail: One line on each reason.
        num_chains: Chains predicted again.
        differing: Some of the chains that were not reproduced.
        load_s: Seconds to load bundle and backbone.
        latency_s: Seconds for one chain alone, median of a few.
        ece: Expected calibration error of those predictions, a fraction.
    """

    reasons: tuple[str, ...] = ()
    detail: tuple[str, ...] = ()
    num_chains: int = 0
    differing: tuple[str, ...] = ()
    load_s: float | None = None
    latency_s: float | None = None
    ece: float | None = None


@dataclass(frozen=True, slots=True)
class FileEvidence:
    """The state of the stored files.

    Attributes:
        reasons: Codes of the differences from what was recorded.
        detail: One line on each.
        bundle_bytes: Size of the bundle; None where it could not be fetched.
        licence: The recorded licence of the backbone.
    """

    reasons: tuple[str, ...] = ()
    detail: tuple[str, ...] = ()
    bundle_bytes: int | None = None
    licence: str | None = None


@dataclass(frozen=True, slots=True)
class VersionEvidence:
    """One version and all its evidence.

    Attributes:
        version: Registered version.
        task: ss3, ss8 or ss9.
        ss3_map: dssp or lift.
        sets: Set -> evidence; `valid` is all validation sets pooled, test sets go by their names.
        files: The state of its files.
        replayed: The result of a replay; None where there was none.
        replay_deferred: Whether `promote` makes the replay later.
    """

    version: int
    task: str
    ss3_map: str
    sets: Mapping[str, SetEvidence]
    files: FileEvidence = field(default_factory=FileEvidence)
    replayed: ReplayResult | None = None
    replay_deferred: bool = False
