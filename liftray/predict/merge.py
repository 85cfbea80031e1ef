"""Merges several bundles, such as those of several seeds, into one: an ensemble.

Invariant: members are copied byte for byte, and they can predict together. Flow: bundles -> [this] -> a
bundle, which `bundle.load` reads and every job takes.
"""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from liftray import __version__, files
from liftray.errors import BundleError
from liftray.predict import bundle

_AGREED = ("task", "ss3_map", "max_length")


def merge(bundles: Sequence[str | Path], directory: Path) -> dict[str, Any]:
    """Make one bundle of several, which predicts the mean of their probabilities.

    Args:
        bundles: Two or more bundles of one task, map, window and backbone; each keeps its own calibration.
        directory: The new bundle; an existing bundle is replaced as a whole.

    Returns:
        What was written to `bundle.json`. It holds no metrics: nothing has scored the ensemble yet.

    Raises:
        BundleError: There are fewer than two, two are the same, one is an ensemble itself or damaged, or they do not
            agree.
    """
    infos = [bundle.read_info(path) for path in bundles]
    if len(infos) < 2:
        raise BundleError("an ensemble has two members or more", remedy="name several bundles")
    for number, (path, info) in enumerate(zip(bundles, infos, strict=True)):
        bundle.described(Path(path), info)  # raises where it is not one model
        _check_agrees(info, infos[0], str(path))
        if any(info["files"] == other["files"] for other in infos[:number]):
            raise BundleError("the same model twice", where=str(path), remedy="name each model once")
    with files.new_directory(directory) as fresh:
        members = [f"member-{number}" for number in range(1, len(infos) + 1)]
        for name, path in zip(members, bundles, strict=True):
            shutil.copytree(path, fresh / name)
        counts = [info["parameters"] for info in infos]
        together: dict[str, Any] = {
            "format_version": bundle.FORMAT_VERSION,
            "liftray_version": __version__,
            **{name: infos[0][name] for name in (*_AGREED, "alphabet", "backbone")},
            "method": "ensemble",
            "calibration": {"temperature": 1.0},
            "parameters": {
                **{name: sum(count[name] for count in counts) for name in ("trained", "adapter", "head")},
                "backbone": counts[0]["backbone"],
            },
            "data": _all_data(infos),
            "members": members,
        }
        return bundle.seal(fresh, together)


def _check_agrees(info: Mapping[str, Any], first: Mapping[str, Any], where: str) -> None:
    for name in _AGREED:
        if info.get(name) != first.get(name):
            raise BundleError(
                f"{name} is {info.get(name)}, and {first.get(name)} in the first of them",
                where=where,
                remedy="merge models that agree",
            )
    if info["backbone"]["digest"] != first["backbone"]["digest"]:
        raise BundleError(
            "another backbone than the first one's", where=where, remedy="merge models of one backbone"
        )


def _all_data(infos: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """Digests of all data sets; where two data sets share a name, the later name includes its member."""
    data: dict[str, dict[str, str]] = {}
    for number, info in enumerate(infos, start=1):
        for split, sets in (info.get("data") or {}).items():
            known = data.setdefault(split, {})
            for name, digest in sets.items():
                known[name if known.get(name, digest) == digest else f"{name} of member-{number}"] = digest
    return data
