"""Gathers a version's evidence: its bundle, the per-chain tables of its run, and a replay in a fresh process.

Invariant: what cannot be read is missing evidence with its reason, never a passed check; nothing is written.
Flow: registry -> [this] -> gates.
"""

import contextlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from liftray import sealed
from liftray.errors import BundleError, DataError
from liftray.track.mlflow import model, versions
from liftray.track.mlflow.store import client, mlflow_errors
from liftray.track.primary_score import PRIMARY
from liftray.track.promotion.evidence import (
    ChainScores,
    FileEvidence,
    ReplayResult,
    SetEvidence,
    VersionEvidence,
)
from liftray.track.promotion.policy import Policy
from liftray.track.promotion.replay import EvaluatedSet, replay

VALID = "valid"
_ROUNDING = 1e-6


def evidence_of(name: str, version: int, uri: str, policy: Policy, *, fresh: bool) -> VersionEvidence:
    """Gather a version's evidence.

    Args:
        name: Registered model.
        version: Its version.
        uri: The store.
        policy: The limits of the gates; it may name the places of validation data.
        fresh: Replay the bundle in a fresh process, where the policy requires it.

    Raises:
        TrackingError: There is no such version, or the store cannot be used.
    """
    found = versions.find(name, str(version), uri)
    try:
        directory = versions.bundle_of(found, uri)
    except BundleError as error:
        task, ss3_map = found.tags.get("liftray.task", "ss3"), found.tags.get("liftray.ss3_map", "dssp")
        return VersionEvidence(version, task, ss3_map, {}, FileEvidence(("BUNDLE_CHANGED",), (str(error),)))
    info = model.read_info(directory)
    inputs, recorded = _run(found.run_id, uri)
    with _tables(found.run_id, uri) as tables:
        sets = sets_evidence(info, tables, recorded)
        replayed = None
        if fresh and policy.replay.required:
            replayed = _replayed(directory, info, tables, inputs, policy)
    files = files_evidence(directory, info, found.tags, inputs, sets)
    deferred = policy.replay.required and not fresh
    return VersionEvidence(
        version, info["task"], info.get("ss3_map", "dssp"), sets, files, replayed, deferred
    )


def _run(run_id: str | None, uri: str) -> tuple[list[dict[str, str]], dict[str, float]]:
    """Data sets (`split`, `name`, `digest`, `path`) and metrics that a run recorded."""
    if not run_id:
        return [], {}
    with mlflow_errors(uri):
        run = client(uri).get_run(run_id)
    inputs = []
    for entry in run.inputs.dataset_inputs if run.inputs else []:
        tags = {tag.key: tag.value for tag in entry.tags}
        with contextlib.suppress(ValueError, KeyError, TypeError):
            inputs.append(
                {
                    "split": tags["mlflow.data.context"],
                    "name": entry.dataset.name,
                    "digest": tags["liftray.digest"],
                    "path": str(json.loads(entry.dataset.source)["path"]),
                }
            )
    return inputs, dict(run.data.metrics)


@contextlib.contextmanager
def _tables(run_id: str | None, uri: str) -> Iterator[dict[str, Path]]:
    """Per-chain tables of a run: `valid/NAME` and `test/NAME` -> local file."""
    with tempfile.TemporaryDirectory(prefix="liftray-evidence-") as folder:
        found: dict[str, Path] = {}
        for split in (VALID, "test") if run_id else ():
            with mlflow_errors(uri):
                for entry in client(uri).list_artifacts(run_id, f"evaluation/{split}"):
                    if entry.path.endswith(".parquet"):
                        local = Path(client(uri).download_artifacts(run_id, entry.path, folder))
                        found[f"{split}/{local.stem}"] = local
        yield found


def sets_evidence(
    info: Mapping[str, Any], tables: Mapping[str, Path], recorded: Mapping[str, float]
) -> dict[str, SetEvidence]:
    """Evidence of each scored set; several validation sets are pooled under `valid`, with the worst scores of each.

    Args:
        info: As `bundle.json` has it.
        tables: Per-chain tables, `valid/NAME` and `test/NAME` -> local file.
        recorded: Metrics of the run, read where the bundle has no validation score.
    """
    metrics, data = info.get("metrics") or {}, info.get("data") or {}
    leakage, task = info.get("leakage") or {}, info["task"]
    found: dict[str, SetEvidence] = {}
    valid = {key: path for key, path in tables.items() if key.startswith(f"{VALID}/")}
    scores = _worst([metrics[name] for name in metrics if name == VALID or name.startswith(f"{VALID}/")])
    if PRIMARY[task] not in scores and f"{VALID}/{PRIMARY[task]}" in recorded:
        scores = {**scores, PRIMARY[task]: recorded[f"{VALID}/{PRIMARY[task]}"]}
    leaks = [leakage[name] for name in leakage if name == VALID or name.startswith(f"{VALID}/")]
    digests = tuple((data.get(VALID) or {}).values())
    if scores or valid:
        found[VALID] = SetEvidence(digests, scores, _chains(valid, task), *_leaky(leaks, len(digests)))
    for name, digest in (data.get("test") or {}).items():
        table = {key: path for key, path in tables.items() if key == f"test/{name}"}
        leaks = [leakage[name]] if name in leakage else []
        found[name] = SetEvidence((digest,), metrics.get(name) or {}, _chains(table, task), *_leaky(leaks, 1))
    return found


