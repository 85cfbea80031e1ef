"""The quickstart's training, and the command that records what it gives:

    .venv/bin/python -m tests.golden.quickstart

writes `quickstart.json`: the loss of every global step, the scores of both sets, and the machine. Do this only for a
change that is meant to change results, and give the reason in the commit.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

from liftray.machine import hardware, versions
from liftray.train import checkpoint
from tests.parts.recipes import make_workspace

RECORD = Path(__file__).with_suffix(".json")
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


def result(run_dir: Path) -> dict[str, Any]:
    """Losses and scores of a finished run of the quickstart, with the machine."""
    ended = checkpoint.newest(run_dir / "checkpoints")
    if ended is None:
        raise RuntimeError(f"the run left no checkpoint in {run_dir}")
    metrics = json.loads((run_dir / "summary.json").read_text())["metrics"]
    scores = {name: {score: metrics[name][score] for score in _SCORES} for name in sorted(metrics)}
    return {"machine": machine(), "step_losses": ended.progress.step_losses, "scores": scores}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        make_workspace(Path(made))
        RECORD.write_text(json.dumps(result(Path(made) / "runs" / "quickstart" / "train"), indent=1) + "\n")
    print(RECORD)
