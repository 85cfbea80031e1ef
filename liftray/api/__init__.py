"""The public functions: `from liftray import load, predict, ingest, train, evaluate, search, promote`.

Invariant: a job in `jobs/` and a call here do the same and write the same files; importing this package imports nothing
heavy. Every error that a user can cause is a `liftray.LiftrayError`. A plain script needs no
`if __name__ == "__main__":`, since worker processes do not import the script.

Most functions take `tracking_uri`, the MLflow store of `models:/` and `runs:/` addresses. Its default is the
environment variable MLFLOW_TRACKING_URI, else `sqlite:///mlflow.db`.
"""

from liftray.api.models import evaluate, load, predict
from liftray.api.runs import ingest, promote, search, train

__all__ = ["evaluate", "ingest", "load", "predict", "promote", "search", "train"]
