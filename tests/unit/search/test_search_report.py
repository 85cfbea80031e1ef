"""The report: tables, plot and page claim what was shown, and no more."""

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liftray.search import picture
from liftray.search.evidence import ComparedScore
from liftray.search.ledger import Ledger, Trial
from liftray.search.objectives import OBJECTIVES
from liftray.search.search_report import csv_table, html, page_rows, sentences
from liftray.search.trial_rows import TrialRow, gather
from tests.parts import tiny
from tests.parts.trials import trial


def _row(
    number: int, blocks: int, width: int | None, compared: ComparedScore | None, size: int, front: bool = True
) -> TrialRow:
    state: Any = "finished" if compared else "stopped"
    score = compared.score if compared else 0.4
    return TrialRow(trial(number, [score], size, state), front, "bottleneck", blocks, 6, width, compared)


def _without_width(number: int, kind: str, compared: ComparedScore | None) -> TrialRow:
    return replace(_row(number, 2, None, compared, 50), kind=kind)


def _compared(score: float, difference: float, low: float, high: float) -> ComparedScore:
    return ComparedScore(score, (score - 0.02, score + 0.02), difference, (low, high), 40)


_BEST = _row(1, 6, 64, _compared(0.76, 0.0, 0.0, 0.0), 90_000)
_CLOSE = _row(2, 3, 16, _compared(0.758, -0.002, -0.004, 0.001), 9_000)
_OPEN = _row(3, 1, 8, _compared(0.75, -0.01, -0.03, 0.005), 900)
_WORSE = _row(4, 1, 4, _compared(0.7, -0.06, -0.08, -0.03), 500)
_STOPPED = _row(5, 1, 4, None, 450, front=False)


def test_the_answer_names_the_smallest_that_is_shown_to_suffice() -> None:
    answer = sentences([_BEST, _CLOSE, _OPEN, _WORSE, _STOPPED], _BEST.trial, OBJECTIVES["q3"], 0.005)
    assert answer == [
        "The best is trial 1 (bottleneck of width 64 in the top 6 of 6 blocks): validation Q3 76.00 (74.00 to 78.00) "
        "on 40 chains, with 90,000 trained parameters.",
        *(
            f"{what} shown to lose at most 0.5 points of Q3: trial 2 (bottleneck of width 16 in the top 3 of 6 "
            "blocks), −0.20 (−0.40 to +0.10)."
            for what in ("Fewest trained blocks", "Narrowest adapter", "Fewest trained parameters")
        ),
        "Smaller still and not shown to be worse, nor shown to be as good: trial 3 (bottleneck of width 8 in the top 1 "
        "of 6 blocks), −1.00 (−3.00 to +0.50).",
        "1 of 3 other finished trials are shown to be worse than the best.",
        "These answers hold for the 4 of 5 trials that finished; how good the others would have become is not known.",
    ]


def test_nothing_is_claimed_where_nothing_was_shown() -> None:
    answer = sentences([_BEST, _WORSE], _BEST.trial, OBJECTIVES["q3"], 0.005)
    assert [line.rpartition(": ")[2] for line in answer[1:4]] == ["the best itself."] * 3
    assert sentences([_BEST, _STOPPED], _BEST.trial, OBJECTIVES["q3"], 0.005)[1].startswith(
        "No other trial finished"
    )


@given(
    widths=st.lists(st.none() | st.integers(1, 64), min_size=1, max_size=6),
    differences=st.lists(st.sampled_from([0.0, -0.002, -0.2]), min_size=6, max_size=6),
)
def test_the_narrowest_adapter_is_one_that_has_a_width(
    widths: list[int | None], differences: list[float]
) -> None:
    trials = [
        _row(number, 2, width, _compared(0.7 + lost, lost, lost - 0.001, lost + 0.001), 50)
        if width is not None
        else _without_width(number, "ia3", _compared(0.7 + lost, lost, lost - 0.001, lost + 0.001))
        for number, (width, lost) in enumerate(zip(widths, [0.0, *differences], strict=False), start=1)
    ]
    lines = sentences(trials, trials[0].trial, OBJECTIVES["q3"], 0.005)
    (*narrowest,) = (line for line in lines if line.startswith("Narrowest adapter"))
    enough = [one.width for one in trials if one.compared and one.compared.suffices(0.005)]
    widest = [width for width in enough if width is not None]
    assert len(narrowest) == (len(trials) > 1 and bool(widest))
    for line in narrowest:
        assert "ia3" not in line
        if widths[0] is None:
            assert f"of width {min(widest)} " in line


