"""Environment variables that libraries read while they are imported.

Invariant: `prepare` runs before the first import of torch, Ray or MLflow; a job and the Python API both call it.
"""

import os

# A safety setting: it overrides the user's environment.
_FORCED = {"MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
# Defaults: a value in the user's environment is kept.
_DEFAULTS = {
    "DS_LOG_LEVEL": "warning",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "RAY_USAGE_STATS_ENABLED": "0",
    "TOKENIZERS_PARALLELISM": "false",
}


def prepare() -> None:
    """Set the variables for this process and its children."""
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    os.environ.update(_FORCED)
