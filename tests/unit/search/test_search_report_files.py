"""The files of a search's report, from a ledger with the chains that each trial predicted."""

import csv
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from liftray.search import search_report
from liftray.search.evidence import compare_to_best, read_counts
from liftray.search.ledger import Ledger, Trial
from liftray.search.trial import CHAINS
from tests.parts import tiny
from tests.parts.trials import history

_SHARES = {1: 0.75, 2: 0.7}


def _finished(ledger: Ledger, number: int) -> Trial:
    """A trial that finished, with its predicted chains."""
    share = _SHARES[number]
    config = {"adapter.reduction_factor": 8 * number}
    metrics = {"valid/q3": share, "train/parameters": 1000.0 / number, "seconds_per_epoch": 2.0}
    trial = ledger.write(
        Trial(number, config, "d", "finished", "all 2 epochs", metrics, history([0.5, share]), start_s=1.5)
    )
    rng = np.random.default_rng(number)
    order = rng.permutation(20)
    size_N = 50 + order
    columns = {
        "id": [f"v/{at}" for at in order],
        "labelled": pa.array(size_N, pa.int32()),
        "q3": pa.array(rng.binomial(size_N, share) / size_N),
    }
    pq.write_table(pa.table(columns), ledger.directory(trial) / CHAINS)
    return trial


def test_all_files_hold_the_same_trials(tmp_path: Path) -> None:
    dataset = tiny.dataset(tmp_path / "data", tiny.chains([30, 20]))
    settings = tiny.settings(
        backbone__source=[tiny.write_backbone(tmp_path / "esm")],
        data__train={"t": dataset},
        data__valid={"v": dataset},
        search__space={"adapter.reduction_factor": [8, 16]},
    )
    ledger = Ledger(tmp_path / "search")
    best, other = _finished(ledger, 1), _finished(ledger, 2)
    summary = {"seconds": 60.0, "cost": 0.0, "best": {"model_uri": "models:/a/1"}}
    written = search_report.write(ledger, settings, best, summary)

    assert [path.name for path in written] == ["trials.csv", "pareto.png", "report.md", "report.html"]
    counts = {one.number: read_counts(ledger.directory(one) / CHAINS, "q3", "dssp") for one in (best, other)}
    compared = compare_to_best(counts, best.number)[other.number]
    assert compared.ci95 is not None
    rows = list(csv.DictReader((tmp_path / "search" / "trials.csv").read_text().splitlines()))
    assert [float(row["ci95_low"]) for row in rows if row["trial"] == "2"] == [compared.ci95[0]]
    text, page = ((tmp_path / "search" / name).read_text() for name in ("report.md", "report.html"))
    shown = f"{100 * compared.score:.2f} ({100 * compared.ci95[0]:.2f} to {100 * compared.ci95[1]:.2f})"
    for report in (text, page):
        assert shown in report
        assert "1.5 s to its first step (median)" in report
        assert all(
            sentence.replace("'", "&#39;") in report or sentence in report for sentence in summary["answer"]
        )
    assert summary["answer"][0].startswith("The best is trial 1 (bottleneck of width 4 in the top ")
