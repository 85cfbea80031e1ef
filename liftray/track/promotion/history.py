"""What happened to a registered model: its ledger, aliases and versions, for reading.

Invariant: nothing is changed, and no store is created. Flow: MLflow -> [this] -> jobs/promote, `liftray.api`.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from liftray.track.mlflow import versions
from liftray.track.mlflow.store import check, client, mlflow_errors
from liftray.track.promotion import ledger
from liftray.track.promotion.anchors import Anchors, Integrity
from liftray.track.promotion.policy import Policy

_COLUMNS = ("n", "time", "who", "action", "version", "previous", "score", "reason")


def entries(name: str, *, uri: str, policy: Policy | None = None) -> list[dict[str, Any]]:
    """All ledger entries, oldest first, verified.

    Args:
        name: Registered model.
        uri: The store.
        policy: Names the ledger's key and witness; default: as the environment names them.
    """
    uri = check(uri, create=False, write=False)
    store = client(uri)
    versions.aliases(store, uri, name)
    return ledger.read(store, uri, name, Anchors.of((policy or Policy()).ledger))


def integrity(name: str, recorded: Sequence[dict[str, Any]], policy: Policy | None = None) -> Integrity:
    """What the key and the witness say of entries that `entries` gave."""
    return Anchors.of((policy or Policy()).ledger).check(name, recorded)


def show(name: str, *, uri: str, policy: Policy | None = None) -> dict[str, Any]:
    """Aliases, versions with their tags, the ledger's last entry, and whether the ledger is intact."""
    uri = check(uri, create=False, write=False)
    store = client(uri)
    known = versions.aliases(store, uri, name)
    recorded = entries(name, uri=uri, policy=policy)
    with mlflow_errors(uri):
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
        "ledger": {
            "entries": len(recorded),
            "last": recorded[-1] if recorded else None,
            "integrity": asdict(integrity(name, recorded, policy)),
        },
    }


def table(recorded: Sequence[dict[str, Any]]) -> str:
    """Lay out ledger entries for a terminal, one line for each.

    Args:
        recorded: As `entries` gives them.

    Returns:
        Lines of aligned columns; a refusal's reason codes are in its last column.
    """
    rows = [_COLUMNS, *map(_row, recorded)]
    widths = [max(len(row[at]) for row in rows) for at in range(len(_COLUMNS))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def _row(entry: dict[str, Any]) -> tuple[str, ...]:
    evidence = entry.get("evidence") or {}
    candidate = evidence.get("candidate")
    score = f"{evidence.get('score')} {100 * candidate:.2f}" if isinstance(candidate, float) else "-"
    codes = ", ".join(map(str, evidence.get("reasons") or []))
    reason = f"{codes} ({entry.get('reason')})" if codes else str(entry.get("reason", "-"))
    previous = "-" if entry.get("previous") is None else str(entry["previous"])
    shown = (entry.get(key, "-") for key in ("n", "time", "who", "action", "version"))
    return (*map(str, shown), previous, score, reason)
