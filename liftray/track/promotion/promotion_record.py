"""A verdict as others get it: the refusal a user reads, the summary in the ledger, the whole with the run.

Invariant: the ledger's summary carries the digest of the whole verdict, which is stored with the version's run.
Flow: gates -> [this] -> registry.
"""

import hashlib
import json
from typing import Any

from liftray.errors import TrackingError
from liftray.progress import show_line
from liftray.track.mlflow import versions
from liftray.track.mlflow.store import client, told
from liftray.track.promotion.gates import FINAL, Refusal, Verdict

_SETS_IN_LEDGER = 20
_DIGEST_CHARACTERS = 19  # of `sha256:...`, in the ledger; the bundle has the whole


def refusal(name: str, version: int, verdict: Verdict, left: list[str], result: dict[str, Any]) -> Refusal:
    """The refusal that tells a user every reason, and what can be done.

    Args:
        name: Registered model.
        version: The refused version.
        verdict: What the gates said.
        left: The reasons that were not passed over.
        result: What the job prints.
    """
    advice = "" if any(code in FINAL for code in left) else ", or pass over a code with --override CODE"
    return Refusal(
        f"{', '.join(left)}: version {version} stays out{_compared(verdict.evidence('primary'))}",
        where=f"registered model {name!r}",
        remedy=f"the champion stays; the verdict tells the evidence of each gate{advice}",
        reasons=left,
        verdict=result,
    )


def evidence(verdict: Verdict) -> dict[str, Any]:
    """The verdict in a few hundred characters: what a tag can hold, with a digest of the whole."""
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
            with told(uri):
                client(uri).log_text(found.run_id, _canonical(verdict), file)
    except TrackingError as error:
        show_line(f"The verdict could not be stored with the run ({error.what}); the promotion stands")


def _compared(evidence: dict[str, Any]) -> str:
    if "difference" not in evidence:
        return ""
    score = evidence["score"].upper()
    return f" ({score} {100 * evidence['candidate']:.2f} against {100 * evidence['champion']:.2f} per cent)"
