"""Progress of a study: the search's board, with arms and the time left.

Invariant: the time left is estimated from the ended runs of this study. Flow: course -> [this].
"""

from collections.abc import Callable, Mapping

from liftray.search.board import Board
from liftray.search.ledger import ENDED, Trial
from liftray.search.objectives import Objective
from liftray.study import estimate


class StudyBoard(Board):
    """Shows the runs of a study while it runs.

    Args:
        names: Run's name -> arm, values and seed in words, of all runs.
        costs: Run's name -> cost, of all runs.
        at_a_time: Runs at a time.
        objective: What arms are compared on.
        seconds: Gives the seconds that the study has taken.
    """

    def __init__(
        self,
        names: Mapping[str, str],
        costs: Mapping[str, float],
        at_a_time: int,
        objective: Objective,
        seconds: Callable[[], float],
    ) -> None:
        super().__init__(len(names), objective, seconds)
        self._names, self._costs, self._at_a_time = names, costs, at_a_time

    def line(self, trial: Trial) -> str:
        """The line for a run that began or ended."""
        name = self._names.get(trial.name, trial.name)
        if trial.state == "running":
            return f"study: {name}: {trial.reason}"
        score = self._objective.of(trial)
        scored = f", {self._objective.title} {self._objective.text(score)}" if score is not None else ""
        trials = {one.name: one for one in self._trials.values()}
        ended = sum(name in trials and trials[name].state in ENDED for name in self._costs)
        left = estimate.left_s(self._costs, trials, self._at_a_time)
        remaining = "" if left is None else f", about {left / 60:.0f} min left"
        return (
            f"study: {name}: {trial.state} ({trial.reason}) in {trial.seconds:.0f} s{scored}; "
            f"{ended} of {len(self._costs)} runs ended{remaining}"
        )
