"""The quickstart's training, and the command that records what it gives:

    .venv/bin/python -m tests.golden.quickstart

writes `quickstart.json`: the loss of every global step, the scores of both sets, and the machine. Do this only for a
change that is meant to change results, and give the reason in the commit.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

from liftray import config
from liftray.data import sample
from liftray.data.ingest import ingest
from liftray.machine import hardware, versions
from liftray.train import checkpoint

RECORD = Path(__file__).with_suffix(".json")
_CONFIG = Path(__file__).resolve().parents[2] / "configs" / "quickstart.yaml"
_SCORES = ("q3", "macro_f1", "sov99", "mcc", "nll", "ece")


def machine() -> dict[str, Any]:
    """What the rounding of a run depends on."""
    computer, libraries = hardware(), versions()
    return {
        "cpu": computer["cpu"],
        "cpu_flags": computer["cpu_flags"],
        "torch": libraries["torch"],
        "deepspeed": libraries["deepspeed"],
    }


def run(folder: Path) -> dict[str, Any]:
    """Train as `make quickstart` does, without baselines and registry; gives losses and scores."""
    from liftray.train.train_job import train

    sets = {}
    for part in ("train", "valid", "test"):
        ingest([sample.directory() / f"{part}.ss9.txt"], folder / part)
        name = "sample_test" if part == "test" else "sample"
        sets[f"data.{part}"] = {name: str(folder / part)}
    chosen = config.load(_CONFIG).replace(
        {
            **sets,
            "run.dir": str(folder / "run"),
            "tracking.uri": f"sqlite:///{folder}/mlflow.db",
            "registry.name": "",
            "evaluate.baselines": [],
        }
    )
    summary = train(chosen)
    ended = checkpoint.newest(folder / "run" / "checkpoints")
    if ended is None:
        raise RuntimeError(f"the run left no checkpoint in {folder}")
    metrics = summary["metrics"]
    scores = {name: {score: metrics[name][score] for score in _SCORES} for name in sorted(metrics)}
    return {"machine": machine(), "step_losses": ended.progress.step_losses, "scores": scores}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        RECORD.write_text(json.dumps(run(Path(made)), indent=1) + "\n")
    print(RECORD)
