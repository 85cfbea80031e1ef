"""The claims of a study, answered by paired tests.

Invariant: the arm that represents several is chosen on validation data. The verdict rests on the test sets (all that
are not leaky, as one) where there are any, and on validation only where there are none. Pure. Flow: outcomes ->
inference -> [this] -> findings.

A claim compares a difference with its null: 0 for "better", minus the margin for "not worse" and for the steps of a
sweep, the margin for "better by". It counts when the permutation test over chains against that null gives p < 0.05,
corrected by Holm's method for every comparison that decides a claim of the study. The verdict also states whether it
would hold with other seeds (the hierarchical bootstrap's 95 % interval).

A sweep starts at the arm that is best on validation (of all but the last), which must itself be not worse than the
first arm. It continues with the arms behind it in the order of the config, and stops at the first that is not shown to
be not worse. So the chance of one false step in the whole sweep stays that of one test (a fixed sequence of hypotheses;
Maurer, Hothorn & Lehmacher, 1995). A sweep counts as one of the study's comparisons, with the largest correction
(Bonferroni's), which leaves Holm's correction valid for the others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from liftray.sections import ClaimSettings
from liftray.statistics.holm import holm
from liftray.statistics.paired import SeededDifference
from liftray.study import claim_sentences, inference
from liftray.study.outcomes import ArmCounts

VALIDATION, POOLED = "validation", "all test sets"
SIGNIFICANT = 0.05

Verdict = Literal[
    "holds", "holds for these seeds", "not shown", "contradicted for these seeds", "contradicted"
]
Row = dict[str, Any]
Pair = tuple[str, str, str]
"""An arm, what it is compared with, and the set."""

# From the worst: a claim about several others holds only as well as against the one where it holds least.
_ORDER: tuple[Verdict, ...] = (
    "contradicted", "contradicted for these seeds", "not shown", "holds for these seeds", "holds",
)  # fmt: skip
_SHOWN: tuple[Verdict, ...] = ("holds", "holds for these seeds")


@dataclass(frozen=True)
class Evidence:
    """The scores that decide claims.

    Attributes:
        sets: Set -> arm -> its scores; VALIDATION, each test set, and POOLED where there are test sets.
        score: The score that decides.
        resamples: Bootstrap resamples and permutations.
        further: Scores that are compared in addition and decide nothing.
    """

    sets: Mapping[str, Mapping[str, ArmCounts]]
    score: str
    resamples: int
    further: tuple[str, ...] = ()

    @property
    def decisive(self) -> str:
        """The set that verdicts rest on."""
        return POOLED if POOLED in self.sets else VALIDATION

    @property
    def single(self) -> list[str]:
        """Validation and each test set alone."""
        return [name for name in self.sets if name != POOLED]

    def of(self, arm: str, name: str) -> float:
        """An arm's score on a set."""
        return self.sets[name][arm][self.score].score

    def compare(self, pair: Pair, null: float, score: str | None = None) -> SeededDifference:
        """Two arms on a set, by the deciding score or another."""
        one, other, name = pair
        a, b = (self.sets[name][arm][score or self.score] for arm in (one, other))
        return inference.compare(a, b, resamples=self.resamples, null=null)


@dataclass(frozen=True)
class ResolvedClaim:
    """A claim whose arms have all been run.

    Attributes:
        settings: What is claimed, and how it is tested.
        arms: Arms that it is about, those of groups named one by one.
        than: Arms that they are compared with; none of them among `arms`.
    """

    settings: ClaimSettings
    arms: Sequence[str]
    than: Sequence[str]

    @property
    def null(self) -> float:
        """The difference that must be exceeded."""
        margin = self.settings.margin or 0.0
        return margin if self.settings.kind == "better_by" else -margin

    def speaker(self, evidence: Evidence) -> str:
        """The arm that represents all: the best on validation."""
        return max(self.arms, key=lambda arm: evidence.of(arm, VALIDATION))


def answer(resolved: Mapping[str, ResolvedClaim], evidence: Evidence) -> dict[str, dict[str, Any]]:
    """Answer the claims of a study together: what decides them is corrected for their number.

    Args:
        resolved: Name -> claim.
        evidence: The scores.

    Returns:
        Name -> answer, JSON-ready: `says`, `kind`, `note`, `score`, `margin`, `decided_on`, `corrected_for` (the
        comparisons of all claims together), `verdict`, `sentence`, and rows of comparisons. A sweep has `start`,
        `deepest` and `steps` (the start against the first arm, each other arm against the start, on every set). Other
        claims have `decisive` (the arm that represents the others, on the deciding set), `by_set` (the same on each set
        alone), `further` (the same by the further scores) and `candidates` (every arm, on the deciding set and
        validation). A row: `arm`, `than`, `set`, `score`, `difference`, `null`, `ci95`, `p`, `p_corrected`,
        `seeds_ci95`, `seeds_p`.
    """
    decisive = {
        name: _rows(
            [(one.speaker(evidence), other, evidence.decisive) for other in one.than], one.null, evidence
        )
        for name, one in resolved.items()
        if one.settings.kind != "sweep"
    }
    sweeps = len(resolved) - len(decisive)
    rows = [row for of_claim in decisive.values() for row in of_claim]
    # A sweep keeps its share of the error whatever its p-values are: it takes part as if they were 1.
    corrected = holm([*(row["p"] for row in rows), *[1.0] * sweeps])
    for row, p in zip(rows, corrected, strict=False):
        row["p_corrected"] = p
    family = len(rows) + sweeps
    answers = {}
    for name, one in resolved.items():
        common = {
            **one.settings.model_dump(include={"says", "kind", "note", "margin"}),
            "score": evidence.score,
            "decided_on": evidence.decisive,
            "corrected_for": family,
        }
        own = (
            _sweep(one, family, evidence) if name not in decisive else _tested(one, decisive[name], evidence)
        )
        answers[name] = {**common, **own}
    return answers


