"""One pair of models on the same chains has one interval, in every report and at the gate."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from liftray.evaluate.chains import PredictedSet, ScoredChain
from liftray.evaluate.evaluation_report import per_protein
from liftray.evaluate.scoring import compare_sets, score_sets
from liftray.search.evidence import compare_to_best, read_counts
from liftray.study import findings, inference, outcomes
from liftray.track.promotion.evidence import ChainScores
from liftray.track.promotion.pairing import paired


def _predicted(skill: float, seed: int) -> PredictedSet:
    truth, noise = np.random.default_rng(0), np.random.default_rng(seed)
    chains = []
    for number in truth.permutation(30):
        states_L = truth.integers(3, size=int(truth.integers(20, 150)))
        scores_LC = noise.random((len(states_L), 3)) + skill * np.eye(3)[states_L]
        probabilities_LC = (scores_LC / scores_LC.sum(axis=1, keepdims=True)).astype(np.float32)
        chains.append(ScoredChain(f"chain{number}", "A" * len(states_L), states_L, probabilities_LC))
    return PredictedSet(chains, "ss3")


@pytest.fixture
def models() -> tuple[PredictedSet, PredictedSet]:
    return _predicted(0.52, 1), _predicted(0.5, 2)


def _written(table: pa.Table, file: Path, seed: int) -> Path:
    """The chains of a table in another order."""
    pq.write_table(table.take(np.random.default_rng(seed).permutation(table.num_rows)), file)
    return file


def _chain_scores(file: Path) -> ChainScores:
    rows = pq.read_table(file, columns=["id", "labelled", "q3"]).to_pylist()
    return ChainScores(
        {row["id"]: row["labelled"] for row in rows},
        {row["id"]: round(row["q3"] * row["labelled"]) for row in rows},
    )


def test_one_pair_has_one_interval(models: tuple[PredictedSet, PredictedSet], tmp_path: Path) -> None:
    ours, theirs = models
    files = {
        caller: [
            _written(
                per_protein(model), tmp_path / f"{caller}{at}.parquet", seed + (at if caller == "gate" else 0)
            )
            for at, model in enumerate(models)
        ]
        for seed, caller in enumerate(("search", "study", "gate"))
    }

    evaluated = compare_sets({"valid": ours}, {"valid": theirs}, resamples=2000)["valid"]["q3"]
    counts = {at: read_counts(file, "q3", "dssp") for at, file in enumerate(files["search"])}
    searched = compare_to_best(counts, best=1)
    one, other = (outcomes.read([file])["q3"] for file in files["study"])
    studied = inference.compare(one, other)
    gated = paired(*(_chain_scores(file) for file in files["gate"]))

    assert gated is not None
    assert evaluated["difference"] == pytest.approx(gated["difference"])
    assert 0 < abs(evaluated["difference"]) < 0.05
    assert evaluated["ci95"] == gated["ci95"]
    assert tuple(evaluated["ci95"]) == searched[0].difference_ci95 == studied.ci95
    assert evaluated["p"] == studied.p

    scored = score_sets({"valid": ours}, resamples=2000)["valid"]["q3_ci95"]
    in_study = findings.scores_of({"valid": {"ours": {"q3": one}}}, "ours", 2000)["valid"]["q3_ci95"]
    assert tuple(scored) == searched[0].ci95 == tuple(in_study)
