"""Whether a candidate may become champion. Pure: evidence and policy in, verdict out.

Invariant: every gate is judged, and a verdict that refuses names every reason. Flow: registry -> [this].

`difference` is candidate minus champion in one score on the same chains, with the 95 % interval of a paired
bootstrap over chains (chains, not residues, are independent). The first champion is compared with nothing; all other
gates hold for it too. `propose` starts no fresh process: what needs one is pending until `promote`.

- comparable: TASK_DIFFERS, MAP_DIFFERS, DATA_DIFFERS (primary set), NO_SCORE.
- primary: SCORE_LOWER (difference < -equal_within: keeping the champion costs nothing, and champions that are each a
  little worse than the last drift downwards); NOT_BETTER where the policy demands a significant gain.
- sets: NOT_NON_INFERIOR (the interval reaches below -margin, so a loss of that size is not excluded);
  SIGNIFICANTLY_WORSE (the whole interval is below zero: a margin forgives noise, never a loss that the data show);
  NOT_PAIRED (no per-chain results of the same chains); SET_MISSING (a named set). Test sets only guard against a loss:
  the primary set alone decides which model is better.
- leakage: LEAKY_SET, LEAKAGE_UNKNOWN for named sets; other leaky sets are reported and not counted.
- floors: STATE_BELOW_FLOOR, SOV_BELOW_FLOOR, FLOOR_UNKNOWN. calibration: CALIBRATION_POOR, CALIBRATION_UNKNOWN.
- files: BUNDLE_CHANGED, BACKBONE_CHANGED, DATA_CHANGED, DATA_NOT_RECORDED, SCORES_CHANGED.
- replay: the codes of `replay`, and NOT_REPLAYED. budgets: TOO_LARGE, TOO_SLOW, LATENCY_UNKNOWN.
- licence: LICENCE_UNKNOWN.
"""

from typing import Any

from liftray.track.primary_score import PRIMARY
from liftray.track.promotion.evidence import SetEvidence, VersionEvidence
from liftray.track.promotion.pairing import paired
from liftray.track.promotion.policy import Policy
from liftray.track.promotion.verdict import GateResult, Verdict

# Not to be overridden: the model that would become champion is not the one that was scored.
FINAL = ("BUNDLE_CHANGED", "BACKBONE_CHANGED", "BUNDLE_UNLOADABLE", "NO_SCORE")
_ROUNDING = 1e-9


def judge(candidate: VersionEvidence, champion: VersionEvidence | None, policy: Policy) -> Verdict:
    """Judge every gate by the rules in the module's docstring.

    Args:
        candidate: The version that may become champion.
        champion: The present champion; None where there is none.
        policy: The limits.
    """
    comparable = _comparable(candidate, champion, policy)
    compared = None if comparable.reasons else champion
    return Verdict(
        (
            comparable,
            _primary(candidate, compared, policy),
            _sets(candidate, compared, policy),
            _leakage(candidate, policy),
            _floors(candidate, policy),
            _calibration(candidate, policy),
            GateResult("files", candidate.files.reasons, {"detail": list(candidate.files.detail)}),
            _replay(candidate, policy),
            _budgets(candidate, policy),
            _licence(candidate, policy),
        )
    )


def _score_name(contender: VersionEvidence, policy: Policy) -> str:
    return policy.primary.score or PRIMARY[contender.task]


def _comparable(candidate: VersionEvidence, champion: VersionEvidence | None, policy: Policy) -> GateResult:
    name, score = policy.primary.set, _score_name(candidate, policy)
    ours = candidate.sets.get(name)
    evidence: dict[str, Any] = {"set": name, "score": score, "data": sorted(ours.digests) if ours else []}
    reasons = ["NO_SCORE"] if ours is None or ours.score(score) is None else []
    if champion is not None:
        theirs = champion.sets.get(name)
        if candidate.task != champion.task:
            reasons.append("TASK_DIFFERS")
        elif (candidate.task == "ss3" or score == "q3") and candidate.ss3_map != champion.ss3_map:
            reasons.append("MAP_DIFFERS")
        # The digests identify the data; the names in the config may differ.
        if ours is None or theirs is None or not _same_data(ours, theirs):
            reasons.append("DATA_DIFFERS")
        elif theirs.score(score) is None:
            reasons.append("NO_SCORE")
        evidence |= {"champion_version": champion.version}
    return GateResult("comparable", tuple(dict.fromkeys(reasons)), evidence)


