"""Progress of a search: a live table on a terminal, plain lines otherwise.

Invariant: everything goes to stderr. Without a terminal, each trial that begins, resumes or ends has a line, and an
epoch has none. Flow: course -> [this].
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from liftray.plain_text import shown
from liftray.progress import log_line, show_line, table
from liftray.reporting.tables import setting
from liftray.search.ledger import Trial
from liftray.search.objectives import Objective

_SHOWN = 15


class Board:
    """Shows the trials of a search while it runs.

    Args:
        total: Trials of the search at most.
        objective: What chooses the best.
        seconds: Gives the seconds that the search has taken.
    """

    def __init__(self, total: int, objective: Objective, seconds: Callable[[], float]) -> None:
        self._total, self._objective, self._seconds = total, objective, seconds
        self._trials: dict[int, Trial] = {}
        self._refresh: Callable[[], None] | None = None

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show the table, where there is a terminal, while the block runs."""
        with table(self.table) as self._refresh:
            yield
        self._refresh = None

    def report(self, trial: Trial) -> None:
        """Show a trial that began or ended, with a line of its own where there is no terminal."""
        self._trials[trial.number] = trial
        if self._refresh is None:
            show_line(self.line(trial))
        else:
            log_line(self.line(trial))

    def update(self, trial: Trial) -> None:
        """Show the present state of a trial, without a line of its own."""
        self._trials[trial.number] = trial

    def line(self, trial: Trial) -> str:
        """The line for a trial that began or ended."""
        values = ", ".join(f"{key} {setting(value)}" for key, value in trial.config.items())
        if trial.state == "running":
            return f"tune: trial {trial.number}/{self._total} {trial.reason}: {values}"
        score = self._objective.of(trial)
        scored = f", {self._objective.title} {self._objective.text(score)}" if score is not None else ""
        best = self.best()
        leads = ", the best so far" if best is not None and best.number == trial.number else ""
        return (
            f"tune: trial {trial.number}/{self._total} {trial.state} ({trial.reason}) "
            f"in {trial.seconds:.0f} s{scored}{leads}: {values}"
        )

    def best(self) -> Trial | None:
        """The best of those that finished."""
        finished = [trial for trial in self._trials.values() if trial.state == "finished"]
        return max(finished, key=lambda trial: self._objective.of(trial) or 0.0, default=None)

    def table(self) -> Any:
        """The live table: the newest trials, the best one, and the progress of the search."""
        from rich.markup import escape
        from rich.table import Table

        trials = sorted(self._trials.values(), key=lambda trial: trial.number)
        best = self.best()
        ended = sum(trial.state != "running" for trial in trials)
        took = self._seconds()
        state = f"{ended}/{self._total} trials ended, {took:.0f} s"
        if ended:
            state += f", about {took / ended * (self._total - ended):.0f} s left"
        if best is not None:
            state += f"; best: trial {best.number}, {self._objective.text(self._objective.of(best))}"
        table = Table(caption=escape(state), caption_justify="left", header_style="bold")
        for title in ("trial", "values", "state", "epoch", self._objective.title):
            table.add_column(title, justify="left" if title in ("values", "state") else "right")
        for trial in trials[-_SHOWN:]:
            values = ", ".join(
                f"{key.rpartition('.')[2]} {setting(value)}" for key, value in trial.config.items()
            )
            table.add_row(
                str(trial.number),
                escape(shown(values)),
                trial.state,
                str(len(trial.history)),
                self._objective.text(self._objective.of(trial)),
                style="bold" if trial is best else "dim" if trial.state in ("stopped", "error") else "",
            )
        return table
