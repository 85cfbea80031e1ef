"""Moves the aliases `candidate` and `champion` of a registered model: propose, promote, rollback.

Invariant: the ledger's last move names the version with the alias `champion`. Where the two disagree, nothing is
decided until the recorded move is finished or the alias is set back. Flow: jobs -> [this] -> versions, collect, gates,
ledger, hook.

A move is written to the ledger first and made after, so a process that dies in between leaves a record, and
repeating the same command finishes it. A refusal by the gates is written too.
"""

from collections.abc import Sequence
from typing import Any

from liftray.errors import InputError, LiftrayError
from liftray.progress import show_line
from liftray.track.mlflow import versions
from liftray.track.mlflow.store import check, client, mlflow_errors
from liftray.track.mlflow.versions import CANDIDATE, CHAMPION
from liftray.track.promotion import collect, gates, hook, ledger, promotion_record
from liftray.track.promotion.anchors import Anchors
from liftray.track.promotion.gates import FINAL
from liftray.track.promotion.policy import Policy
from liftray.track.promotion.verdict import Refusal, Verdict

_MOVES = ("promote", "rollback")


def propose(
    name: str, version: int, *, uri: str, reason: str = "proposed", policy: Policy | None = None
) -> dict[str, Any]:
    """Set the alias `candidate` on a version and judge it; `champion` stays.

    What needs a fresh process is left to `promote`: the verdict lists these gates in `to_check_at_promote`.

    Returns:
        `action`, `name`, `version`, `champion`, `verdict`, `entry` (of the ledger).

    Raises:
        TrackingError: There is no such model or version.
        Refusal: The ledger is broken or in use.
    """
    uri, reason = check(uri, create=False), ledger.check_reason(reason)
    store = client(uri)
    policy = policy or Policy()
    anchors = Anchors.of(policy.ledger)
    verdict, champion = _judge(name, version, uri, policy, fresh=False)
    with ledger.claim(store, uri, name, anchors) as entries:
        fields: dict[str, Any] = {"version": version, "previous": champion, "reason": reason, "evidence": {}}
        entry = ledger.append(store, uri, name, entries, anchors, action="propose", **fields)
        with mlflow_errors(uri):
            store.set_registered_model_alias(name, CANDIDATE, str(version))
    return {
        "action": "propose",
        "name": name,
        "version": version,
        "champion": champion,
        "verdict": verdict.as_dict(),
        "entry": entry,
    }


def promote(
    name: str,
    version: int | None = None,
    *,
    uri: str,
    reason: str = "",
    dry_run: bool = False,
    policy: Policy | None = None,
    override: Sequence[str] = (),
) -> dict[str, Any]:
    """Make a version champion where the gates allow it.

    Args:
        name: Registered model.
        version: The version; default: the one with the alias `candidate`.
        uri: The store.
        reason: Why, for the ledger.
        dry_run: Judge only; nothing is written, a refusal neither.
        policy: The limits of the gates; default: the safe defaults.
        override: Reason codes to ignore; the ledger records them.

    Returns:
        `action`, `name`, `version`, `previous`, `changed`, `dry_run`, `verdict`, `overridden`, `entry` (null
        where nothing changed), `hook`.

    Raises:
        Refusal: A gate refused, or the ledger is broken, in use or at odds with the alias. No alias was moved; the
            ledger records a refusal by the gates.
        InputError: No reason was given, or a code cannot be overridden.
    """
    uri, policy = check(uri, create=False), policy or Policy()
    reason = reason if dry_run and not override else ledger.check_reason(reason)
    _check_override(override)
    hook.check(policy.hook)
    anchors = Anchors.of(policy.ledger)
    store = client(uri)
    known = versions.aliases(store, uri, name)
    version = version or known.get(CANDIDATE)
    if version is None:
        raise Refusal(
            "NO_CANDIDATE: no version has the alias candidate",
            where=f"registered model {name!r}",
            remedy="give --version N",
            reasons=["NO_CANDIDATE"],
        )
    entries = ledger.read(store, uri, name, anchors)
    finished = _finish(store, uri, name, version, entries, known.get(CHAMPION), dry_run=dry_run)
    result: dict[str, Any] = {"action": "promote", "name": name, "version": version, "dry_run": dry_run}
    champion = known.get(CHAMPION)
    result |= {"previous": champion, "changed": False, "verdict": None, "overridden": [], "entry": finished}
    if champion == version:
        return result
    if finished is not None:  # it was judged when it was recorded
        return result | {"changed": not dry_run, "hook": _notify(policy, name, finished, dry_run=dry_run)}
    verdict, _ = _judge(name, version, uri, policy, fresh=True)
    result["verdict"] = verdict.as_dict()
    result["overridden"] = overridden = [code for code in verdict.reasons if code in override]
    if left := [code for code in verdict.reasons if code not in override]:
        refusal = promotion_record.refusal(name, version, verdict, left, result)
        if not dry_run:
            _record_refusal(uri, name, anchors, champion, version, reason, verdict)
        raise refusal
    if dry_run:
        return result
    evidence = promotion_record.evidence(verdict) | ({"overridden": overridden} if overridden else {})
    result["entry"] = entry = _move(
        uri, name, anchors, entries, champion, "promote", version, reason, evidence
    )
    result["changed"] = True
    promotion_record.keep(name, version, uri, entry, result["verdict"])
    return result | {"hook": _notify(policy, name, entry, dry_run=False)}