@pytest.mark.parametrize(
    ("chosen", "width"),
    [
        ({"adapter.kind": "ia3"}, None),
        ({"adapter.kind": "prefix_tuning"}, None),
        ({"method": "full"}, None),
        ({"adapter.kind": "lora", "adapter.reduction_factor": 5}, tiny.WIDTH // 5),
        # 32 / 5 is 6, of which a compacter of dimension 4 builds 4.
        ({"adapter.kind": "compacter", "adapter.reduction_factor": 5}, 4),
        ({"adapter.kind": "compacter", "adapter.reduction_factor": 64}, 4),
    ],
)
def test_the_table_names_the_width_that_was_built(
    tmp_path: Path, chosen: dict[str, Any], width: int | None
) -> None:
    dataset = tiny.dataset(tmp_path / "data", tiny.chains([30, 20]))
    settings = tiny.settings(
        backbone__source=[tiny.write_backbone(tmp_path / "esm")],
        data__train={"t": dataset},
        data__valid={"v": dataset},
        search__space={key: [value] for key, value in chosen.items()},
    )
    ledger = Ledger(tmp_path / "search")
    best = ledger.write(Trial(1, chosen, "d", "finished"))
    (row,) = gather(ledger, settings, best)
    assert row.width == width
    header, (cells,) = page_rows([row], ["q3"])
    assert cells[header.index("width")] == ("–" if width is None else str(width))


def test_the_table_has_finished_trials_first_and_no_interval_for_the_others() -> None:
    header, rows = page_rows([_STOPPED, _CLOSE, _BEST], ["q3", "parameters"])
    place = {title: at for at, title in enumerate(header)}
    assert [row[0] for row in rows] == ["1", "2", "5"]
    assert [row[place["difference to the best"]] for row in rows] == [
        "the best",
        "−0.20 (−0.40 to +0.10)",
        "–",
    ]
    assert [row[place["blocks"]] for row in rows] == ["6/6", "3/6", "1/6"]
    assert rows[2][place["validation Q3 (%)"]] == "40.00"
    assert all(len(row) == len(header) for row in rows)


@pytest.mark.parametrize("shown", [[_BEST], [_BEST, _CLOSE, _STOPPED], [_BEST, _row(9, 0, None, None, 10)]])
def test_the_plot_is_drawn_of_any_search(tmp_path: Path, shown: list[TrialRow]) -> None:
    picture.draw(tmp_path / "pareto.png", shown, OBJECTIVES["q3"], 1)
    assert (tmp_path / "pareto.png").read_bytes()[:4] == b"\x89PNG"


def test_the_page_escapes_and_needs_no_other_file(tmp_path: Path) -> None:
    picture.draw(tmp_path / "pareto.png", [_BEST], OBJECTIVES["q3"], 1)
    facts = {"training data": "<b>mine</b>"}
    page = html(tmp_path / "pareto.png", ["a & b"], facts, page_rows([_BEST], ["q3"]), 1)
    assert "&lt;b&gt;mine" in page
    assert "a &amp; b" in page
    assert "http" not in page
    assert '<tr class="best">' in page


def test_the_csv_holds_fractions_and_all_trials() -> None:
    lines = list(csv.DictReader(csv_table([_BEST, _CLOSE, _STOPPED], ["train.seed"]).splitlines()))
    assert [line["train.seed"] for line in lines] == ["1", "2", "5"]
    assert [line["pareto"] for line in lines] == ["yes", "yes", "no"]
    assert (float(lines[1]["q3"]), float(lines[1]["difference_ci95_low"])) == (0.758, -0.004)
    assert lines[2]["ci95_low"] == ""
