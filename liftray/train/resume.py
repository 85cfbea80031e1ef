"""The earlier attempt in a run directory, and where this one resumes.

Invariant: the checkpoint store alone decides which step comes next. A run resumes only if its digest is the same, and
in the MLflow run that it began. Flow: prepare, rank job -> [this] -> launch, in-process trial.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from liftray import sealed
from liftray.config import TrainSettings
from liftray.data.dataset import ProteinDataset
from liftray.errors import ConfigError
from liftray.train import checkpoint
from liftray.train.checkpoint import Checkpoint
from liftray.train.prepare import PreparedRun
from liftray.train.rank_job import RankJob

SUMMARY, RUN_FILE = "summary.json", "run.json"
_REMEDY = "remove it to train again, or set train.resume=false"


def checkpoint_of(job: RankJob) -> Checkpoint | None:
    """The newest checkpoint of a run; None where it has none yet.

    Raises:
        ConfigError: The checkpoint is of a run with other settings.
        DataError: All checkpoints are damaged.
    """
    saved = checkpoint.newest(job.store)
    if saved is not None and saved.progress.config_digest not in (
        job.config_digest,
        job.first_version_digest,
    ):
        raise ConfigError(
            "the run directory holds a run with other settings",
            where=str(job.store.parent),
            remedy="use another run.dir, or start again with train.resume=false",
        )
    return saved


def earlier_run(run_dir: Path, train: TrainSettings, uri: str) -> str | None:
    """The id of the MLflow run to continue: an unfinished one of this directory in the same store.

    Args:
        run_dir: The run directory.
        train: `resume` allows it.
        uri: The tracking store.

    Raises:
        DataError: The record of that run is damaged.
    """
    file = run_dir / RUN_FILE
    if not train.resume or not file.exists():
        return None
    earlier = sealed.read_json(file, remedy=_REMEDY)
    finished = (run_dir / SUMMARY).exists()
    run_id = earlier.get("run_id")
    return run_id if isinstance(run_id, str) and earlier.get("tracking_uri") == uri and not finished else None


def request_digest(prepared: PreparedRun) -> str:
    """Digest of all that a train job delivers: what is computed, how it is evaluated, and where it is recorded.

    Returns:
        sha256 in hexadecimal. Two commands with the same digest in one run directory ask for the same result.
    """
    settings = prepared.settings
    content = {
        "result": prepared.digest,
        "test": {name: ProteinDataset.open(path).digest for name, path in settings.data.test.items()},
        **settings.model_dump(mode="json", include={"evaluate", "tracking", "registry"}),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def finished_summary(prepared: PreparedRun, run_dir: Path) -> dict[str, Any] | None:
    """The summary of a run directory with a finished run of the same request.

    Args:
        prepared: The run.
        run_dir: The run directory.

    Returns:
        The content of `summary.json`; None where there is something to do.

    Raises:
        DataError: A file is damaged.
    """
    request, summary = run_dir / RUN_FILE, run_dir / SUMMARY
    if not prepared.settings.train.resume or not request.exists() or not summary.exists():
        return None
    if sealed.read_json(request, remedy=_REMEDY).get("request") != request_digest(prepared):
        return None
    content = sealed.read_json(summary, remedy=_REMEDY, with_seal=True)
    directory = content.get("bundle")
    return content if isinstance(directory, str) and Path(directory).is_dir() else None
