"""A real bundle through the real gates: promoted, refused for each thing that can be wrong, rolled back."""

import contextlib
import json
import os
import pty
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from liftray.data.dataset import ProteinDataset
from liftray.evaluate import evaluation_report
from liftray.evaluate.scoring import leakage_of, predict_sets, score_sets
from liftray.predict import bundle
from liftray.predict.predictor import Predictor
from liftray.track.mlflow import versions
from liftray.track.mlflow.runs import start_run
from liftray.track.mlflow.store import client
from liftray.track.promotion import history, registry
from liftray.track.promotion.policy import Policy
from liftray.track.promotion.verdict import Refusal
from tests.parts import tiny

NAME = "gated"
# The models have random weights: the default floors would refuse them all.
RULES = {
    "floors": {"sov99": 0.0, "f1": {}},
    "calibration": {"max_ece": 1.0},
    "licence": {"backbone": "MIT"},
    "sets": {"margin": 0.5},
}
POLICY = Policy.model_validate(RULES)
PROMOTE = [sys.executable, str(Path(__file__).resolve().parents[2] / "jobs" / "promote.py")]

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Parts:
    """Backbone, data sets and model that all versions share."""

    weights: str
    train: str
    valid: str
    good: Predictor
    bad: Predictor


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Parts:
    folder = tmp_path_factory.mktemp("parts")
    weights = tiny.write_backbone(folder / "weights")
    train = tiny.dataset(folder / "train", tiny.chains([60] * 6, seed=1, name="t"))
    valid = tiny.dataset(folder / "valid", tiny.chains(range(40, 100, 5), seed=2, name="v"))
    found = []
    for seed in (3, 4):
        model = tiny.move(_tagger(weights), seed)
        predictor = Predictor.of(model.eval(), {"ss3_map": "dssp"})
        scored = score_sets(predict_sets(predictor, {"valid": valid}, "dssp"), resamples=100)
        found.append((scored["valid"]["q3"], seed, predictor))
    (_, _, bad), (_, _, good) = sorted(found, key=lambda one: one[0])
    assert found[0][0] != found[1][0]
    return Parts(weights, train, valid, good, bad)


def _tagger(weights: str) -> Any:
    from liftray.adapt import tagger as taggers
    from liftray.adapt.tagger import TaggerSettings
    from liftray.backbone import model
    from liftray.backbone.sources import resolve

    settings = tiny.settings(adapter__reduction_factor=4)
    return taggers.build(model.load(resolve([weights])), TaggerSettings.of(settings), seed=0)


def add(uri: str, folder: Path, parts: Parts, which: str = "good", **change: Any) -> dict[str, Any]:
    """Evaluate, log and register a version as `train` does; `train` and `valid` may name other data."""
    predictor: Predictor = getattr(parts, which)
    valid, train = change.get("valid", parts.valid), change.get("train", parts.train)
    predicted = predict_sets(predictor, {"valid": valid}, "dssp")
    metrics = score_sets(predicted, resamples=100)
    digests = {
        "train": {"set": ProteinDataset.open(train).digest},
        "valid": {"set": ProteinDataset.open(valid).digest},
    }
    with start_run(tiny.settings(tracking__uri=uri), system_metrics_s=None) as run:
        for split, path in (("train", train), ("valid", valid)):
            run.log_dataset(split, "set", digests[split]["set"], path)
        leaks = leakage_of([train], {"valid": valid})
        details = {"data": digests, "metrics": metrics, "leakage": leaks, "run_id": run.run_id}
        weights = change.get("weights", parts.weights)
        bundle.save(predictor.tagger, folder / "bundle", [weights], details)  # type: ignore[arg-type]
        pq.write_table(evaluation_report.per_protein(predicted["valid"]), folder / "valid.parquet")
        run.log_artifacts(folder / "valid.parquet", "evaluation/valid")
        return versions.register(folder / "bundle", run.run_id, uri, NAME, metrics)


@pytest.fixture(params=["sqlite", "mlflow_server", "postgresql_server"])
def uri(request: pytest.FixtureRequest) -> str:
    if request.param == "sqlite":
        return str(request.getfixturevalue("mlflow_uri"))
    address = str(request.getfixturevalue(request.param))
    if client(address).search_registered_models(f"name='{NAME}'"):
        client(address).delete_registered_model(NAME)
    return address


def state(uri: str) -> tuple[Any, Any]:
    found = client(uri).get_registered_model(NAME)
    return dict(found.aliases), dict(found.tags)


