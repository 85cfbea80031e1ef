"""The model registry as jobs use it: register, resolve, and move the aliases `candidate` and `champion`.

Invariant: the ledger's last entry names the version that `champion` stands on; where the two disagree,
nothing is decided until the recorded move is finished or the alias set back. Flow: jobs -> [this] ->
versions, gates, ledger.

A move is written to the ledger first and made after, so a process that dies in between leaves a record, and
repeating the same command finishes it.
"""

from typing import Any

from liftray.track import ledger, versions
from liftray.track.gates import Refusal
from liftray.track.store import check, client, told
from liftray.track.versions import CANDIDATE, CHAMPION, locate, register, resolve

__all__ = ["history", "locate", "promote", "propose", "register", "resolve", "rollback", "show"]

_MOVES = ("promote", "rollback")


def propose(
    name: str, version: int, *, uri: str, reason: str = "proposed", margin: float = 0.0
) -> dict[str, Any]:
    """Set the alias `candidate` on a version and say how the gate would judge it; `champion` stays.

    Returns:
        `action`, `name`, `version`, `champion`, `verdict`, `entry` (of the ledger).

    Raises:
        TrackingError: There is no such model or version.
        Refusal: The ledger is broken or in use.
    """
    uri, reason = check(uri), ledger.check_reason(reason)
    verdict, champion = versions.judge(name, version, uri, margin=margin)
    store = client(uri)
    with ledger.claim(store, uri, name) as entries:
        entry = ledger.append(
            store,
            uri,
            name,
            entries,
            action="propose",
            version=version,
            previous=champion,
            reason=reason,
            evidence={},
        )
        with told(uri):
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
    margin: float = 0.0,
) -> dict[str, Any]:
    """Make a version champion where the gate allows it.

    Args:
        name: Registered model.
        version: The version; default: the one with the alias `candidate`.
        uri: The store.
        reason: Why, for the ledger.
        dry_run: Judge only.
        margin: See `gates.judge`.

    Returns:
        `action`, `name`, `version`, `previous`, `changed`, `dry_run`, `verdict`, `entry` (null where nothing
        changed).

    Raises:
        Refusal: The gate refused, or the ledger is broken, in use or at odds with the alias. Nothing was
            changed.
        InputError: No reason was given.
    """
    uri = check(uri)
    reason = reason if dry_run else ledger.check_reason(reason)
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
    entries = ledger.read(store, uri, name)
    finished = _finish(store, uri, name, version, entries, known.get(CHAMPION), dry_run=dry_run)
    verdict, champion = versions.judge(name, version, uri, margin=margin)
    result = {
        "action": "promote",
        "name": name,
        "version": version,
        "previous": champion,
        "changed": finished is not None and not dry_run,
        "dry_run": dry_run,
        "verdict": verdict.as_dict(),
        "entry": finished,
    }
    if champion == version or finished is not None:
        return result
    if not verdict.passed:
        raise Refusal(
            f"{', '.join(verdict.reasons)}: version {version} stays out{_compared(verdict.evidence)}",
            where=f"registered model {name!r}",
            remedy="the champion stays; improve the model, or score both on the same validation data",
            reasons=list(verdict.reasons),
            verdict=result,
        )
    if not dry_run:
        result["entry"] = _move(uri, name, entries, champion, "promote", version, reason, verdict.evidence)
        result["changed"] = True
    return result


def rollback(name: str, *, uri: str, reason: str, dry_run: bool = False) -> dict[str, Any]:
    """Give `champion` back to the version that had it before the present one.

    Returns:
        `action`, `name`, `version` (the restored one), `previous`, `changed`, `dry_run`, `entry`.

    Raises:
        Refusal: NOTHING_BEFORE: there was no former champion; or see `promote`.
    """
    uri = check(uri)
    reason = ledger.check_reason(reason)
    store = client(uri)
    champion = versions.aliases(store, uri, name).get(CHAMPION)
    entries = ledger.read(store, uri, name)
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
    versions.contender(name, former, uri)  # it must still be there and be whole
    entry = None if dry_run else _move(uri, name, entries, champion, "rollback", former, reason, {})
    return {
        "action": "rollback",
        "name": name,
        "version": former,
        "previous": champion,
        "changed": not dry_run,
        "dry_run": dry_run,
        "entry": entry,
    }