def _tested(claim: ResolvedClaim, decisive: list[Row], evidence: Evidence) -> dict[str, Any]:
    speaker, null = claim.speaker(evidence), claim.null
    by_set = [(speaker, other, name) for other in claim.than for name in evidence.single]
    further: list[Row] = []
    for score in evidence.further:
        pairs = [(speaker, other, evidence.decisive) for other in claim.than]
        further += _corrected(_rows(pairs, null, evidence, score))
    candidates: list[Row] = []
    for name in dict.fromkeys([evidence.decisive, VALIDATION]):
        candidates += _corrected(
            _rows([(arm, other, name) for other in claim.than for arm in claim.arms], null, evidence)
        )
    verdicts = [_verdict(row) for row in decisive]
    return {
        "speaker": speaker,
        "verdict": min(verdicts, key=_ORDER.index),
        "sentence": f"On {evidence.decisive}, by {evidence.score.upper()}"
        f"{claim_sentences.hypothesis(claim.settings.kind, null)}: "
        f"{claim_sentences.comparisons(speaker, len(claim.arms), decisive, verdicts)}.",
        "decisive": decisive,
        "by_set": _corrected(_rows(by_set, null, evidence)),
        "further": further,
        "candidates": candidates,
    }


def _rows(pairs: Sequence[Pair], null: float, evidence: Evidence, score: str | None = None) -> list[Row]:
    return [
        {
            **dict(zip(("arm", "than", "set"), pair, strict=True)),
            "score": score or evidence.score,
            "null": null,
            **inference.as_row(evidence.compare(pair, null, score)),
        }
        for pair in pairs
    ]


def _corrected(rows: list[Row]) -> list[Row]:
    """A family of comparisons: their p-values are corrected for their number."""
    return [{**row, "p_corrected": p} for row, p in zip(rows, holm([row["p"] for row in rows]), strict=True)]


def _verdict(row: Row) -> Verdict:
    if row["p_corrected"] >= SIGNIFICANT or row["difference"] == row["null"]:
        return "not shown"
    low, high = row["seeds_ci95"] or (row["null"], row["null"])
    if row["difference"] < row["null"]:
        return "contradicted" if high < row["null"] else "contradicted for these seeds"
    return "holds" if low > row["null"] else "holds for these seeds"


def _sweep(claim: ResolvedClaim, family: int, evidence: Evidence) -> dict[str, Any]:
    first, *_ = claim.arms
    # Not the first, which may happen to be badly tuned: then any step down from it would be no loss.
    start = max(claim.arms[:-1], key=lambda arm: evidence.of(arm, VALIDATION))
    lower = claim.arms[claim.arms.index(start) + 1 :]
    pairs = [(arm, start) for arm in claim.arms if arm != start]
    # That the start itself loses nothing against the first is the first step down.
    path = [*([(start, first)] if start != first else []), *((arm, start) for arm in lower)]
    steps: list[Row] = []
    for name in evidence.sets:
        for row in _rows([(*pair, name) for pair in dict.fromkeys([*path, *pairs])], claim.null, evidence):
            row["p_corrected"] = min(1.0, family * row["p"])
            steps.append({**row, "not_worse": _verdict(row)})
    reached = {
        name: _reached([row for row in steps if row["set"] == name and (row["arm"], row["than"]) in path])
        for name in evidence.sets
    }
    arm, verdict = reached[evidence.decisive]
    return {
        "verdict": verdict,
        "arms": list(claim.arms),
        "start": start,
        "deepest": arm,
        "deepest_by_set": {name: one for name, (one, _) in reached.items()},
        "sentence": _sweep_sentence(first, start, claim, evidence, steps, reached),
        "steps": steps,
    }


def _reached(steps: Sequence[Row]) -> tuple[str | None, Verdict]:
    """The last arm of the unbroken run of those not worse, and how sure that is."""
    last: str | None = None
    weakest: Verdict = "holds"
    for row in steps:
        if row["not_worse"] not in _SHOWN:
            break
        last, weakest = row["arm"], min(weakest, row["not_worse"], key=_ORDER.index)
    if last is None:
        return None, steps[0]["not_worse"]
    return last, weakest


def _sweep_sentence(
    first: str,
    start: str,
    claim: ResolvedClaim,
    evidence: Evidence,
    steps: Sequence[Row],
    reached: Mapping[str, tuple[str | None, Verdict]],
) -> str:
    arm, _ = reached[evidence.decisive]
    row = next((row for row in steps if row["arm"] == arm and row["set"] == evidence.decisive), None)
    sentence = claim_sentences.sweep(
        first, start, arm, row, on=evidence.decisive, margin=claim.settings.margin or 0.0
    )
    if evidence.decisive != VALIDATION:
        sentence += f" On validation: down to {reached[VALIDATION][0] or 'no step'}."
    return sentence
