"""Fetching a backbone from a model hub at a pinned revision.

Invariant: only the config, a vocabulary and the weight files are fetched, all at one commit; what is cached
whole is used without the network. An unreachable hub is reported within seconds. The only module that imports
huggingface_hub.
"""

import contextlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from liftray.backbone.weight_files import SMALL_FILES, Unreachable, weight_files, weight_names
from liftray.errors import BackboneError

_SOURCE = re.compile(
    r"hf:(?P<repo>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@(?P<revision>[A-Za-z0-9][\w./-]*))?"
)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_BRANCHES = ("main", "master", "HEAD")
_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class HubSource:
    """A repository of a model hub at a revision."""

    repo: str
    revision: str


@dataclass(frozen=True)
class Snapshot:
    """What a hub source is on this machine: a directory, and the commit it holds."""

    directory: Path
    commit: str


def parse(source: str) -> HubSource:
    """Read `hf:ORG/NAME@REVISION`.

    Args:
        source: The source as the user wrote it.

    Returns:
        Its parts.

    Raises:
        BackboneError: It is malformed, or its revision is missing or a branch, which can change.
    """
    match = _SOURCE.fullmatch(source)
    if match is None or ".." in source:
        raise BackboneError("malformed hub source", where=source, remedy="write it as hf:ORG/NAME@REVISION")
    revision = match["revision"]
    if revision is None or revision in _BRANCHES:
        what = "no revision" if revision is None else f"revision {revision} is a branch, which can change,"
        raise BackboneError(
            what, where=source, remedy=f"pin a commit or a tag: hf:{match['repo']}@ and 40 hexadecimal digits"
        )
    return HubSource(match["repo"], revision)


def fetch(source: HubSource) -> Snapshot:
    """Fetch a snapshot: from the local cache if it is complete there, else from the hub.

    The address is that of HF_ENDPOINT where set; the cache is huggingface_hub's own.

    Args:
        source: What to fetch.

    Returns:
        The snapshot.

    Raises:
        Unreachable: The hub, the repository or the revision cannot be reached, and the cache does not hold
            it.
        BackboneError: The repository's shard index is unsafe.
    """
    if _COMMIT.fullmatch(source.revision):
        with contextlib.suppress(Unreachable):
            return _cached(source)
    try:
        return _download(source)
    except Unreachable:
        with contextlib.suppress(Unreachable):  # the hub's reason is the one to report
            return _cached(source)
        raise


def _cached(source: HubSource) -> Snapshot:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        path = snapshot_download(source.repo, revision=source.revision, local_files_only=True)
    except LocalEntryNotFoundError as error:
        raise Unreachable("not in the local cache") from error
    directory = Path(path)
    weight_files(directory)
    return Snapshot(directory, directory.name)


def _download(source: HubSource) -> Snapshot:
    from huggingface_hub import HfApi, snapshot_download

    endpoint = os.environ.get("HF_ENDPOINT") or None
    options: dict[str, Any] = {"revision": source.revision, "endpoint": endpoint, "etag_timeout": _TIMEOUT_S}
    # huggingface_hub's errors are OSError (network, HTTP status, offline mode) or ValueError (a refused
    # name).
    try:
        info = HfApi(endpoint=endpoint).model_info(source.repo, revision=source.revision, timeout=_TIMEOUT_S)
        names = [file.rfilename for file in info.siblings or []]
        small = [name for name in names if name in SMALL_FILES]
        directory = Path(snapshot_download(source.repo, allow_patterns=small or ["-"], **options))
        # Weights last: a cache that holds them holds everything.
        weights = list(weight_names(directory, names))
        snapshot_download(source.repo, allow_patterns=weights, **options)
    except BackboneError:
        raise
    except (OSError, ValueError) as error:
        raise Unreachable(_reason(error)) from error
    weight_files(directory)
    return Snapshot(directory, directory.name)


def _reason(error: BaseException) -> str:
    """Why a hub could not be used, in a few words: those of the innermost cause."""
    response = getattr(error, "response", None)
    if response is not None:
        kind = {
            401: "no such repository, or no access",
            403: "no access",
            404: "no such repository or revision",
        }
        return f"{kind.get(response.status_code, 'refused')} (HTTP {response.status_code})"
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    text = str(cause).splitlines()[0] if str(cause) else ""
    match = re.search(
        r"(Connection refused|Name or service not known|Temporary failure in name resolution|timed out)", text
    )
    return match[0] if match else f"{type(cause).__name__}: {text[:120]}"
