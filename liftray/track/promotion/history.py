"""What happened to a registered model: its ledger, aliases and versions, for reading.

Invariant: nothing is changed, and no store is created. Flow: MLflow -> [this] -> jobs/promote, `liftray.api`.
"""

from collections.abc import Sequence
from typing import Any

from liftray.track.mlflow import versions
from liftray.track.mlflow.store import check, client, mlflow_errors
from liftray.track.promotion import ledger

_COLUMNS = ("n", "time", "who", "action", "version", "previous", "score", "reason")


def entries(name: str, *, uri: str) -> list[dict[str, Any]]:
    """All ledger entries, oldest first, verified."""
    uri = check(uri, create=False, write=False)
    store = client(uri)
    versions.aliases(store, uri, name)
    return ledger.read(store, uri, name)


def show(name: str, *, uri: str) -> dict[str, Any]:
    """Aliases, versions with their tags, and the ledger's last entry."""
    uri = check(uri, create=False, write=False)
    store = client(uri)
    known = versions.aliases(store, uri, name)
    recorded = ledger.read(store, uri, name)
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
        "ledger": {"entries": len(recorded), "last": recorded[-1] if recorded else None},
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
    evidence = entry["evidence"]
    score = f"{evidence['score']} {100 * evidence['candidate']:.2f}" if evidence.get("candidate") else "-"
    codes = ", ".join(evidence.get("reasons", []))
    reason = f"{codes} ({entry['reason']})" if codes else entry["reason"]
    previous = "-" if entry["previous"] is None else str(entry["previous"])
    shown = (entry["n"], entry["time"], entry["who"], entry["action"], entry["version"])
    return (*map(str, shown), previous, score, reason)
