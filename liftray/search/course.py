"""The driver of a search: it proposes trials to Ray Tune, follows their epochs, and records how they end.

Invariant: only this process writes the ledger and ends the trials' MLflow runs. How a trial ended is read from the
trial's own directory, so a report that was lost in a kill does not matter. Flow: proposals -> [this, called by Ray
Tune] -> ledger, board, MLflow.
"""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from ray.tune.search import Searcher

from liftray import sealed
from liftray.config import Settings
from liftray.errors import DataError, TrackingError
from liftray.progress import show_line
from liftray.search import sharing
from liftray.search.board import Board
from liftray.search.ledger import Ledger, State, Trial
from liftray.search.objectives import OBJECTIVES, measured
from liftray.search.proposals import Proposals
from liftray.search.stopping import Budget
from liftray.search.trial import EPOCHS_DONE, FAILURE, settings_of
from liftray.track.mlflow import runs
from liftray.track.mlflow.outbox import Outbox
from liftray.track.mlflow.store import client, mlflow_errors, short_timeouts
from liftray.train import checkpoint
from liftray.train.checkpoint import Progress
from liftray.train.resume import RUN_FILE

_DRAIN_S = 600.0
_STATUS = {"finished": "FINISHED", "stopped": "KILLED", "unfinished": "KILLED", "error": "FAILED"}
_LOST = "its process was lost more often than train.max_failures"