def _leaky(leaks: list[Mapping[str, Any]], count: int) -> tuple[bool | None, float | None]:
    if len(leaks) < count or not leaks:
        return None, None
    return any(leak["leaky"] for leak in leaks), max(leak["share"] for leak in leaks)


def _worst(scored: list[Mapping[str, Any]]) -> dict[str, Any]:
    """The scores of one set; of several, those that have floors, each from the set with the worst value."""
    if len(scored) < 2:
        return dict(scored[0]) if scored else {}
    states = {state for scores in scored for state in scores.get("per_state") or {}}
    rows = {
        state: min(
            (
                row
                for scores in scored
                if (row := (scores.get("per_state") or {}).get(state)) and row.get("true")
            ),
            key=lambda row: row["f1"] or 0.0,
            default=None,
        )
        for state in states
    }
    found: dict[str, Any] = {"per_state": {state: row for state, row in rows.items() if row is not None}}
    for name in ("sov99", "ece"):
        values = [scores[name] for scores in scored if scores.get(name) is not None]
        if len(values) == len(scored):
            found[name] = max(values) if name == "ece" else min(values)
    return found


def _chains(tables: Mapping[str, Path], task: str) -> ChainScores | None:
    """Per-chain results of the tables; None where there are no tables, or one cannot be read."""
    labelled: dict[str, int] = {}
    correct: dict[str, int] = {}
    for key, path in tables.items():
        try:
            for row in sealed.read_table(path).to_pylist():
                chain = f"{key}/{row['id']}"
                labelled[chain] = row["labelled"]
                # A chain's accuracy is correct / labelled, so the product is a whole number, up to rounding.
                correct[chain] = round((row[PRIMARY[task]] or 0) * row["labelled"])
        except (DataError, ValueError, KeyError, TypeError):
            return None
    return ChainScores(labelled, correct) if labelled else None


def _replayed(
    directory: Path,
    info: Mapping[str, Any],
    tables: Mapping[str, Path],
    inputs: list[dict[str, str]],
    policy: Policy,
) -> ReplayResult:
    data = (info.get("data") or {}).get(VALID) or {}
    sets = []
    for name, digest in data.items():
        table = tables.get(f"{VALID}/{VALID if len(data) == 1 else name}")
        if table is None:
            return ReplayResult(("NOT_REPRODUCED",), (f"the run stored no per-chain results of {name}",))
        known = [one["path"] for one in inputs if one["split"] == VALID and one["digest"] == digest]
        path = policy.replay.data.get(name) or next(iter(known), None)
        sets.append(EvaluatedSet(name, path, digest, str(table)))
    return replay(directory, sets, policy.replay.timeout_s)


def files_evidence(
    directory: Path,
    info: Mapping[str, Any],
    tags: Mapping[str, str],
    inputs: list[dict[str, str]],
    sets: Mapping[str, SetEvidence],
) -> FileEvidence:
    """What of a version's files, backbone and data sets does not agree with what its run recorded.

    Args:
        directory: The bundle.
        info: As its `bundle.json` has it.
        tags: Of the registered version.
        inputs: Data sets of the run: `split`, `name`, `digest`, `path`.
        sets: As `sets_evidence` gives them; their scores must follow from their chains.
    """
    backbone, score = info.get("backbone") or {}, PRIMARY[info["task"]]
    problems: list[tuple[str, str]] = []
    if backbone.get("digest") != tags.get("liftray.backbone_digest"):
        problems.append(("BACKBONE_CHANGED", "bundle and registry name different backbones"))
    known = {one["digest"] for one in inputs}
    used = {digest for named in (info.get("data") or {}).values() for digest in named.values()}
    if not inputs:
        problems.append(("DATA_NOT_RECORDED", "the run recorded no data set"))
    elif lost := sorted(used - known):
        problems.append(("DATA_CHANGED", f"the run did not record {', '.join(one[:15] for one in lost)}"))
    for name, found in sets.items():
        recorded = found.scores.get(score)
        pooled = found.chains.pooled if found.chains is not None else None
        if recorded is not None and pooled is not None and abs(recorded - pooled) > _ROUNDING:
            problems.append(
                ("SCORES_CHANGED", f"{name}: the chains give {pooled:.6f}, recorded is {recorded:.6f}")
            )
    size = sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
    reasons = tuple(dict.fromkeys(code for code, _ in problems))
    return FileEvidence(
        reasons, tuple(detail for _, detail in problems), size, backbone.get("licence") or None
    )


def check_bundle(name: str, version: int, uri: str) -> None:
    """Check that a version exists and that its bundle is the registered one.

    Raises:
        TrackingError: There is no such version.
        BundleError: Its bundle was changed.
    """
    versions.bundle_of(versions.find(name, str(version), uri), uri)
