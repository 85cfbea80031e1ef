"""The `promote` job: one action on a registered model, and what the job prints.

Invariant: the printed JSON is the whole result; a refusal prints its verdict and then raises. Flow: jobs/promote ->
[this] -> registry, history.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from liftray.errors import InputError
from liftray.progress import show_line
from liftray.track.promotion import history, policy, registry

ACTIONS = ("propose", "promote", "rollback", "history", "show")


@dataclass(frozen=True)
class PromoteRequest:
    """The action and its arguments.

    Attributes:
        action: One of `ACTIONS`.
        name: Registered model.
        tracking_uri: The store.
        version: For propose and promote.
        reason: Why, for the ledger.
        dry_run: Judge only; for promote and rollback.
        gates: File with the limits of the gates; None for the defaults.
        override: Reason codes to ignore; for promote.
    """

    action: str
    name: str
    tracking_uri: str
    version: int | None = None
    reason: str = ""
    dry_run: bool = False
    gates: str | None = None
    override: Sequence[str] = ()


def run(request: PromoteRequest, *, as_table: bool) -> str:
    """Perform an action.

    Args:
        request: The action and its arguments.
        as_table: Lay out the history for a terminal instead of JSON.

    Returns:
        What to print on stdout.

    Raises:
        InputError: Arguments do not fit the action.
        Refusal: A gate refused; its `verdict` is what to print.
    """
    _check(request)
    uri = request.tracking_uri
    if request.action == "history":
        return _history(request, as_table=as_table)
    if request.action == "show":
        return as_json(history.show(request.name, uri=uri, policy=policy.load(request.gates)))
    return as_json(_change(request))


def as_json(content: Any) -> str:
    """The content as indented JSON."""
    return json.dumps(content, indent=2, ensure_ascii=False)


def _history(request: PromoteRequest, *, as_table: bool) -> str:
    gates = policy.load(request.gates)
    entries = history.entries(request.name, uri=request.tracking_uri, policy=gates)
    show_line(f"{request.name}: the ledger is {history.integrity(request.name, entries, gates)}")
    return history.table(entries) if as_table else as_json(entries)


def _check(request: PromoteRequest) -> None:
    given = request.version is not None
    if request.action not in ACTIONS:
        raise InputError(f"no action {request.action!r}", remedy=f"use one of {', '.join(ACTIONS)}")
    if request.action == "propose" and not given:
        raise InputError("propose needs a version", remedy="give --version N")
    if request.action == "rollback" and given:
        raise InputError("rollback takes no version", remedy="it goes to the champion before")
    if request.dry_run and request.action not in ("promote", "rollback"):
        raise InputError(f"{request.action} has no --dry-run", remedy="use it with promote or rollback")
    if request.override and request.action != "promote":
        raise InputError(f"{request.action} has no --override", remedy="use it with promote")


def _change(request: PromoteRequest) -> dict[str, Any]:
    rules: dict[str, Any] = {"uri": request.tracking_uri, "policy": policy.load(request.gates)}
    if request.action == "propose" and request.version is not None:
        result = registry.propose(request.name, request.version, reason=request.reason or "proposed", **rules)
        show_line(f"{request.name}: version {result['version']} is candidate; {_judged(result['verdict'])}")
        return result
    rules |= {"reason": request.reason, "dry_run": request.dry_run}
    if request.action == "promote":
        result = registry.promote(request.name, request.version, override=request.override, **rules)
    else:
        result = registry.rollback(request.name, **rules)
    became = "is" if result["changed"] else "would become" if request.dry_run else "was already"
    show_line(
        f"{request.name}: version {result['version']} {became} champion; before: {result['previous'] or 'none'}"
    )
    return result


def _judged(verdict: dict[str, Any]) -> str:
    """One clause on the verdict of a proposal."""
    if verdict["reasons"]:
        return f"promote would be refused: {', '.join(verdict['reasons'])}"
    pending = verdict["to_check_at_promote"]
    return f"to be checked at promote: {', '.join(pending)}" if pending else "every gate passes"
