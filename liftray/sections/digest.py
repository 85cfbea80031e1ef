"""One digest of all that a run's result depends on, derived from the marks of the settings.

Invariant: two runs have the same digest exactly if they share every `Result` setting and everything that the `Resolved`
settings lead to. Flow: prepared run -> [this] -> its checkpoints, and the ledger of a search.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pydantic_core import to_jsonable_python

from liftray.sections.section import Effect, Section, marked


def result_digest(settings: Section, resolved: Mapping[str, Any]) -> str:
    """Digest of all that a run computes.

    Args:
        settings: The whole settings.
        resolved: For each `Resolved` key, what it leads to: digests of content, not places.

    Returns:
        sha256 in hexadecimal.

    Raises:
        ValueError: `resolved` lacks a `Resolved` key or has another.
    """
    marks = list(marked(settings))
    expected = {key for key, effect, _ in marks if effect is Effect.RESOLVED}
    if expected != resolved.keys():
        raise ValueError(
            f"what {', '.join(sorted(expected ^ resolved.keys()))} leads to: missing, or not a Resolved setting"
        )
    content = {key: value for key, effect, value in marks if effect is Effect.RESULT} | dict(resolved)
    text = json.dumps(to_jsonable_python(content), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
