"""Which code made something, on which versions, and who ran it.

Invariant: nothing is guessed: what cannot be determined is left out or called unknown. Flow: [this] -> runs, ledger.
"""

import getpass
import json
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import liftray

_VERSIONS = ("torch", "transformers", "adapters", "ray", "deepspeed", "mlflow", "pyarrow", "numpy")


def code_tags() -> dict[str, str]:
    """Tags of a run: user, program, LiftRay's version and commit, versions of the libraries."""
    tags = {
        "mlflow.user": user(),
        "mlflow.source.name": sys.argv[0] or "python",
        "mlflow.source.type": "LOCAL",
        "liftray.version": liftray.__version__,
        "liftray.versions": json.dumps({"python": platform.python_version(), **_versions()}),
    }
    checkout = Path(liftray.__file__).resolve().parents[1]
    # Installed into an environment, the nearest checkout above is someone else's.
    if _git(checkout, "rev-parse", "--show-toplevel") == str(checkout) and (
        commit := _git(checkout, "rev-parse", "HEAD")
    ):
        tags["mlflow.source.git.commit"] = commit
        tags["mlflow.source.git.dirty"] = "true" if _git(checkout, "status", "--porcelain") else "false"
    return tags


def _versions() -> dict[str, str]:
    found = {}
    for name in _VERSIONS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _git(folder: Path, *arguments: str) -> str | None:
    """Output of a git command in a checkout; None where there is no git or no commit."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def user() -> str:
    """Who acts: the MLflow server's user where one is set, else the system's."""
    try:
        return os.environ.get("MLFLOW_TRACKING_USERNAME") or getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return "unknown"
