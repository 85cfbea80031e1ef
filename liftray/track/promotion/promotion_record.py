"""Records of a verdict: the refusal that a user reads, the summary in the ledger, the whole with the run.

Invariant: the ledger's summary carries the digest of the whole verdict, which is stored with the version's run.
Flow: gates -> [this] -> registry.
"""

import hashlib
import json
from typing import Any

from liftray.errors import TrackingError
from liftray.progress import show_line
from liftray.track.mlflow import versions
from liftray.track.mlflow.store import client, mlflow_errors
from liftray.track.promotion.gates import FINAL
from liftray.track.promotion.verdict import Refusal, Verdict

_SETS_IN_LEDGER = 20
_DIGEST_CHARACTERS = 19  # of `sha256:...`, in the ledger; the bundle has the whole digest


def refusal(name: str, version: int, verdict: Verdict, left: list[str], result: dict[str, Any]) -> Refusal:
    """Make the refusal, which names every reason and what can be done.

    Args:
        name: Registered model.
        version: The refused version.
        verdict: The results of the gates.
        left: The reasons that were not overridden.
        result: The content that the job prints.
    """
    advice = "" if any(code in FINAL for code in left) else ", or override a code with --override CODE"
    return Refusal(
        f"{', '.join(left)}: version {version} does not become champion{_compared(verdict.evidence('primary'))}",
        where=f"registered model {name!r}",
        remedy=f"the champion stays; the verdict holds the evidence of each gate{advice}",
        reasons=left,
        verdict=result,
    )


def evidence(verdict: Verdict) -> dict[str, Any]:
    """The verdict in the few hundred characters that a tag can hold, with a digest of the whole."""
    primary, data = verdict.evidence("primary"), verdict.evidence("comparable")["data"]
    sets = {
        name: [round(found["difference"], 6), *(round(end, 6) for end in found["ci95"])]
        for name, found in verdict.evidence("sets").items()
        if "ci95" in found
    }
    return {
        **{
            key: primary[key]
            for key in ("set", "score", "candidate", "champion", "difference")
            if key in primary
        },
        "sets": dict(list(sets.items())[:_SETS_IN_LEDGER]),
        "data": [digest[:_DIGEST_CHARACTERS] for digest in data[:_SETS_IN_LEDGER]],
        **({} if verdict.passed else {"reasons": list(verdict.reasons)}),
        "verdict_sha256": hashlib.sha256(_canonical(verdict.as_dict()).encode()).hexdigest(),
    }


def _canonical(content: Any) -> str:
    return json.dumps(content, sort_keys=True)


def keep(name: str, version: int, uri: str, entry: dict[str, Any], verdict: dict[str, Any]) -> None:
    """Store the whole verdict with the version's run; the ledger has its digest."""
    file = f"promotion/{name}-{entry['n']:06d}.json"
    try:
        found = versions.find(name, str(version), uri)
        if found.run_id:
            with mlflow_errors(uri):
                client(uri).log_text(found.run_id, _canonical(verdict), file)
    except TrackingError as error:
        show_line(f"The verdict could not be stored with the run ({error.what}); the ledger has its summary")


def _compared(evidence: dict[str, Any]) -> str:
    if "difference" not in evidence:
        return ""
    score = evidence["score"].upper()
    return f" ({score} {100 * evidence['candidate']:.2f} against {100 * evidence['champion']:.2f} per cent)"