def refused(uri: str, policy: Policy = POLICY, **options: Any) -> Refusal:
    """The refusal of the candidate, which must have changed nothing."""
    aliases, _ = state(uri)
    with pytest.raises(Refusal) as caught:
        registry.promote(NAME, uri=uri, reason="please", policy=policy, **options)
    assert caught.value.exit_code == 3
    assert state(uri)[0] == aliases
    last = history.entries(NAME, uri=uri)[-1]
    assert (last["action"], last["evidence"]["reasons"]) == ("refuse", caught.value.reasons)
    return caught.value


def test_the_ledger_records_promotion_refusal_override_and_rollback(
    uri: str, tmp_path: Path, parts: Parts
) -> None:
    add(uri, tmp_path / "a", parts)
    first = registry.promote(NAME, uri=uri, reason="first", policy=POLICY)
    by_name = {one["gate"]: one for one in first["verdict"]["gates"]}
    assert by_name["replay"]["evidence"]["num_chains"] == 12
    assert by_name["budgets"]["evidence"]["latency_s"] > 0
    assert 0 <= by_name["calibration"]["evidence"]["ece"] <= 1
    add(uri, tmp_path / "same", parts)
    assert registry.promote(NAME, uri=uri, reason="the same again", policy=POLICY)["changed"]
    add(uri, tmp_path / "b", parts, "bad")
    worse = refused(uri)
    assert "SCORE_LOWER" in worse.reasons
    forced = registry.promote(
        NAME, uri=uri, reason="known, and wanted", policy=POLICY, override=worse.reasons
    )
    assert forced["overridden"] == worse.reasons
    registry.rollback(NAME, uri=uri, reason="not wanted after all", policy=POLICY)
    recorded = history.entries(NAME, uri=uri)
    assert [(entry["action"], entry["version"]) for entry in recorded] == [
        ("promote", 1),
        ("promote", 2),
        ("refuse", 3),
        ("promote", 3),
        ("rollback", 2),
    ]
    assert recorded[2]["reason"] == "please"
    assert recorded[3]["evidence"]["overridden"] == worse.reasons
    assert recorded[3]["reason"] == "known, and wanted"
    assert recorded[0]["evidence"]["data"][0].startswith("sha256:")
    run_id = client(uri).get_model_version(NAME, "3").run_id
    kept = client(uri).download_artifacts(run_id, f"promotion/{NAME}-000004.json", str(tmp_path))
    assert json.loads(Path(kept).read_text()) == forced["verdict"]


def test_a_set_that_was_trained_on_cannot_pass(mlflow_uri: str, tmp_path: Path, parts: Parts) -> None:
    add(mlflow_uri, tmp_path / "a", parts, train=parts.valid)
    assert "LEAKY_SET" in refused(mlflow_uri).reasons


def _artifacts(uri: str, made: dict[str, Any]) -> Path:
    return Path(client(uri).get_logged_model(made["model_id"]).artifact_location) / "artifacts" / "bundle"


def _tamper_info(uri: str, made: dict[str, Any], **_: Any) -> None:
    file = _artifacts(uri, made) / "bundle.json"
    file.write_text(file.read_text().replace('"ss3_map": "dssp"', '"ss3_map": "lift"', 1))


def _tamper_weights(uri: str, made: dict[str, Any], **_: Any) -> None:
    file = _artifacts(uri, made) / "head.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(bytes(content))


def _tamper_table(uri: str, made: dict[str, Any], **_: Any) -> None:
    root = Path(client(uri).get_run(made["run_id"]).info.artifact_uri)
    file = root / "evaluation" / "valid" / "valid.parquet"
    table = pq.read_table(file).to_pandas()
    # The accuracies stay, so no pooled score changes.
    table["sov99"] = table["sov99"].to_numpy()[::-1]
    table.to_parquet(file)


def _change_backbone(weights: Path, **_: Any) -> None:
    shutil.rmtree(weights)
    tiny.write_backbone(weights, seed=9)


def _remove_backbone(weights: Path, **_: Any) -> None:
    shutil.rmtree(weights)


def _change_data(valid: Path, **_: Any) -> None:
    shutil.rmtree(valid)
    tiny.dataset(valid.parent, tiny.chains([50] * 4, seed=8))


def _remove_data(valid: Path, **_: Any) -> None:
    shutil.rmtree(valid)


@pytest.mark.parametrize(
    ("harm", "code"),
    [
        (_tamper_info, "BUNDLE_CHANGED"),
        (_tamper_weights, "BUNDLE_CHANGED"),
        (_tamper_table, "NOT_REPRODUCED"),
        (_change_backbone, "BACKBONE_CHANGED"),
        (_remove_backbone, "BACKBONE_UNREACHABLE"),
        (_change_data, "DATA_CHANGED"),
        (_remove_data, "REPLAY_DATA_MISSING"),
    ],
)
def test_anything_that_changed_since_evaluation_is_refused(
    mlflow_uri: str, tmp_path: Path, parts: Parts, harm: Callable[..., None], code: str
) -> None:
    weights, valid = tmp_path / "weights", tmp_path / "data" / "set"
    shutil.copytree(parts.weights, weights)
    shutil.copytree(parts.valid, valid)
    made = add(mlflow_uri, tmp_path / "a", parts, weights=str(weights), valid=str(valid))
    harm(uri=mlflow_uri, made=made, weights=weights, valid=valid)
    assert code in refused(mlflow_uri).reasons