def history(name: str, *, uri: str) -> list[dict[str, Any]]:
    """All ledger entries, oldest first, verified."""
    uri = check(uri)
    store = client(uri)
    versions.aliases(store, uri, name)
    return ledger.read(store, uri, name)


def show(name: str, *, uri: str) -> dict[str, Any]:
    """Aliases, versions with their tags, and the ledger's last entry."""
    uri = check(uri)
    store = client(uri)
    known = versions.aliases(store, uri, name)
    entries = ledger.read(store, uri, name)
    with told(uri):
        known_versions = sorted(
            store.search_model_versions(f"name='{name}'"), key=lambda found: int(found.version)
        )
    return {
        "name": name,
        "aliases": known,
        "versions": [
            {
                "version": int(found.version),
                "run_id": found.run_id,
                "aliases": sorted(alias for alias, number in known.items() if number == int(found.version)),
                "tags": {key: value for key, value in found.tags.items() if key.startswith("liftray.")},
            }
            for found in known_versions
        ],
        "ledger": {"entries": len(entries), "last": entries[-1] if entries else None},
    }


def _move(
    uri: str,
    name: str,
    seen: list[dict[str, Any]],
    champion: int | None,
    action: str,
    version: int,
    reason: str,
    evidence: dict[str, Any],
) -> dict[str, Any]:
    """Record a move, then make it, if nothing has changed since the evidence was looked at."""
    store = client(uri)
    with ledger.claim(store, uri, name) as entries:
        if entries != seen or versions.aliases(store, uri, name).get(CHAMPION) != champion:
            raise Refusal(
                "CONCURRENT: someone else changed the champion or the ledger meanwhile",
                where=f"registered model {name!r}",
                remedy="look at the history, then try again",
                reasons=["CONCURRENT"],
            )
        fields = {"version": version, "previous": champion, "reason": reason, "evidence": evidence}
        entry = ledger.append(store, uri, name, entries, action=action, **fields)
        with told(uri):
            store.set_registered_model_alias(name, CHAMPION, str(version))
    return entry


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
    if last is None or last["version"] != version or last["previous"] != champion or champion == version:
        _agree(name, entries, champion)
        return None
    if not dry_run:
        with told(uri):
            store.set_registered_model_alias(name, CHAMPION, str(version))
    return last


def _agree(name: str, entries: list[dict[str, Any]], champion: int | None) -> None:
    stack = _champions(entries)
    recorded = stack[-1] if stack else None
    if recorded != champion:
        stands = "no version" if champion is None else f"version {champion}"
        meant = "none" if recorded is None else f"version {recorded}"
        raise Refusal(
            f"ALIAS_MOVED: champion is {stands}, the ledger says {meant}",
            where=f"registered model {name!r}",
            remedy="find out who moved the alias, and set it back"
            + (
                f", or finish the recorded move: promote --version {recorded}" if recorded else " (remove it)"
            ),
            reasons=["ALIAS_MOVED"],
        )


def _champions(entries: list[dict[str, Any]]) -> list[int]:
    """The champions in order, each rollback taking the last one away."""
    stack: list[int] = []
    for entry in entries:
        if entry["action"] == "promote":
            stack.append(entry["version"])
        elif entry["action"] == "rollback":
            stack.pop()
    return stack


def _compared(evidence: dict[str, Any]) -> str:
    if "difference" not in evidence:
        return ""
    score = evidence["score"].upper()
    return f" ({score} {100 * evidence['candidate']:.2f} against {100 * evidence['champion']:.2f} per cent)"
