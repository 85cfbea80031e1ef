"""Whether a candidate may become champion. Pure: evidence in, verdict out.

Invariant: a verdict rests on validation data only, and one that refuses names every reason. Flow: registry ->
[this].

The rule, with `difference` = candidate minus champion in the task's primary score (Q3, Q8 or Q9) on the same
chains:

- SCORE_LOWER: difference < -margin. The margin is 0 by default: staying costs nothing, and champions that may
  each be "not significantly worse" than the last one would drift downwards, above all on small validation
  sets.
- SIGNIFICANTLY_WORSE: the paired bootstrap's 95 % interval lies wholly below zero. So a margin forgives noise
  and never a loss that the data show. It needs per-chain scores of both; without them the point scores decide
  alone.
- TASK_DIFFERS, MAP_DIFFERS, DATA_DIFFERS, NO_SCORE: the two cannot be compared at all.

The first champion needs a score, and nothing to be compared with.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from liftray.errors import GateRefused

RESAMPLES = 2000
PRIMARY = {"ss3": "q3", "ss8": "q8", "ss9": "q9"}


class Refusal(GateRefused):
    """A refused promotion.

    Attributes:
        reasons: Stable codes such as SCORE_LOWER.
        verdict: The whole verdict, JSON-ready; empty where none was reached.
    """

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        remedy: str | None = None,
        reasons: list[str] | None = None,
        verdict: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(what, where=where, remedy=remedy)
        self.reasons = reasons or []
        self.verdict = dict(verdict or {})


@dataclass(frozen=True, slots=True)
class ChainScores:
    """Per-chain results on the validation sets.

    Attributes:
        labelled: Chain -> number of labelled residues.
        correct: Chain -> number of them predicted rightly.
    """

    labelled: Mapping[str, int]
    correct: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Contender:
    """One version and its validation evidence.

    Attributes:
        version: Registered version.
        task: ss3, ss8 or ss9.
        ss3_map: dssp or lift.
        score: Primary score on the validation data, a fraction; None where there is none.
        data: Validation set -> content digest.
        chains: Per-chain results, where the run kept them.
    """

    version: int
    task: str
    ss3_map: str
    score: float | None
    data: Mapping[str, str]
    chains: ChainScores | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The gate's answer.

    Attributes:
        reasons: Why not; empty when passed.
        evidence: The numbers it rests on, JSON-ready.
    """

    reasons: tuple[str, ...]
    evidence: dict[str, Any] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """Whether the candidate may become champion."""
        return not self.reasons

    def as_dict(self) -> dict[str, Any]:
        """The verdict, for JSON."""
        return {"passed": self.passed, "reasons": list(self.reasons), "evidence": self.evidence}


def judge(candidate: Contender, champion: Contender | None, *, margin: float = 0.0) -> Verdict:
    """Compare a candidate with the present champion; the rule stands in the module's docstring.

    Args:
        candidate: The version that wants to be champion.
        champion: The present one; None where there is none.
        margin: Loss in the primary score, a fraction, that still passes as noise.
    """
    name = PRIMARY[candidate.task]
    evidence: dict[str, Any] = {"score": name, "candidate": candidate.score, "data": dict(candidate.data)}
    if champion is None:
        return Verdict(("NO_SCORE",) if candidate.score is None else (), evidence)
    evidence |= {"champion": champion.score, "champion_version": champion.version, "margin": margin}
    reasons = _not_comparable(candidate, champion)
    if candidate.score is None or champion.score is None or reasons:
        return Verdict(tuple(reasons), evidence)
    evidence["difference"] = candidate.score - champion.score
    evidence["paired"] = paired = _paired(candidate.chains, champion.chains)
    # Equal counts give scores equal to the last bit or two.
    if evidence["difference"] < -margin - 1e-9:
        reasons.append("SCORE_LOWER")
    if paired is not None and paired["ci95"][1] < 0:
        reasons.append("SIGNIFICANTLY_WORSE")
    return Verdict(tuple(reasons), evidence)


def _not_comparable(candidate: Contender, champion: Contender) -> list[str]:
    reasons = []
    if candidate.task != champion.task:
        reasons.append("TASK_DIFFERS")
    elif candidate.task == "ss3" and candidate.ss3_map != champion.ss3_map:
        reasons.append("MAP_DIFFERS")
    # The digests say what was scored; the names in the config may differ.
    if not candidate.data or sorted(candidate.data.values()) != sorted(champion.data.values()):
        reasons.append("DATA_DIFFERS")
    if candidate.score is None or champion.score is None:
        reasons.append("NO_SCORE")
    return reasons


def _paired(candidate: ChainScores | None, champion: ChainScores | None) -> dict[str, Any] | None:
    """Paired bootstrap over chains of the pooled difference; None where the two cannot be paired."""
    if candidate is None or champion is None or dict(candidate.labelled) != dict(champion.labelled):
        return None
    names = [name for name, count in candidate.labelled.items() if count]
    if len(names) < 2:
        return None
    labelled_N = np.array([candidate.labelled[name] for name in names], dtype=np.float64)
    gain_N = np.array([candidate.correct[name] - champion.correct[name] for name in names], dtype=np.float64)
    rng = np.random.default_rng(0)
    drawn_RN = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=RESAMPLES)
    low, high = np.quantile((drawn_RN @ gain_N) / (drawn_RN @ labelled_N), (0.025, 0.975))
    difference = float(gain_N.sum() / labelled_N.sum())
    return {"difference": difference, "ci95": [float(low), float(high)], "num_chains": len(names)}