def _same_data(one: SetEvidence, other: SetEvidence) -> bool:
    return bool(one.digests) and sorted(one.digests) == sorted(other.digests)


def _primary(candidate: VersionEvidence, champion: VersionEvidence | None, policy: Policy) -> GateResult:
    name, score = policy.primary.set, _score_name(candidate, policy)
    ours = candidate.sets.get(name)
    value = ours.score(score) if ours is not None else None
    evidence: dict[str, Any] = {"set": name, "score": score, "candidate": value}
    if champion is None or ours is None or value is None:
        return GateResult("primary", (), evidence)
    theirs = champion.sets[name]
    present = theirs.score(score)
    if present is None:
        raise ValueError(
            f"version {champion.version} has no {score} on {name}: `comparable` refuses such a pair"
        )
    found = paired(ours.chains, theirs.chains)
    difference = value - present
    evidence |= {"champion": present, "difference": difference, "paired": found}
    reasons = []
    # Equal counts give scores equal to the last bit or two.
    if difference < -policy.primary.equal_within - _ROUNDING:
        reasons.append("SCORE_LOWER")
    if policy.primary.significant and (found is None or found["ci95"][0] <= 0):
        reasons.append("NOT_BETTER")
    return GateResult("primary", tuple(reasons), evidence)


def _sets(candidate: VersionEvidence, champion: VersionEvidence | None, policy: Policy) -> GateResult:
    if champion is None:
        return GateResult("sets")
    named = policy.named()
    common = [name for name in candidate.sets if name in champion.sets]
    counted = named | (set() if policy.sets.names else {n for n in common if not candidate.sets[n].leaky})
    reasons: list[str] = []
    evidence: dict[str, Any] = {}
    for name in sorted(counted):
        codes, evidence[name] = _not_worse(
            candidate.sets.get(name), champion.sets.get(name), policy.margin(name)
        )
        if codes == ["SET_MISSING"] and name not in named:
            evidence[name] = {"not_compared": "scored on other data"}
        else:
            reasons += codes
    return GateResult("sets", tuple(dict.fromkeys(reasons)), evidence)


def _not_worse(
    ours: SetEvidence | None, theirs: SetEvidence | None, margin: float
) -> tuple[list[str], dict[str, Any]]:
    """Reasons and evidence for one set."""
    if ours is None or theirs is None or not _same_data(ours, theirs):
        return ["SET_MISSING"], {"margin": margin}
    found = paired(ours.chains, theirs.chains)
    if found is None:
        return ["NOT_PAIRED"], {"margin": margin}
    low, high = found["ci95"]
    reasons = ["NOT_NON_INFERIOR"] if low < -margin - _ROUNDING else []
    return reasons + (["SIGNIFICANTLY_WORSE"] if high < 0 else []), {"margin": margin, **found}


def _leakage(candidate: VersionEvidence, policy: Policy) -> GateResult:
    reasons, evidence = [], {}
    for name, found in candidate.sets.items():
        evidence[name] = {"leaky": found.leaky, "share": found.leakage_share, "counted": not found.leaky}
        if name not in policy.named():
            continue
        if found.leaky:
            reasons.append("LEAKY_SET")
        elif found.leaky is None and not policy.leakage.allow_unknown:
            reasons.append("LEAKAGE_UNKNOWN")
    return GateResult("leakage", tuple(dict.fromkeys(reasons)), evidence)


