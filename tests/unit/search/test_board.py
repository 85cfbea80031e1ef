"""What the person who watches a search sees."""

from dataclasses import replace

import pytest
from rich.console import Console

from liftray.search.board import Board
from liftray.search.objectives import OBJECTIVES
from tests.parts.trials import trial


def test_lines_report_how_trials_begin_and_end_and_which_leads(capsys: pytest.CaptureFixture[str]) -> None:
    board = Board(3, OBJECTIVES["q3"], lambda: 60.0)
    with board.shown():
        board.report(replace(trial(1, [], state="running", train__lr=0.001), reason="starts"))
        board.report(trial(1, [0.5, 0.7], train__lr=0.001))
        board.update(trial(2, [0.9], state="running"))
        board.report(replace(trial(2, [0.6], state="stopped"), reason="asha at epoch 1"))
    assert capsys.readouterr().err.splitlines() == [
        "tune: trial 1/3 starts: train.lr 0.001",
        "tune: trial 1/3 finished (all 2 epochs) in 1 s, validation Q3 (%) 70.00, the best so far: train.lr 0.001",
        "tune: trial 2/3 stopped (asha at epoch 1) in 1 s, validation Q3 (%) 60.00: train.seed 2",
    ]


def test_the_table_shows_trials_progress_and_the_best() -> None:
    board = Board(4, OBJECTIVES["q3"], lambda: 60.0)
    for one in (trial(1, [0.5, 0.7]), trial(2, [0.8, 0.6]), trial(3, [0.4], state="running")):
        board.update(one)
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(board.table())
    text = console.export_text()
    assert "2/4 trials ended, 60 s, about 60 s left; best: trial 2, 80.00" in " ".join(text.split())
    assert [line.split("│")[1].strip() for line in text.splitlines() if "seed" in line] == ["1", "2", "3"]
