"""Each suite runs in small and reports what it should; the job refuses a suite that is not there."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from liftray.bench import suites
from liftray.bench.suites import SUITES, ingest, models, predict
from liftray.bench.suites.chains import RESIDUES, chains
from liftray.data.dataset import DATASET_FILE
from liftray.data.ingest import ingest as checked
from liftray.data.labels import STATES
from liftray.errors import ConfigError
from liftray.predict.predictor import Predictor

ROOT = Path(__file__).resolve().parents[3]
TINY: dict[str, dict[str, Any]] = {
    "step": {"micro_batches": 2, "tokens_per_batch": 128, "longest": 40, "width": 40, "repeats": 2},
    "predict": {"chains": 20, "longest": 60, "width": 40, "repeats": 2},
    "ingest": {"few": 20, "many": 60, "longest": 60, "repeats": 1},
}
NAMES = {
    "step": ["lora_all_blocks", "bottleneck_skip_0", "bottleneck_skip_2", "bottleneck_skip_4"],
    "predict": ["plain_loop", "predictor"],
    "ingest": [
        "unchecked",
        "ingest",
        "ingest_bytes",
        "peak_memory_20",
        "peak_memory_60",
        "peak_memory_growth",
    ],
}


def job(*arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, str(ROOT / "jobs" / "bench.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path})


@pytest.mark.parametrize("suite", SUITES)
def test_a_suite_in_small(suite: str) -> None:
    content = suites.run(suite, TINY[suite])

    assert json.loads(json.dumps(content, allow_nan=False)) == content
    assert content["suite"] == suite
    assert {**content["config"], **TINY[suite]} == content["config"]
    rows = {each["name"]: each for each in content["rows"]}
    assert list(rows) == NAMES[suite]
    assert all(each["value"] > 0 for name, each in rows.items() if name != "peak_memory_growth")
    for each in rows.values():
        if each["against"]:
            assert each["ratio"] == pytest.approx(each["value"] / rows[each["against"]]["value"])
            assert each["of_ceiling"] == pytest.approx(each["ratio"] / each["ceiling"])


def test_the_step_suite_sets_the_predicted_gain_beside_each_cut() -> None:
    content = suites.run("step", TINY["step"] | {"repeats": 1})

    ceilings = [each["ceiling"] for each in content["rows"]]
    assert ceilings == [None, pytest.approx(1.0), pytest.approx(1.2), pytest.approx(1.5)]
    trained = content["config"]["trained_parameters"]
    # Adapters of width 1 in 6, 4 and 2 blocks: what a block's adapter has (40 + 1 + 40 + 40), four blocks' worth apart.
    assert trained["bottleneck_skip_0"] - trained["bottleneck_skip_4"] == 4 * 121
    assert 40 < content["config"]["residues_per_pass"] <= 2 * 128


def test_predictor_and_plain_loop_predict_the_same() -> None:
    tagger = models.tagger(seed=0, width=40, skip_layers=4, max_length=80).eval()
    inputs = [(name, sequence) for name, sequence, _ in chains(20, 3, longest=80)]

    ours = list(Predictor(tagger, {}).predict(inputs))
    plain = predict.plain_loop(tagger, inputs)

    for one, (states, probabilities_LC) in zip(ours, plain, strict=True):
        assert one.states == states
        np.testing.assert_allclose(one.probabilities_LC, probabilities_LC, atol=1e-5)


def test_the_unchecked_reference_writes_what_ingest_writes(tmp_path: Path) -> None:
    source = tmp_path / "in.txt"
    source.write_text(
        "".join(f">{name}\n{sequence}\n{ss}\n" for name, sequence, ss in chains(1500, 1, longest=60))
    )

    ingest.unchecked(source, tmp_path / "reference")
    checked([source], tmp_path / "dataset")

    assert (tmp_path / "dataset" / DATASET_FILE).exists()
    wanted = pq.read_table(sorted((tmp_path / "dataset").glob("*.parquet")))
    assert pq.read_table(tmp_path / "reference").equals(wanted)


def test_chains_follow_from_the_seed_and_look_like_a_real_set() -> None:
    drawn = chains(4000, 7, longest=788)

    assert drawn == chains(4000, 7, longest=788) != chains(4000, 8, longest=788)
    lengths = np.array([len(sequence) for _, sequence, _ in drawn])
    assert [len(ss) for _, _, ss in drawn] == lengths.tolist()
    assert lengths.min() >= 50
    assert lengths.max() <= 788
    assert 185 < np.median(lengths) < 215
    assert {letter for _, sequence, _ in drawn for letter in sequence} == set(RESIDUES)
    assert {letter for _, _, ss in drawn for letter in ss} == set(STATES["ss9"])


def test_unknown_names_are_refused_with_the_valid_ones() -> None:
    with pytest.raises(ConfigError, match="did you mean step\\? the suites are step, predict, ingest"):
        suites.run("stpe")
    with pytest.raises(
        ConfigError, match="no size 'colour' of the suite step; its sizes are micro_batches, "
    ):
        suites.run("step", {"colour": 3})


def test_every_suite_has_its_module_and_stands_in_the_jobs_help() -> None:
    told = job("--help").stdout
    for name in SUITES:
        module = importlib.import_module(f"liftray.bench.suites.{name}")
        assert callable(module.run)
        assert name in told


def test_the_job_refuses_an_unknown_suite_in_one_line(tmp_path: Path) -> None:
    done = job("nonsense", "--out", str(tmp_path / "out"))

    assert done.returncode == 2
    assert done.stderr == "error: no suite 'nonsense'; the suites are step, predict, ingest\n"
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_job_writes_its_report_and_prints_the_table(tmp_path: Path) -> None:
    done = job("ingest", "--out", str(tmp_path))

    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.glob("ingest-*.json")
    rows = {each["name"]: each for each in json.loads(path.read_text())["rows"]}
    assert all(f"| {name} " in done.stdout for name in rows)
    assert str(path) in done.stdout
    # Peak memory: a few hundred bytes a record are kept to find duplicates, nothing else grows.
    assert rows["peak_memory_growth"]["value"] < 2000
