"""The findings of a study, gathered from a ledger with the chains that each run predicted."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from liftray import files
from liftray.backbone.sources import resolve
from liftray.search.ledger import Ledger, Trial
from liftray.search.trial import CHAINS
from liftray.study import baselines, findings, held_out, plan, study_report
from liftray.study.findings import FinishedStudy
from tests.parts import tiny
from tests.parts.trials import history

_CHAINS = [40 + at for at in range(12)]
_SHARES = {"features": 0.6, "adapter": 0.8}


def _write_chains(file: Path, share: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    size_N = np.array(_CHAINS)
    columns = {
        "id": [f"c{at}" for at in range(len(_CHAINS))],
        "labelled": pa.array(size_N, pa.int32()),
        "q3": pa.array(rng.binomial(size_N, share) / size_N),
        "sov99": pa.array(rng.uniform(0.4, 0.6, len(_CHAINS))),
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), file)


@pytest.fixture
def study(tmp_path: Path) -> FinishedStudy:
    members = tiny.chains(_CHAINS)
    dataset = tiny.dataset(tmp_path / "data", members)
    source = tiny.write_backbone(tmp_path / "esm")
    settings = tiny.settings(
        backbone__source=[source],
        data__train={"t": dataset},
        data__valid={"v": dataset},
        data__test={"clean": dataset, "leaky": dataset},
        evaluate__resamples=200,
        study__arms={"frozen": {"method": "features"}, "adapted": {}, "lost": {"train.lr": 0.5}},
        study__seeds=[3, 5],
        study__claims={
            "better": {"says": "It is better.", "kind": "better", "arms": ["adapted"], "than": ["frozen"]},
            "open": {"says": "It is open.", "kind": "better", "arms": ["lost"], "than": ["frozen"]},
        },
    )
    planned = plan.make(settings, resolve([source]))
    ledger = Ledger(tmp_path / "study")
    chosen: dict[str, dict[str, Any]] = {"frozen": {}, "adapted": {}}
    for arm in planned.arms:
        for number, run in enumerate(planned.runs(arm, {**chosen, "lost": {}}), start=1):
            state: Any = "error" if arm.name == "lost" else "finished"
            metrics = {"valid/q3": 0.5, "epoch": 2.0, "seconds_per_epoch": 1.0, "peak_memory_gb": 0.5}
            trial = ledger.write(
                Trial(number, run, "d", state, "out of memory", metrics, history([0.4, 0.5]), seconds=3.0)
            )
            directory = ledger.directory(trial)
            share = _SHARES[run.get("method", "adapter")]
            for seed, file in enumerate(
                (directory / CHAINS, *(held_out.file_of(directory, name) for name in settings.data.test))
            ):
                _write_chains(file, share, 10 * number + seed)
            counts = {"trained": 120, "head": 20, "adapter": 100, "backbone": 5000}
            files.write_json(directory / held_out.PARAMETERS, counts)
    for split, names in (("valid", ["v"]), ("test", list(settings.data.test))):
        for name in names:
            _write_chains(baselines.file_of(ledger.out, "majority", split, name), 0.4, 99)
    leakage: Any = {name: {"leaky": name == "leaky", "share": 0.5} for name in settings.data.test}
    return FinishedStudy(planned, settings, ledger, chosen, ["majority"], leakage)


def test_findings_have_every_arm_set_and_claim(study: FinishedStudy) -> None:
    gathered = findings.gather(study)
    assert list(gathered["sets"]) == ["validation", "clean", "leaky", "all test sets"]
    assert gathered["sets"]["leaky"]["leaky"]
    assert gathered["sets"]["all test sets"]["chains"] == len(_CHAINS)
    assert set(gathered["arms"]) == {"frozen", "adapted"}
    assert set(gathered["baselines"]) == {"majority class"}
    scores = gathered["arms"]["adapted"]["scores"]["clean"]
    assert len(scores["q3_by_seed"]) == 2
    assert scores["q3"] == pytest.approx(np.mean(scores["q3_by_seed"]))
    assert scores["q3_ci95"][0] < scores["q3"] < scores["q3_ci95"][1]
    assert gathered["arms"]["adapted"]["parameters"]["in_backbone"] == 100
    assert gathered["incomplete"] == {"lost": ["out of memory"]}
    assert gathered["claims"]["open"]["verdict"] == "not answered"
    better = gathered["claims"]["better"]
    assert (better["verdict"], better["decided_on"]) == ("holds", "all test sets")
    assert better["decisive"][0]["difference"] == pytest.approx(
        gathered["arms"]["adapted"]["scores"]["all test sets"]["q3"]
        - gathered["arms"]["frozen"]["scores"]["all test sets"]["q3"]
    )


def test_the_report_of_the_findings_is_written(study: FinishedStudy, tmp_path: Path) -> None:
    facts = {
        "study": "small",
        "date": "2026-01-02T03:04:05+00:00",
        "data": findings.digests(study.settings.data),
        "config": "task: ss3\n",
    }
    paths = study_report.write(findings.gather(study), facts, tmp_path / "report", "report")
    for name in ("markdown", "html"):
        text = Path(paths[name]).read_text()
        assert "majority class" in text
        assert "SOV" in text
        assert "(mean of chains)" in text
        assert "lost: out of memory" in text
