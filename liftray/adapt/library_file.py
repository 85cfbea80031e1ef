"""The `adapters` library's own description of saved adapters, compared with LiftRay's before the library reads it.

Invariant: after `check`, the library builds exactly the adapters that the settings describe, so a file cannot make it
take more memory or build another kind. Pure: the library is not imported. Called by `model_adapters`.
"""

import json
import math
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from liftray import limits
from liftray.documents import read_json
from liftray.errors import BundleError
from liftray.sections import AdapterSettings

FILE = "adapter_config.json"
# The library's names of what our settings decide, for the error.
_OURS = {
    "r": "reduction_factor", "alpha": "reduction_factor", "leave_out": "skip_layers", "phm_dim": "hypercomplex_dim",
    "bottleneck_size": "prefix_hidden", "scaling": "parallel_scale",
}  # fmt: skip
_KEYS = {"config", "hidden_size", "model_class", "model_name", "model_type", "name", "version"}


def check(
    directory: Path, expected: Mapping[str, Any], settings: AdapterSettings, family: str, width: int
) -> None:
    """Compare the two descriptions of a bundle's adapters.

    Args:
        directory: Of the adapters.
        expected: The library's config as the settings give it.
        settings: The adapter section of `bundle.json`, for the error.
        family: Family of the backbone.
        width: Its width.

    Raises:
        BundleError: The file is unreadable, or differs; the error names the key and both values.
    """
    where = str(directory / FILE)
    saved = read_json(
        directory / FILE,
        max_bytes=limits.BACKBONE_CONFIG_BYTES,
        error=BundleError,
        remedy="fetch the bundle again",
    )
    if not isinstance(saved, dict):
        raise BundleError(f"{FILE} is no mapping", where=where, remedy="fetch the bundle again")
    if unknown := sorted(saved.keys() - _KEYS):
        raise BundleError(f"unknown key {unknown[0]!r:.40}", where=where, remedy="train or export it again")
    ours = {
        "config": json.loads(json.dumps(expected)),
        "hidden_size": width,
        "model_type": family,
    }
    # A later version of the library may have options that it did not write down when the file was made.
    by_another = saved.get("version") != f"adapters.{version('adapters')}"
    difference = _difference(saved, ours, "", lacking=by_another)
    if not isinstance(saved.get("name"), str):
        difference = difference or ("name", saved.get("name"), "a name")
    if difference is not None:
        key, theirs, wanted = difference
        last = next((part for part in reversed(key.split(".")) if not part.isdigit()), "")
        named = _OURS.get(last, last)
        own = f" (adapter.{named}={getattr(settings, named)})" if named in type(settings).model_fields else ""
        raise BundleError(
            f"two descriptions of one adapter: {key} is {theirs!r:.60} here, but bundle.json describes a "
            f"{settings.kind}{own} with {wanted!r:.60}",
            where=where,
            remedy="train or export the model again",
        )


def _difference(theirs: Any, ours: Any, key: str, *, lacking: bool) -> tuple[str, Any, Any] | None:
    """The first key whose value differs, with both values; `lacking` says that theirs may lack keys of ours."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        known = [name for name in ours if name in theirs or not lacking]
        names = [*known, *(name for name in theirs if key and name not in ours)]
        pairs = [(f"{key}.{name}" if key else name, theirs.get(name), ours.get(name)) for name in names]
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        both = enumerate(zip(theirs, ours, strict=True))
        pairs = [(f"{key}.{number}", one, other) for number, (one, other) in both]
    elif _equal(theirs, ours):
        return None
    else:
        return key, theirs, ours
    return next(
        (found for at, one, other in pairs if (found := _difference(one, other, at, lacking=lacking))), None
    )


def _equal(theirs: Any, ours: Any) -> bool:
    numbers = all(isinstance(one, int | float) and not isinstance(one, bool) for one in (theirs, ours))
    if numbers:
        return math.isclose(theirs, ours, rel_tol=1e-9, abs_tol=0.0)
    return type(theirs) is type(ours) and theirs == ours