def test_a_broken_ledger_refuses_every_promotion_and_takes_no_entry(
    mlflow_uri: str, tmp_path: Path, parts: Parts
) -> None:
    add(mlflow_uri, tmp_path / "a", parts)
    client(mlflow_uri).set_registered_model_tag(NAME, "liftray.ledger.000001", "{}")
    before = state(mlflow_uri)
    with pytest.raises(Refusal) as caught:
        registry.promote(NAME, uri=mlflow_uri, reason="please", policy=POLICY)
    assert caught.value.reasons == ["LEDGER_BROKEN"]
    assert state(mlflow_uri) == before


def test_the_job_prints_the_verdict_and_ends_with_three(
    mlflow_uri: str, tmp_path: Path, parts: Parts
) -> None:
    add(mlflow_uri, tmp_path / "a", parts)
    gates = tmp_path / "gates.yaml"
    gates.write_text(yaml.safe_dump({**RULES, "budgets": {"max_bundle_mb": 0.0001}}))
    command = [*PROMOTE, "promote", "--name", NAME, "--tracking-uri", mlflow_uri, "--gates", str(gates)]
    done = subprocess.run([*command, "--dry-run"], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    assert json.loads(done.stdout)["verdict"]["reasons"] == ["TOO_LARGE"]
    assert done.stderr.startswith("error: TOO_LARGE")
    final = subprocess.run(
        [*command, "--override", "BUNDLE_CHANGED", "--reason", "x"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert final.returncode == 2
    nameless = subprocess.run(
        [*command, "--override", "TOO_LARGE"], capture_output=True, check=False, cwd=tmp_path
    )
    assert nameless.returncode == 2, "an override needs a reason"


def _on_terminal(command: list[str], folder: Path) -> str:
    """What a command prints to a real terminal."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(command, stdout=theirs, stderr=subprocess.PIPE, cwd=folder) as process:
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # how Linux reports the end of a terminal
            while part := os.read(ours, 4096):
                shown += part
    os.close(ours)
    assert process.returncode == 0
    return shown.decode()


def test_the_job_proposes_and_shows_the_history(mlflow_uri: str, tmp_path: Path, parts: Parts) -> None:
    add(mlflow_uri, tmp_path / "a", parts)
    gates = tmp_path / "gates.yaml"
    gates.write_text(yaml.safe_dump(RULES))
    where = ["--name", NAME, "--tracking-uri", mlflow_uri]
    proposed = subprocess.run(
        [*PROMOTE, "propose", *where, "--version", "1", "--gates", str(gates)],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    verdict = json.loads(proposed.stdout)["verdict"]
    assert (verdict["passed"], verdict["reasons"]) == (None, [])
    assert "replay" in verdict["to_check_at_promote"]
    assert "to be checked at promote: " in proposed.stderr
    command = [*PROMOTE, "history", *where]
    piped = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path).stdout
    assert [entry["action"] for entry in json.loads(piped)] == ["propose"]
    assert json.loads(_on_terminal([*command, "--json"], tmp_path)) == json.loads(piped)
    header, row = _on_terminal(command, tmp_path).split("\r\n")[:2]
    assert header.split()[:4] == ["n", "time", "who", "action"]
    assert row.split()[3:5] == ["propose", "1"]


def test_of_two_promoting_processes_one_wins_and_the_other_is_refused(
    uri: str, tmp_path: Path, parts: Parts
) -> None:
    for name in ("a", "b"):
        add(uri, tmp_path / name, parts)
    gates = tmp_path / "gates.yaml"
    gates.write_text(yaml.safe_dump(RULES))
    command = [
        *PROMOTE,
        "promote",
        "--name",
        NAME,
        "--tracking-uri",
        uri,
        "--gates",
        str(gates),
        "--reason",
        "x",
    ]
    started = [
        subprocess.Popen(
            [*command, "--version", version],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
        )
        for version in ("1", "2")
    ]
    outcomes = [(process.communicate()[1], process.returncode) for process in started]
    entries = history.entries(NAME, uri=uri)
    assert len(entries) == sum(code == 0 for _, code in outcomes) >= 1
    assert all("CONCURRENT" in recorded for recorded, code in outcomes if code == 3)
    assert {code for _, code in outcomes} <= {0, 3}
    assert int(state(uri)[0]["champion"]) == entries[-1]["version"]
