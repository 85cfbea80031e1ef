"""The ledger: trials that ended are on disk before the search continues."""

from dataclasses import replace
from pathlib import Path

import pytest

from liftray.errors import ConfigError
from liftray.search.ledger import TRIALS, Ledger


def test_trials_and_time_are_read_again(tmp_path: Path) -> None:
    first = Ledger(tmp_path)
    one = first.begin({"train.seed": 1}, "d", cached=True)
    two = first.begin({"train.seed": 2}, "d", cached=False)
    first.write(
        replace(one, state="finished", metrics={"valid/q3": 0.7}, history=[{"epoch": 0}], seconds=3.0)
    )
    again = Ledger(tmp_path)
    assert [(trial.number, trial.state, trial.cached) for trial in again.trials] == [
        (1, "finished", True),
        (2, "running", False),
    ]
    assert again.trials[0].metrics == {"valid/q3": 0.7}
    assert again.seconds >= first.seconds - again.seconds
    resumed = again.begin(two.config, "d", cached=True)
    assert (resumed.number, resumed.reason, resumed.cached) == (2, "resumes", True)
    assert len(Ledger(tmp_path).trials) == 2


def test_time_adds_up_over_processes(tmp_path: Path) -> None:
    (tmp_path / "clock.json").write_text('{"seconds": 7200.0}')
    assert Ledger(tmp_path).seconds >= 7200


def test_a_trial_of_other_settings_is_refused(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    trial = ledger.begin({"train.seed": 1}, "d", cached=False)
    ledger.check({trial.name: "d", "unknown": "e"})
    with pytest.raises(ConfigError, match="trials with other settings"):
        ledger.check({trial.name: "e"})


def test_a_half_written_trial_is_not_there(tmp_path: Path) -> None:
    (tmp_path / TRIALS / "x").mkdir(parents=True)
    assert Ledger(tmp_path).trials == []