def rollback(
    name: str, *, uri: str, reason: str, dry_run: bool = False, policy: Policy | None = None
) -> dict[str, Any]:
    """Give `champion` back to the version that had it before the present one.

    Returns:
        `action`, `name`, `version` (the restored one), `previous`, `changed`, `dry_run`, `entry`, `hook`.

    Raises:
        Refusal: NOTHING_BEFORE: there was no former champion; or see `promote`.
    """
    uri, policy = check(uri, create=False), policy or Policy()
    reason = ledger.check_reason(reason)
    hook.check(policy.hook)
    anchors = Anchors.of(policy.ledger)
    store = client(uri)
    champion = versions.aliases(store, uri, name).get(CHAMPION)
    entries = ledger.read(store, uri, name, anchors)
    _agree(name, entries, champion)
    stack = _champions(entries)
    if len(stack) < 2:
        raise Refusal(
            "NOTHING_BEFORE: there is no former champion to go back to",
            where=f"registered model {name!r}",
            remedy="promote another version instead",
            reasons=["NOTHING_BEFORE"],
        )
    former = stack[-2]
    collect.check_bundle(name, former, uri)
    entry = None if dry_run else _move(uri, name, anchors, entries, champion, "rollback", former, reason, {})
    return {
        "action": "rollback",
        "name": name,
        "version": former,
        "previous": champion,
        "changed": not dry_run,
        "dry_run": dry_run,
        "entry": entry,
        "hook": {} if entry is None else _notify(policy, name, entry, dry_run=False),
    }


def _judge(name: str, version: int, uri: str, policy: Policy, *, fresh: bool) -> tuple[Verdict, int | None]:
    """The verdict on a version, and the champion that it was compared with."""
    champion = versions.aliases(client(uri), uri, name).get(CHAMPION)
    candidate = collect.evidence_of(name, version, uri, policy, fresh=fresh)
    present = None
    if champion is not None and champion != version:
        present = collect.evidence_of(name, champion, uri, policy, fresh=False)
    return gates.judge(candidate, present, policy), champion


def _check_override(override: Sequence[str]) -> None:
    for code in override:
        if code in FINAL:
            raise InputError(
                f"{code} cannot be overridden", remedy="what would become champion is not what was scored"
            )


def _notify(policy: Policy, name: str, entry: dict[str, Any], *, dry_run: bool) -> dict[str, str]:
    if dry_run:
        return {}
    keys = ("action", "version", "previous", "reason", "who", "time", "n", "hash")
    return hook.fire(policy.hook, {"name": name, **{key: entry[key] for key in keys}})


def _move(
    uri: str,
    name: str,
    anchors: Anchors,
    seen: list[dict[str, Any]],
    champion: int | None,
    action: str,
    version: int,
    reason: str,
    evidence: dict[str, Any],
) -> dict[str, Any]:
    """Record a move, then make it, if nothing has changed since the evidence was read."""
    store = client(uri)
    with ledger.claim(store, uri, name, anchors) as entries:
        if entries != seen or versions.aliases(store, uri, name).get(CHAMPION) != champion:
            raise ledger.concurrent(name, "another promoter changed the champion or the ledger meanwhile")
        fields = {"version": version, "previous": champion, "reason": reason, "evidence": evidence}
        entry = ledger.append(store, uri, name, entries, anchors, action=action, **fields)
        with mlflow_errors(uri):
            store.set_registered_model_alias(name, CHAMPION, str(version))
    return entry


def _record_refusal(
    uri: str, name: str, anchors: Anchors, champion: int | None, version: int, reason: str, verdict: Verdict
) -> None:
    """Write a refusal to the ledger; where that fails, the refusal is still what the user must see."""
    store = client(uri)
    fields = {"version": version, "previous": champion, "reason": reason}
    try:
        evidence = promotion_record.evidence(verdict)
        with ledger.claim(store, uri, name, anchors) as entries:
            entry = ledger.append(
                store, uri, name, entries, anchors, action="refuse", evidence=evidence, **fields
            )
        promotion_record.keep(name, version, uri, entry, verdict.as_dict())
    except LiftrayError as error:
        show_line(f"The refusal could not be written to the ledger ({error.what})")


def _finish(
    store: Any,
    uri: str,
    name: str,
    version: int,
    entries: list[dict[str, Any]],
    champion: int | None,
    *,
    dry_run: bool,
) -> dict[str, Any] | None:
    """Finish a move to this version that was recorded and not made: its entry, or None."""
    last = next((entry for entry in reversed(entries) if entry["action"] in _MOVES), None)
    if last is None or last["version"] != version or last.get("previous") != champion or champion == version:
        _agree(name, entries, champion)
        return None
    if not dry_run:
        with mlflow_errors(uri):
            store.set_registered_model_alias(name, CHAMPION, str(version))
    return last


def _agree(name: str, entries: list[dict[str, Any]], champion: int | None) -> None:
    stack = _champions(entries)
    recorded = stack[-1] if stack else None
    if recorded != champion:
        present = "no version" if champion is None else f"version {champion}"
        noted = "none" if recorded is None else f"version {recorded}"
        raise Refusal(
            f"ALIAS_MOVED: champion is {present}, the ledger names {noted}",
            where=f"registered model {name!r}",
            remedy="find out who moved the alias, and set it back"
            + (
                f", or finish the recorded move: promote --version {recorded}" if recorded else " (remove it)"
            ),
            reasons=["ALIAS_MOVED"],
        )


def _champions(entries: list[dict[str, Any]]) -> list[int]:
    """The champions in order; a rollback removes the last one."""
    stack: list[int] = []
    for entry in entries:
        if entry["action"] == "promote":
            stack.append(entry["version"])
        elif entry["action"] == "rollback" and stack:
            stack.pop()
    return stack
