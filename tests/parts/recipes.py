"""The directory in which the recipes of the pages run, and the commands as a reader would type them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.parts import tiny

ROOT = Path(__file__).resolve().parents[2]
# Three epochs pass the gates of a first champion.
SHORT = "train.epochs=3 evaluate.resamples=100 evaluate.baselines=[]"


def make_workspace(root: Path) -> None:
    """Leave a directory as `make quickstart` does, with the files that recipes call the reader's own.

    Args:
        root: The directory, which is there.
    """
    for name in ("liftray", "jobs", "configs", "cluster", "reports"):
        (root / name).symlink_to(ROOT / name)
    _write_programs(root / "bin" / "liftray")
    sample = ROOT / "liftray" / "data" / "sample"
    for name, part in (("my_train", "train"), ("my_valid", "valid")):
        shutil.copy(sample / f"{part}.ss9.txt", root / f"{name}.ss9.txt")
        lines = (sample / f"{part}.ss9.txt").read_text(encoding="utf-8").splitlines()
        lines[2::3] = [line.replace("P", "L") for line in lines[2::3]]
        (root / f"{name}.ss8.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    shutil.copy(sample / "example.fasta", root / "my.fasta")
    _write_flip(root / "flip")
    tiny.write_backbone(root / "models" / "my_esm2")
    for part in ("train", "valid", "test"):
        source = f"liftray/data/sample/{part}.ss9.txt"
        run_bash(root, f"liftray ingest {source} --out runs/quickstart/data/{part}")
    for name in ("lift_train", "lift_valid"):
        (root / "data").mkdir(exist_ok=True)
        (root / "data" / name).symlink_to(root / "runs" / "quickstart" / "data" / name.removeprefix("lift_"))
    run_bash(root, "liftray train --config configs/quickstart.yaml evaluate.baselines=[]", how="whole")
    for name in (".gitignore", ".rayignore"):  # what `ray job submit` leaves out
        shutil.copy(ROOT / name, root / name)
    run_bash(root, "liftray promote promote --name liftray-quickstart --reason quickstart")


def _write_flip(folder: Path) -> None:
    """FLIP's layout with one chain in each part."""
    folder.mkdir()
    parts = ("train VALIDATION=False", "train VALIDATION=True", "test VALIDATION=False")
    for name, headers, text in (
        ("sequences", ("", "", ""), "MKTAYIAK"),
        ("sampled", [f" SET={part}" for part in parts], "CCHHHHEE"),
        ("mask", ("", "", ""), "01111111"),
    ):
        content = "".join(f">chain{number}{header}\n{text}\n" for number, header in enumerate(headers))
        (folder / f"{name}.fasta").write_text(content, encoding="utf-8")


def _write_programs(path: Path) -> None:
    """`liftray` as the recipes call it, with a short training, and `ray` that adds the same to a submitted training."""
    path.parent.mkdir()
    path.write_text(
        f"""#!/usr/bin/env bash
words=("$@")
if [[ "$HOW" == resolve ]]; then
  words+=(--print-config)
elif [[ "$HOW" != whole && ( "$1" == train || "$1" == tune ) ]]; then
  words+=({SHORT})
fi
exec {sys.executable} -c 'from liftray.cli import main; main()' "${{words[@]}}"
"""
    )
    ray = path.with_name("ray")
    ray.write_text(
        f"""#!/usr/bin/env bash
words=("$@")
[[ "$*" == "job submit "*train.py* ]] && words+=({SHORT})
exec {Path(sys.executable).with_name("ray")} "${{words[@]}}"
"""
    )
    for program in (path, ray):
        program.chmod(0o755)


def run_bash(root: Path, text: str, how: str = "run", where: str = "") -> None:
    """Run a text in bash as the pages print it.

    Args:
        root: The working directory.
        text: The text.
        how: `run`: trainings are short; `resolve`: they print their settings; `whole`: as they are.
        where: What a failure names; default: the text.
    """
    finish(root, ["bash", "-euo", "pipefail", "-c", text], where or text, HOW=how)


def environment(root: Path, extra: dict[str, str]) -> dict[str, str]:
    """The environment of a reader whose programs are those of `make_workspace`."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in ("RAY_ADDRESS", "MLFLOW_TRACKING_URI")
    }
    path = f"{root / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    return kept | {"PATH": path, "PYTHONPATH": str(ROOT), **extra}


def finish(root: Path, command: list[str], where: str, **extra: str) -> None:
    """Run a command to its end, which must be good."""
    variables = environment(root, extra)
    done = subprocess.run(
        command, cwd=root, env=variables, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, f"{where}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
