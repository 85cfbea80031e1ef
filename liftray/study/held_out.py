"""Predictions of the test sets, by the final runs of each arm.

Invariant: each run predicts a test set once, with the weights that were best on validation, after all choices of the
study were made. Only the report reads these predictions. Flow: checkpoints -> [this, on the Ray cluster] ->
held_out/NAME.parquet in each run's directory.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from liftray import sealed
from liftray.config import Settings
from liftray.data.dataset import ProteinDataset
from liftray.errors import DataError
from liftray.evaluate import evaluation_report
from liftray.evaluate.chains import PredictedSet
from liftray.evaluate.scoring import predict_set
from liftray.progress import progress

FOLDER, PARAMETERS = "held_out", "parameters.json"
_DIGEST = b"liftray.data_digest"


def file_of(run_dir: Path, name: str) -> Path:
    """The file with the predicted chains of a test set."""
    return run_dir / FOLDER / f"{name}.parquet"


def predict(runs: Sequence[Settings], tests: Mapping[str, str], at_a_time: int) -> None:
    """Predict the test sets that runs have not predicted yet, on the connected Ray cluster.

    Args:
        runs: Settings of finished runs; `run.dir` holds their checkpoints.
        tests: Name -> data set.
        at_a_time: Models at a time.

    Raises:
        DataError: A test set is damaged, or has changed since a run predicted it; a chain cannot be predicted.
    """
    import ray

    open_ones = [one for one in runs if missing(Path(one.run.dir), tests) or not _counted(Path(one.run.dir))]
    if not open_ones:
        return
    scaling = open_ones[0].scaling
    task = ray.remote(num_cpus=scaling.cpus_per_worker, num_gpus=int(scaling.use_gpu))(_predict)
    waiting = list(open_ones)
    running: list[Any] = []
    with progress("study: test sets", len(open_ones), "models") as advance:
        while waiting or running:
            while waiting and len(running) < at_a_time:
                running.append(task.remote(waiting.pop(0), dict(tests)))
            done, running = ray.wait(running, num_returns=1)
            ray.get(done)
            advance(1)


def missing(run_dir: Path, tests: Mapping[str, str]) -> dict[str, str]:
    """The test sets that a run has not predicted.

    Raises:
        DataError: It predicted one of that name and other content.
    """
    absent = {}
    for name, path in tests.items():
        file = file_of(run_dir, name)
        if not file.exists():
            absent[name] = path
        elif digest_of(file) != ProteinDataset.open(path).digest:
            raise DataError(
                f"the test set {name} has changed since it was predicted",
                where=str(file),
                remedy="rename the set, or use another run.dir",
            )
    return absent


def _counted(run_dir: Path) -> bool:
    return (run_dir / PARAMETERS).exists()


def write(file: Path, predicted: PredictedSet, digest: str) -> None:
    """Write one row a chain, with the digest of the data set in the schema's metadata."""
    table = evaluation_report.per_protein(predicted)
    sealed.write_table(file, table.replace_schema_metadata({_DIGEST: digest.encode()}))


def digest_of(file: Path) -> str:
    """The digest of the data set that a file's chains are of.

    Raises:
        DataError: The file is damaged.
    """
    return (sealed.read_table(file).schema.metadata or {}).get(_DIGEST, b"").decode("ascii", "replace")


def _predict(settings: Settings, tests: Mapping[str, str]) -> None:
    """Load a run's best weights once, with a worker's resources, and predict the missing sets."""
    from liftray.search.trial import predictor_of
    from liftray.train import checkpoint
    from liftray.train.prepare import prepare_run
    from liftray.train.rank_job import STORE

    run_dir = Path(settings.run.dir)
    prepared = prepare_run(settings)
    saved = checkpoint.newest(run_dir.resolve() / STORE)
    if saved is None or not saved.progress.finished:
        raise DataError(
            "the checkpoint of a finished run is gone", where=str(run_dir), remedy="use another run.dir"
        )
    predictor = predictor_of(prepared, saved)
    for name, path in missing(run_dir, tests).items():
        dataset = ProteinDataset.open(path)
        write(file_of(run_dir, name), predict_set(predictor, dataset, settings.ss3_map), dataset.digest)
    sealed.write_json(run_dir / PARAMETERS, predictor.tagger.count())  # type: ignore[attr-defined]