class Course(Searcher):
    """A running search, in the form that Ray Tune requests trials from and reports them to.

    Args:
        settings: Of the search, addresses and directories absolute.
        ledger: The record of each trial.
        proposals: The source of trials.
        stored: The frozen prefixes that trials read.
        budget: Hours and cost.
        board: Shows progress.
    """

    def __init__(
        self,
        settings: Settings,
        ledger: Ledger,
        proposals: Proposals,
        stored: sharing.StoredPrefixes,
        budget: Budget,
        board: Board,
    ) -> None:
        super().__init__()
        self._settings, self._ledger, self._proposals = settings, ledger, proposals
        self._stored, self._budget, self._board = stored, budget, board
        self._prepare = sharing.Preparer()
        self._running: dict[str, tuple[Trial, float]] = {}
        self._closing = False
        # HyperBand's trials are all proposed at once and wait, so the time to their start has no meaning.
        self._queued = settings.search.scheduler == "hyperband"

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        """The next trial's values, as Tune passes them to `trial.run`."""
        overrides = None if self._budget.spent() else self._proposals.propose()
        if overrides is None:
            return str(Searcher.FINISHED)
        ours = settings_of(self._settings, overrides, self._ledger.out)
        prepared = self._prepare(ours)
        cached = self._stored.read.get(sharing.signature(prepared), False)
        trial = self._ledger.begin(overrides, prepared.digest, cached)
        self._running[trial_id] = trial, time.monotonic()
        self._board.report(trial)
        return {"overrides": overrides, "cached": cached}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Record an epoch of a trial."""
        trial, began = self._running[trial_id]
        trial = self._started(trial, began, result)
        record = {name: value for name, value in result.items() if "/" in name or name == "epoch"}
        known = {one["epoch"] for one in trial.history}
        if record["epoch"] not in known:
            trial = replace(trial, history=[*trial.history, record])
        self._running[trial_id] = replace(trial, metrics=measured(trial.history, record["epoch"])), began
        self._board.update(self._running[trial_id][0])

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Record that a trial has ended, for whatever reason."""
        if trial_id not in self._running:
            return
        trial, began = self._running.pop(trial_id)
        trial = self._started(trial, began, result or {})
        seconds = trial.seconds + time.monotonic() - began
        ended = replace(self._ended(trial, result or {}, lost=error), seconds=round(seconds, 3))
        self._ledger.write(ended)
        values = [OBJECTIVES[name].of(ended) for name in self._settings.search.objectives]
        known = ended.state in ("finished", "stopped") and all(value is not None for value in values)
        self._proposals.learn(
            ended.config, [value for value in values if value is not None] if known else None
        )
        self._board.report(ended)
        self._close(ended)

    def close(self) -> None:
        """Record running trials as unfinished: the search was interrupted, or its budget is spent."""
        self._closing = True
        for trial_id in list(self._running):
            self.on_trial_complete(trial_id)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: a search resumes from its ledger."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: a search resumes from its ledger."""

    def _started(self, trial: Trial, began: float, result: dict[str, Any]) -> Trial:
        """Record the time from a trial's proposal to its first step, when its first epoch is reported."""
        if trial.start_s is not None or trial.history or self._queued or result.get(EPOCHS_DONE) != 1:
            return trial
        return replace(trial, start_s=round(time.monotonic() - began - float(result["train/seconds"]), 3))

    def _ended(self, trial: Trial, result: dict[str, Any], *, lost: bool) -> Trial:
        directory = self._ledger.directory(trial)
        run_id = _content(directory / RUN_FILE).get("run_id")
        failed = _content(directory / FAILURE).get("error")
        try:
            saved = checkpoint.newest(directory / "checkpoints")
        except DataError as error:
            saved, failed = None, str(error)
        progress = saved.progress if saved is not None else Progress()
        state, reason = self._verdict(trial, progress, failed or (_LOST if lost else None), result)
        metrics = measured(progress.history, progress.best_epoch)
        return replace(
            trial, state=state, reason=reason, metrics=metrics, history=progress.history, run_id=run_id
        )

    def _verdict(
        self, trial: Trial, progress: Progress, failed: str | None, result: dict[str, Any]
    ) -> tuple[State, str]:
        epochs = len(progress.history)
        if failed is not None:
            return "error", failed
        if progress.finished:
            ours = settings_of(self._settings, trial.config, self._ledger.out)
            if epochs >= ours.train.epochs:
                return "finished", f"all {epochs} epochs"
            return "finished", f"no better score for {ours.train.patience} epochs"
        if (spent := self._budget.spent()) is not None:
            return "unfinished", spent
        if self._settings.search.scheduler != "none" and epochs and not self._closing:
            # The scheduler decided on the last epoch that it received; Ray Train's workers may be further ahead.
            return "stopped", f"{self._settings.search.scheduler} at epoch {result.get(EPOCHS_DONE, epochs)}"
        return "unfinished", f"interrupted after epoch {epochs}"

    def _close(self, trial: Trial) -> None:
        """End the trial's MLflow run with the reason; where MLflow does not answer, `settle` tries again."""
        try:
            with short_timeouts():
                end_run(self._settings.tracking.uri, trial)
        except TrackingError as error:
            show_line(f"the MLflow run of trial {trial.number} is still open ({error.what})")


def settle(uri: str, ledger: Ledger) -> None:
    """Send MLflow what trials could not send, and end the runs that are still open, with retries.

    Raises:
        TrackingError: MLflow did not answer in ten minutes; unsent values stay in the trials' directories.
    """
    for trial in ledger.trials:
        if trial.run_id is not None and trial.state in _STATUS:
            Outbox(uri, trial.run_id, ledger.directory(trial)).drain(_DRAIN_S)
            end_run(uri, trial)


def end_run(uri: str, trial: Trial) -> None:
    """End a trial's MLflow run, if it is open, with the reason why the trial ended.

    Raises:
        TrackingError: The store cannot be reached.
    """
    if trial.run_id is None:
        return
    store = client(uri)
    with mlflow_errors(uri):
        if store.get_run(trial.run_id).info.status == "RUNNING":
            tags = {"liftray.trial": str(trial.number), "liftray.state": trial.state}
            runs.attach(uri, trial.run_id).tag({**tags, "liftray.stop_reason": trial.reason})
            store.set_terminated(trial.run_id, status=_STATUS[trial.state])


def _content(file: Path) -> dict[str, Any]:
    return sealed.read_json(file) if file.exists() else {}