def _floors(candidate: VersionEvidence, policy: Policy) -> GateResult:
    found = candidate.sets.get(policy.primary.set)
    scores = found.scores if found is not None else {}
    states = scores.get("per_state") or {}
    reasons: list[str] = []
    evidence: dict[str, Any] = {}
    if policy.floors.sov99 is not None:
        value = scores.get("sov99")
        evidence["sov99"] = {"value": value, "floor": policy.floors.sov99}
        reasons += _below(value, policy.floors.sov99, "SOV_BELOW_FLOOR")
    for state, floor in policy.floors.f1.items():
        row = states.get(state)
        if states and (row is None or not row.get("true")):
            continue  # the alphabet or the set has no such state
        value = row.get("f1") if row else None
        evidence[f"f1:{state}"] = {"value": value, "floor": floor}
        reasons += _below(value, floor, "STATE_BELOW_FLOOR")
    return GateResult("floors", tuple(dict.fromkeys(reasons)), evidence)


def _below(value: float | None, floor: float, code: str) -> list[str]:
    if value is None:
        return ["FLOOR_UNKNOWN"]
    return [code] if value < floor else []


def _calibration(candidate: VersionEvidence, policy: Policy) -> GateResult:
    limit, found = policy.calibration.max_ece, candidate.sets.get(policy.primary.set)
    recorded = found.scores.get("ece") if found is not None else None
    measured = candidate.replayed.ece if candidate.replayed is not None else None
    value = recorded if measured is None else measured
    evidence = {"ece": value, "limit": limit}
    if limit is None:
        return GateResult("calibration", (), evidence)
    if value is None and candidate.replay_deferred:
        return GateResult("calibration", (), evidence, pending=True)
    if value is None:
        return GateResult("calibration", ("CALIBRATION_UNKNOWN",), evidence)
    return GateResult("calibration", ("CALIBRATION_POOR",) if value > limit else (), evidence)


def _replay(candidate: VersionEvidence, policy: Policy) -> GateResult:
    found = candidate.replayed
    if found is None:
        pending = policy.replay.required and candidate.replay_deferred
        reasons = ("NOT_REPLAYED",) if policy.replay.required and not pending else ()
        return GateResult("replay", reasons, {"replayed": False}, pending)
    evidence = {
        "num_chains": found.num_chains,
        "differing": list(found.differing),
        "load_s": found.load_s,
        "detail": list(found.detail),
    }
    return GateResult("replay", found.reasons, evidence)


def _budgets(candidate: VersionEvidence, policy: Policy) -> GateResult:
    size, limits = candidate.files.bundle_bytes, policy.budgets
    latency = candidate.replayed.latency_s if candidate.replayed is not None else None
    megabytes = None if size is None else size / 1e6
    evidence = {
        "bundle_mb": megabytes,
        "max_bundle_mb": limits.max_bundle_mb,
        "latency_s": latency,
        "max_latency_s": limits.max_latency_s,
    }
    reasons = []
    if limits.max_bundle_mb is not None and megabytes is not None and megabytes > limits.max_bundle_mb:
        reasons.append("TOO_LARGE")
    pending = limits.max_latency_s is not None and latency is None and candidate.replay_deferred
    if limits.max_latency_s is not None and not pending:
        if latency is None:
            reasons.append("LATENCY_UNKNOWN")
        elif latency > limits.max_latency_s:
            reasons.append("TOO_SLOW")
    return GateResult("budgets", tuple(reasons), evidence, pending)


def _licence(candidate: VersionEvidence, policy: Policy) -> GateResult:
    recorded, vouched = candidate.files.licence, policy.licence.backbone
    evidence = {"backbone": recorded or vouched, "vouched": not recorded and bool(vouched)}
    known = bool(recorded or vouched) or not policy.licence.required
    return GateResult("licence", () if known else ("LICENCE_UNKNOWN",), evidence)
