"""Loads a bundle in a fresh process and predicts the evaluated chains again, from the files alone.

Invariant: the fresh process uses only the bundle's directory and the addresses of the data sets. A
chain counts as reproduced only when every number that evaluation stored for it is the same (accuracies and
overlaps exactly, the log-likelihood to the last bits that another number of threads changes).
Flow: collect -> [this: parent] -> [this: python -m liftray.track.promotion.replay] -> gates.

Reasons: BUNDLE_CHANGED (files are not those that `bundle.json` names), BACKBONE_UNREACHABLE, BACKBONE_CHANGED
(the weights found are not the ones trained on), BUNDLE_UNLOADABLE, REPLAY_DATA_MISSING, DATA_CHANGED (content
digest), NOT_REPRODUCED, REPLAY_FAILED (the process ended without an answer).
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import liftray
from liftray import sealed
from liftray.errors import BackboneError, BundleError, DataError
from liftray.track.promotion.evidence import ReplayResult

if TYPE_CHECKING:
    import pyarrow as pa

    from liftray.evaluate.chains import PredictedSet
    from liftray.predict.predictor import Predictor

_SHOWN = 5
_LATENCY_CHAINS = 3
_LATENCY_RESIDUES = 512
# Probabilities of another number of threads differ in their last bits; states, and what follows from them, do not.
_TOLERANCE = {"nll": 1e-3}  # nats a residue
_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class EvaluatedSet:
    """One data set as evaluation left it.

    Attributes:
        name: Its name in the config.
        path: Path of the data set; None where that is not known.
        digest: Its content digest.
        table: The per-chain table that evaluation wrote.
    """

    name: str
    path: str | None
    digest: str
    table: str


def replay(bundle: Path, sets: Sequence[EvaluatedSet], timeout_s: float) -> ReplayResult:
    """Predict again in a fresh process.

    Args:
        bundle: The bundle's directory.
        sets: What to predict again.
        timeout_s: Seconds that the process may take.
    """
    with tempfile.TemporaryDirectory(prefix="liftray-replay-") as folder:
        request, answer = Path(folder) / "request.json", Path(folder) / "answer.json"
        request.write_text(json.dumps({"bundle": str(bundle), "sets": [asdict(one) for one in sets]}))
        # -P: the working directory may hold another LiftRay.
        command = [sys.executable, "-P", "-m", "liftray.track.promotion.replay", str(request), str(answer)]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=timeout_s, env=_environment(), check=False
            )
        except subprocess.TimeoutExpired:
            return ReplayResult(("REPLAY_FAILED",), (f"no answer in {timeout_s:g} s",))
        if done.returncode or not answer.exists():
            last = next(iter(reversed(done.stderr.strip().splitlines())), f"exit code {done.returncode}")
            return ReplayResult(("REPLAY_FAILED",), (last[:300],))
        found: dict[str, Any] = json.loads(answer.read_text())
    fields: Any = {key: tuple(value) if isinstance(value, list) else value for key, value in found.items()}
    return ReplayResult(**fields)


def _environment() -> dict[str, str]:
    """That of this process, with this very LiftRay found first."""
    root = str(Path(liftray.__file__).resolve().parents[1])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    }


def differing(stored: "pa.Table", again: "pa.Table") -> list[str]:
    """Chains that differ between two per-chain tables, in any column that both have; a missing chain differs."""
    columns = [name for name in stored.column_names if name in again.column_names and name != "id"]
    one = {row["id"]: row for row in stored.to_pylist()}
    two = {row["id"]: row for row in again.to_pylist()}
    return [
        name
        for name in [*one, *(name for name in two if name not in one)]
        if name not in one or name not in two or not _same(one[name], two[name], columns)
    ]


def _same(one: Mapping[str, Any], two: Mapping[str, Any], columns: Sequence[str]) -> bool:
    return all(
        abs(one[name] - two[name]) <= _TOLERANCE.get(name, _ROUNDING)
        if isinstance(one[name], float) and isinstance(two[name], float)
        else one[name] == two[name]
        for name in columns
    )


def main(request: Path, answer: Path) -> None:
    """What the fresh process does: read the request, write the answer."""
    requested = json.loads(request.read_text())
    found = _answer(Path(requested["bundle"]), [EvaluatedSet(**one) for one in requested["sets"]])
    answer.write_text(json.dumps(asdict(found)))


def _answer(directory: Path, sets: Sequence[EvaluatedSet]) -> ReplayResult:
    from liftray.predict import bundle
    from liftray.predict.predictor import Predictor

    try:
        info = bundle.read_info(directory)
    except BundleError as error:
        return ReplayResult(("BUNDLE_CHANGED",), (str(error),))
    start = time.perf_counter()
    try:
        predictor = Predictor.load(directory)
    except BackboneError as error:
        return ReplayResult(("BACKBONE_UNREACHABLE",), (str(error),))
    except (
        Exception
    ) as error:  # whatever a damaged adapter makes the libraries raise is one answer: it does not load
        return ReplayResult((_why(info),), (f"{type(error).__name__}: {str(error)[:300]}",))
    load_s = time.perf_counter() - start
    return _predict_again(predictor, sets, load_s)


def _why(info: Mapping[str, Any]) -> str:
    from liftray.backbone.sources import resolve

    recorded = info["backbone"]
    changed = resolve(recorded["sources"]).digest != recorded["digest"]
    return "BACKBONE_CHANGED" if changed else "BUNDLE_UNLOADABLE"


def _predict_again(predictor: "Predictor", sets: Sequence[EvaluatedSet], load_s: float) -> ReplayResult:
    from liftray.evaluate import evaluation_report

    reasons: list[str] = []
    detail: list[str] = []
    different: list[str] = []
    predicted: list[PredictedSet] = []
    for one in sets:
        chains = _predicted(predictor, one)
        if isinstance(chains, tuple):
            reasons.append(chains[0])
            detail.append(chains[1])
            continue
        predicted.append(chains)
        again = evaluation_report.per_protein(chains)
        different += [f"{one.name}/{name}" for name in differing(sealed.read_table(one.table), again)]
    if different:
        reasons.append("NOT_REPRODUCED")
        detail.append(f"{len(different)} chains are not predicted as they were evaluated")
    return ReplayResult(
        tuple(dict.fromkeys(reasons)),
        tuple(detail),
        sum(len(chains.chains) for chains in predicted),
        tuple(different[:_SHOWN]),
        load_s,
        _latency(predictor, predicted),
        calibration_error(predicted),
    )


def _predicted(predictor: "Predictor", one: EvaluatedSet) -> "PredictedSet | tuple[str, str]":
    """The predictions of a data set, or the reason why there are none and a line on it."""
    from liftray.data.dataset import ProteinDataset
    from liftray.evaluate.scoring import predict_set

    remedy = f"give the evaluated data in replay.data.{one.name}"
    if one.path is None:
        return "REPLAY_DATA_MISSING", f"no place recorded of validation set {one.name}; {remedy}"
    try:
        dataset = ProteinDataset.open(one.path)
    except DataError as error:
        return "REPLAY_DATA_MISSING", f"{error}; {remedy}"
    if dataset.digest != one.digest:
        return "DATA_CHANGED", f"{one.path} is {dataset.digest}, evaluated was {one.digest}; {remedy}"
    try:
        dataset.verify()
    except DataError as error:
        return "DATA_CHANGED", str(error)
    try:
        return predict_set(predictor, dataset, predictor.info["ss3_map"])
    except DataError as error:
        return "NOT_REPRODUCED", str(error)


def _latency(predictor: "Predictor", sets: "Sequence[PredictedSet]") -> float | None:
    """Median seconds of a few chains, each alone: the longest of up to 512 residues, which users wait for."""
    import statistics

    chains = [chain for one in sets for chain in one.chains if len(chain.sequence) <= _LATENCY_RESIDUES]
    chains = sorted(chains, key=lambda chain: len(chain.sequence))[-_LATENCY_CHAINS:]
    taken = []
    for chain in chains:
        start = time.perf_counter()
        list(predictor.predict([(chain.id, chain.sequence)]))
        taken.append(time.perf_counter() - start)
    return statistics.median(taken) if taken else None


def calibration_error(sets: "Sequence[PredictedSet]") -> float | None:
    """Expected calibration error over the labelled residues of all sets, a fraction."""
    import numpy as np

    from liftray.data.labels import IGNORE_INDEX
    from liftray.evaluate.calibration import expected_calibration_error

    if not sets:
        return None
    probabilities_TC = np.concatenate([one.probabilities_TC for one in sets])
    true_T = np.concatenate([one.true_T for one in sets])
    labelled_T = true_T != IGNORE_INDEX
    return expected_calibration_error(probabilities_TC[labelled_T], true_T[labelled_T])


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
