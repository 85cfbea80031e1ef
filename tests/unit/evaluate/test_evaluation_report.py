import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from liftray.data.labels import IGNORE_INDEX
from liftray.evaluate.chains import PredictedSet, ScoredChain
from liftray.evaluate.evaluation_report import (
    paired_lines,
    per_protein,
    render_markdown,
    render_table,
    write_metrics,
)
from liftray.evaluate.evaluation_report import rows as rows_of
from liftray.evaluate.scores import score_set

LEAKAGE = {
    "one|two": {"chains": 20, "identical": 3, "near": 1, "share": 0.2, "leaky": True, "ids": []},
    "clean": {"chains": 20, "identical": 0, "near": 0, "share": 0.0, "leaky": False, "ids": []},
}


OVERLAP = ["sov99", "sov_refine", "nll"]


@pytest.fixture(scope="module")
def scores(random_set):
    metrics = {"one|two": score_set(random_set("ss9", 20)), "clean": score_set(random_set("ss9", 20, seed=1))}
    return metrics, {"majority": {"clean": score_set(random_set("ss9", 20, seed=1, skill=0.1))}}


def printed(table):
    console = Console(width=200)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def test_table_shows_scores_in_per_cent_with_intervals(scores):
    metrics, baselines = scores
    text = printed(render_table(metrics, baselines, LEAKAGE, model="[adapter]"))
    for key in ("q9", "q8", "q3_dssp", "q3_lift", "macro_f1", "sov99"):
        low, high = metrics["clean"][f"{key}_ci95"]
        assert f"{100 * metrics['clean'][key]:.2f} ±{50 * (high - low):.2f}" in text
    assert "[adapter]" in text  # no markup is read from names
    assert "majority" in text
    assert "Q3 (dssp)" in text
    assert "Q3 (lift)" in text


def test_only_leaky_sets_are_marked(scores):
    text = printed(render_table(*scores, LEAKAGE))
    assert "one|two †" in text
    assert "clean †" not in text
    assert "one|two 20.0 %" in text
    assert "†" not in printed(render_table(*scores))


def test_markdown_has_as_many_cells_in_each_row(scores):
    lines = render_markdown(*scores, LEAKAGE).splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) == 2 + 3
    assert len({row.replace("\\|", "").count("|") for row in rows}) == 1
    assert "**one\\|two †**" in rows[2]


@pytest.mark.parametrize(("task", "titles"), [("ss3", ["Q3 (lift)"]), ("ss8", ["Q8", "Q3 (lift)"])])
def test_poorer_tasks_have_fewer_columns_and_name_the_map(random_set, task, titles):
    header = render_markdown({"set": score_set(random_set(task, ss3_map="lift"))}).splitlines()[0]
    assert header.strip("| ").split(" | ")[2:] == [*titles, "macro-F1", "SOV'99", "chains", "residues"]


def test_a_single_chain_is_shown_without_an_interval(random_set):
    metrics = {"set": score_set(random_set("ss3", num_chains=1))}
    assert f"| **{100 * metrics['set']['q3']:.2f}** |" in render_markdown(metrics)


def test_metrics_json_holds_fractions_and_what_was_given(scores, tmp_path):
    metrics, baselines = scores
    write_metrics(tmp_path / "metrics.json", metrics, baselines=baselines, leakage=LEAKAGE)
    result = json.loads((tmp_path / "metrics.json").read_text())
    assert result == {"metrics": metrics, "baselines": baselines, "leakage": LEAKAGE}


def test_per_protein_has_one_row_a_chain(random_set, tmp_path):
    predicted = random_set("ss9", num_chains=5)
    blank = ScoredChain("blank", "AA", np.full(2, IGNORE_INDEX), np.full((2, 9), 1 / 9, np.float32))
    table = per_protein(PredictedSet([*predicted.chains, blank], "ss9"))
    pq.write_table(table, tmp_path / "per_protein.parquet")
    rows = pq.read_table(tmp_path / "per_protein.parquet").to_pylist()
    assert [row["id"] for row in rows] == [*(f"chain{n}" for n in range(5)), "blank"]
    assert list(rows[0]) == ["id", "length", "labelled", "q9", "q8", "q3", "q3_dssp", "q3_lift", *OVERLAP]
    assert rows[-1] == {"id": "blank", "length": 2, "labelled": 0} | dict.fromkeys(list(rows[0])[3:])
    for row, chain in zip(rows, predicted.chains, strict=False):
        mask = chain.true_L != IGNORE_INDEX
        assert (row["length"], row["labelled"]) == (len(chain.sequence), mask.sum())
        right = chain.probabilities_LC.argmax(axis=1)[mask] == chain.true_L[mask]
        assert row["q9"] == pytest.approx(right.mean())


def test_per_protein_pairs_another_model_by_chain(random_set):
    ours, theirs = random_set("ss9", num_chains=5), random_set("ss9", num_chains=5, skill=0.2)
    turned = PredictedSet(list(reversed(theirs.chains)), "ss9").mapped("ss3")
    rows = per_protein(ours, turned).to_pylist()
    alone = {row["id"]: row for row in per_protein(turned).to_pylist()}
    assert [name for name in rows[0] if name.endswith("_against")] == [
        f"{name}_against" for name in ("q3", *OVERLAP)
    ]
    for row in rows:
        for score in ("q3", *OVERLAP):
            assert row[f"{score}_against"] == alone[row["id"]][score]


def test_a_three_state_model_is_in_the_column_of_its_map(random_set):
    nine = {"set": score_set(random_set("ss9", 20))}
    others = {"other": {"set": score_set(random_set("ss9", 20, skill=0.2).mapped("ss3"))}}
    header, ((ours, other),) = rows_of(nine, others, {}, "model")
    cells = dict(zip(header, other, strict=True))
    assert cells["Q3 (dssp)"].startswith(f"{100 * others['other']['set']['q3']:.2f}")
    assert cells["Q9"] == cells["Q3 (lift)"] == "–"
    assert len(ours) == len(other)


def test_two_predictors_of_one_name_have_a_row_each(random_set):
    nine = {"set": score_set(random_set("ss9", 20))}
    _, (group,) = rows_of(nine, {"model": nine}, {}, "model")
    assert len(group) == 2


def test_paired_lines_show_points_and_p_of_the_main_scores() -> None:
    row = {"difference": 0.0123, "ci95": [0.001, 0.02], "p": 0.0123}
    (line,) = paired_lines({"CASP12": {"q3": row, "recall:H": row}}, "the other")
    assert line == "CASP12, difference to the other on the same chains: Q3 +1.23 (p 0.012)"


def test_paired_lines_of_several_sets_show_the_corrected_p() -> None:
    row = {"difference": 0.01, "ci95": None, "p": 0.02, "p_holm": 0.04}
    lines = paired_lines({"one": {"q3": row}, "two": {"q3": row}}, "other")
    assert lines[1] == "two, difference to other on the same chains: Q3 +1.00 (p 0.02, 0.04 over 2 sets)"
