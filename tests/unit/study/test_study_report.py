"""The report: the same findings as Markdown, page and JSON, with what they hold for."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from liftray.sections import ClaimSettings
from liftray.statistics.paired import ChainCounts
from liftray.study import claims, findings, inference, study_report, tables
from liftray.study.claims import POOLED, VALIDATION, Evidence, ResolvedClaim

_SHIFTS = {"frozen": -4.0, "low": 0.0, "high": -0.1}


def _sample(shift: float, seed: int) -> ChainCounts:
    rng = np.random.default_rng(seed)
    hits_JN = 60 + shift + rng.normal(0, 8, 30) + rng.normal(0, 0.3, (3, 30))
    return ChainCounts(tuple(f"c{at}" for at in range(30)), hits_JN, np.full(30, 100.0))


@pytest.fixture(scope="module")
def result() -> dict[str, Any]:
    sets = {
        name: {arm: {"q3": _sample(shift, seed)} for arm, shift in _SHIFTS.items()}
        for seed, name in enumerate((VALIDATION, "T|1", POOLED))
    }
    evidence = Evidence(sets, "q3", resamples=500)
    better = ClaimSettings(
        says="It is better.", kind="better", arms=["low", "high"], than=["frozen"], note="A note."
    )
    sweep = ClaimSettings(
        says="Fewer blocks suffice.", kind="sweep", arms=["low", "high", "frozen"], margin=0.01
    )
    return {
        "scores": ["q3"],
        "seeds": [0, 1, 2],
        "choose": {"train.lr": [0.01, 0.02]},
        "ss3_map": "dssp",
        "sets": {
            VALIDATION: {"chains": 30, "residues": 3000, "scores": ["q3"]},
            "T|1": {"chains": 30, "residues": 3000, "scores": ["q3"], "leaky": True, "leaked_share": 0.17},
            POOLED: {"chains": 30, "residues": 3000, "scores": ["q3"]},
        },
        "groups": {"methods": ["frozen", "low"], "cuts": ["low", "high"]},
        "arms": {arm: {**_ARM, "scores": findings.scores_of(sets, arm, 500)} for arm in _SHIFTS},
        "baselines": {"majority class": findings.scores_of(sets, "frozen", 500)},
        "claims": claims.answer(
            {
                "a claim": ResolvedClaim(better, ["low", "high"], ["frozen"]),
                "the cut": ResolvedClaim(sweep, ["low", "high", "frozen"], []),
            },
            evidence,
        ),
        "incomplete": {"lost": ["out of <memory>"]},
    }


_ARM: dict[str, Any] = {
    "text": "bottleneck of width 4",
    "chosen": {"train.lr": 0.02},
    "tries": [
        {"values": {"train.lr": 0.01}, "validation": 0.5},
        {"values": {"train.lr": 0.02}, "validation": 0.6},
    ],
    "parameters": {"trained": 1234, "in_backbone": 1000, "share_of_backbone": 0.05},
    "runs": [{"best_epoch": 3, "epochs": 5}, {"best_epoch": 4, "epochs": 6}],
    "seconds_per_epoch": 1.5,
    "train_seconds": 7.0,
    "seconds": 12.0,
    "peak_memory_gb": None,
    "cached": True,
}
_FACTS = {
    "study": "tiny",
    "date": "2026-01-02T03:04:05+00:00",
    "command": "liftray study --config c.yaml",
    "data": {"train": {"t": {"digest": "sha256:ab", "chains": 1200, "residues": 3}}},
    "hardware": {"cpu": "<fast>", "gpu": None},
    "config": "task: ss3\n",
}


def test_a_score_has_its_interval_and_the_spread_of_its_seeds(result: dict[str, Any]) -> None:
    first, *_ = tables.of_scores(result)
    assert first.header == ["arm", "validation (30)", "T|1 † (30)", "all test sets (30)"]
    sample = _sample(_SHIFTS["low"], 0)
    low, high = inference.intervals({"q3": sample}, resamples=500)["q3"] or (0, 0)
    cell = dict((row[0], row[1]) for row in first.rows)["low"]
    spread = np.std(sample.by_seed, ddof=1)
    assert cell == f"{100 * sample.score:.2f} ({100 * low:.2f} to {100 * high:.2f}) ±{100 * spread:.2f}"


def test_markdown_page_and_json_hold_the_same(result: dict[str, Any], tmp_path: Path) -> None:
    paths = study_report.write(result, _FACTS, tmp_path / "new", "2026-tiny")
    assert {Path(path).name for path in paths.values()} == {
        *(f"2026-tiny.{ending}" for ending in ("md", "html", "json")),
        *(f"2026-tiny-{name}.png" for name in ("forest", "size", "the-cut")),
    }
    assert all(Path(path).parent == tmp_path / "new" for path in paths.values())
    text, page = Path(paths["markdown"]).read_text(), Path(paths["html"]).read_text()
    kept = json.loads(Path(paths["json"]).read_text())
    assert kept["claims"]["the cut"]["deepest"] == "high"
    assert kept["command"] == _FACTS["command"]
    assert "1. **It is better.** holds. On all test sets, by Q3: low, the best of 2 on validation," in text
    assert "A note." in text
    for name in (
        "command: liftray study --config c.yaml",
        "data: train, t: 1,200 chains, 3 residues, sha256:ab",
    ):
        assert name in text
        assert name.partition(": liftray")[0].split(",")[0] in page
    for plot in ("forest", "size", "the-cut"):
        assert f"](2026-tiny-{plot}.png)" in text
    cell = tables.of_scores(result)[0].rows[0][1]
    assert cell in text
    assert cell in page
    assert "Leaky, and no part of “all test sets”: T|1." in text
    assert "Chains that are in the training set, or have a near-duplicate there: T|1 17.0 %." in text
    # In Markdown a bar would end the cell; in the page nothing from outside is markup, and nothing is fetched.
    assert "T\\|1 †" in text
    assert "lost: out of &lt;memory&gt;" in page
    assert "<memory>" not in page
    assert not re.search(r"(?:src|href)=\"(?!data:)|<script|https?://", page)


def test_tables_of_one_header_have_rows_of_its_length(result: dict[str, Any]) -> None:
    every = study_report.all_tables(result)
    assert len(every) >= 9
    assert all(len(row) == len(table.header) for table in every for row in table.rows)
    tried = tables.of_tries(result)
    assert tried is not None
    assert tried.rows[0] == ["frozen", "0.01: 50.00", "0.02: 60.00", "0.02"]
    assert tables.of_tries({**result, "choose": {}}) is None


def test_a_claim_without_an_answer_is_marked(result: dict[str, Any]) -> None:
    gone = {
        "says": "S.",
        "kind": "better",
        "verdict": "not answered",
        "sentence": "Not answered: x did not finish.",
    }
    assert study_report.answers({"claims": {"c": gone}}) == [
        ("S.", "not answered", "Not answered: x did not finish.")
    ]
    assert tables.of_claim("c", gone) == []


def test_the_caveats_name_what_an_arm_could_still_gain(result: dict[str, Any], tmp_path: Path) -> None:
    inside = {
        "chosen": {"train.lr": 0.02},
        "tries": [{"values": {"train.lr": rate}, "validation": 0.5} for rate in (0.01, 0.02, 0.03)],
    }
    unended = {"runs": [{"best_epoch": 2, "epochs": 2}, {"best_epoch": 3, "epochs": 3}]}
    arms = result["arms"]
    changed = {**arms, "frozen": {**arms["frozen"], **inside}, "low": {**arms["low"], **inside, **unended}}
    path = study_report.write({**result, "arms": changed}, _FACTS, tmp_path, "r")["markdown"]
    text = Path(path).read_text(encoding="utf-8")
    assert "In every run of low the last epoch was the best" in text
    assert "- high chose the smallest or largest value tried" in text
