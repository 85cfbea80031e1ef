"""The record of each trial on disk: one JSON file for each trial, in the directory of its checkpoints.

Invariant: a trial that ended is written before its search continues, completely or not at all. So a search that is
killed at any moment and rerun repeats no trial that ended and loses none that began. Ray Tune's own files are not read.
Flow: tune (only the driver writes) -> [this] -> search_report, and the same search later.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from liftray import files, sealed
from liftray.errors import ConfigError, DataError
from liftray.search.space import Overrides, trial_name

State = Literal["running", "finished", "stopped", "unfinished", "error"]
TRIALS, TRIAL_FILE, CLOCK_FILE = "trials", "trial.json", "clock.json"
# A failed trial is run again by the next command: the failure may have been the machine's.
ENDED: tuple[State, ...] = ("finished", "stopped")


@dataclass(frozen=True)
class Trial:
    """A trial in the form of its file.

    Attributes:
        number: In the order of proposal, from 1.
        config: Its values of the search space.
        digest: Of all that its result depends on; see `train.run_digest`.
        state: `finished` to its end, `stopped` early, `unfinished` (to resume), `error`, or `running`.
        reason: Why it ended, or how it began.
        metrics: Of its best epoch, the weights of which it kept.
        history: One record for each epoch.
        seconds: From proposal to end, over all its attempts.
        start_s: From proposal to first step of its first attempt; None where it took none.
        run_id: Its MLflow run.
        cached: Whether it reads a stored frozen prefix.
    """

    number: int
    config: Overrides
    digest: str
    state: State = "running"
    reason: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    start_s: float | None = None
    run_id: str | None = None
    cached: bool = False

    @property
    def name(self) -> str:
        """Its directory."""
        return trial_name(self.config)

    def row(self) -> dict[str, Any]:
        """Its entry in `summary.json`."""
        fields = asdict(self)
        kept = ("config", "state", "reason", "metrics", "seconds", "start_s", "run_id", "number")
        return {**{name: fields[name] for name in kept}, "epochs": len(self.history)}


class Ledger:
    """All trials of a search, and its duration so far.

    Args:
        out: The search's directory.

    Raises:
        DataError: A record is damaged.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self._trials: dict[str, Trial] = {}
        self._began = time.monotonic()
        for file in sorted((out / TRIALS).glob(f"*/{TRIAL_FILE}")):
            trial = _trial_in(file)
            self._trials[trial.name] = trial
        clock = out / CLOCK_FILE
        self._before = _seconds_in(clock) if clock.exists() else 0.0

    @property
    def trials(self) -> list[Trial]:
        """All trials, in the order of their proposal."""
        return sorted(self._trials.values(), key=lambda trial: trial.number)

    @property
    def seconds(self) -> float:
        """Wall-clock seconds of this search, earlier processes included."""
        return self._before + time.monotonic() - self._began

    def directory(self, trial: Trial) -> Path:
        """The directory of a trial's files."""
        return self.out / TRIALS / trial.name

    def find(self, overrides: Mapping[str, Any]) -> Trial | None:
        """The trial with these values; None where there is none."""
        return self._trials.get(trial_name(overrides))

    def begin(self, overrides: Overrides, digest: str, cached: bool) -> Trial:
        """Record a trial that is about to start or to resume."""
        number = 1 + max((trial.number for trial in self._trials.values()), default=0)
        known = self.find(overrides)
        trial = known or Trial(number, overrides, digest)
        reason = "resumes" if known else "starts"
        return self.write(replace(trial, state="running", reason=reason, cached=cached))

    def write(self, trial: Trial) -> Trial:
        """Write a trial, and the seconds that the search has taken."""
        self._trials[trial.name] = trial
        files.make_directories(self.directory(trial))
        sealed.write_json(self.directory(trial) / TRIAL_FILE, asdict(trial))
        sealed.write_json(self.out / CLOCK_FILE, {"seconds": round(self.seconds, 3)})
        return trial

    def check(self, digests: Mapping[str, str]) -> None:
        """Refuse to resume trials of other settings.

        Args:
            digests: Name -> digest of the settings, for each trial that this search would run.

        Raises:
            ConfigError: A trial of the same values was run with other settings.
        """
        for name, digest in digests.items():
            if name in self._trials and self._trials[name].digest != digest:
                raise ConfigError(
                    "the search directory holds trials with other settings or data, or that version 0.1 began",
                    where=str(self.out),
                    remedy="use another run.dir, or start again with train.resume=false",
                )


def _trial_in(file: Path) -> Trial:
    content = sealed.read_json(file, remedy="remove its directory: the trial is run again")
    try:
        return Trial(**content)
    except TypeError as error:
        raise DataError(
            f"no record of a trial ({error})", where=str(file), remedy="remove its directory"
        ) from error


def _seconds_in(clock: Path) -> float:
    remedy = "remove it: the search's time is then counted from now on"
    seconds = sealed.read_json(clock, remedy=remedy).get("seconds")
    if not isinstance(seconds, int | float) or isinstance(seconds, bool):
        raise DataError("no number of seconds in it", where=str(clock), remedy=remedy)
    return float(seconds)
