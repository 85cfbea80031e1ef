"""What the gates decide: the result of each gate, the verdict of all, and the refusal that a user reads.

Invariant: a verdict that refuses names every reason. Plain data. Flow: gates -> [this] -> registry, promotion_record.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from liftray.errors import GateRefused


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
class GateResult:
    """The result of one gate.

    Attributes:
        gate: Its name.
        reasons: Codes of why not; empty where it passes or is pending.
        evidence: The numbers behind it, JSON-ready.
        pending: Whether a part of it is checked at promote only.
    """

    gate: str
    reasons: tuple[str, ...] = ()
    evidence: dict[str, Any] = field(default_factory=dict)
    pending: bool = False

    @property
    def passed(self) -> bool | None:
        """Whether the gate passes; None where that is checked at promote."""
        return _passed(self.reasons, self.pending)

    def as_dict(self) -> dict[str, Any]:
        """The result, for JSON."""
        content = {
            "gate": self.gate,
            "passed": self.passed,
            "reasons": list(self.reasons),
            "evidence": self.evidence,
        }
        return content | ({"to_check": "at promote"} if self.pending else {})


@dataclass(frozen=True, slots=True)
class Verdict:
    """The results of all gates."""

    results: tuple[GateResult, ...]

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why not, each code once, in the order of the gates; empty where none refuses."""
        return tuple(dict.fromkeys(code for result in self.results for code in result.reasons))

    @property
    def pending(self) -> tuple[str, ...]:
        """Gates that are checked at promote."""
        return tuple(result.gate for result in self.results if result.pending)

    @property
    def passed(self) -> bool | None:
        """Whether the candidate may become champion; None where no gate refuses and some are pending."""
        return _passed(self.reasons, bool(self.pending))

    def evidence(self, gate: str) -> dict[str, Any]:
        """The numbers of one gate."""
        return next(result.evidence for result in self.results if result.gate == gate)

    def as_dict(self) -> dict[str, Any]:
        """The verdict, for JSON."""
        return {
            "passed": self.passed,
            "reasons": list(self.reasons),
            "to_check_at_promote": list(self.pending),
            "gates": [result.as_dict() for result in self.results],
        }


def _passed(reasons: tuple[str, ...], pending: bool) -> bool | None:
    return False if reasons else None if pending else True
