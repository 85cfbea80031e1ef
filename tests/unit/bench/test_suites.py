"""Each suite runs in small and reports what it should; the job refuses a suite that is not there."""

import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from liftray.bench import cache_laps, flops, ours_predict, suites
from liftray.bench.chains import RESIDUES, chains
from liftray.bench.suites import SUITES, ingest, memory, scale, train, tune
from liftray.bench.suites.cache import STORED
from liftray.bench.workload import Workload
from liftray.data.dataset import DATASET_FILE
from liftray.data.ingest import ingest as checked
from liftray.data.labels import STATES
from liftray.errors import ConfigError

ROOT = Path(__file__).resolve().parents[3]
MODEL: dict[str, Any] = {"shape": "tiny", "skip_layers": 1, "chains": 8, "longest": 40, "repeats": 2}
TINY: dict[str, dict[str, Any]] = {
    "train": MODEL,
    "cache": MODEL,
    "step": MODEL,
    "scale": MODEL,
    "predict": MODEL,
    "ingest": {"few": 20, "many": 60, "longest": 60, "repeats": 1},
    "tune": {**MODEL, "repeats": 1, "cuts": [1], "reduction_factors": [8]},
    "memory": {**MODEL, "repeats": 1},
}
CACHE_ROWS = (
    *("fill", "fill_bytes", "disk_write", "disk_read", "memory_copy", "write", "read_first", "read_later"),
)
MEMORY = ["uncached", "cached", "uncached_recomputing", "cached_recomputing"]
NAMES = {
    "train": [
        *("hf_peft", "paper", "ours_uncached", "ours_warm", "bare"),
        *("ours_warm_of_bare", "ours_warm_of_ours_uncached"),
    ],
    "cache": ["prefix_alone", *(f"{row}_{stored}" for stored in STORED for row in CACHE_ROWS)],
    "step": ["without_ray", "with_ray", "start_up", "data_wait"],
    "scale": ["workers_1", "workers_2", "apart_1", "apart_2", "workers_2_of_apart"],
    "predict": [
        *("pipeline", "predictor", "forward", "products"),
        *("predictor_of_forward", "predictor_of_products"),
    ],
    "ingest": [
        *("unchecked", "ingest", "ingest_bytes"),
        *("peak_memory_20", "peak_memory_60", "peak_memory_growth"),
    ],
    "tune": ["uncached", "cached", "start_worker_group", "start_in_process"],
    "memory": [*MEMORY, *(f"{name}_whole_process" for name in MEMORY), "libraries"],
}
SLOW = {"train", "step", "scale", "predict", "tune", "memory"}


def job(*arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, str(ROOT / "jobs" / "bench.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path})


@pytest.fixture(autouse=True)
def ray_folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A folder of their own for the clusters of these tests; its path is short, for Ray's sockets."""
    folder = tempfile.mkdtemp(prefix="lr")
    monkeypatch.setenv("RAY_TMPDIR", folder)
    yield
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize(
    "suite", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in SUITES]
)
def test_a_suite_in_small(suite: str) -> None:
    content = suites.run(suite, TINY[suite])

    assert json.loads(json.dumps(content, allow_nan=False)) == content
    assert content["suite"] == suite
    assert {**content["config"], **TINY[suite]} == content["config"]
    rows = {each["name"]: each for each in content["rows"]}
    assert list(rows) == NAMES[suite]
    assert all(
        each["value"] > 0 for name, each in rows.items() if name not in ("peak_memory_growth", "data_wait")
    )
    for each in rows.values():
        if each["against"]:
            assert each["ratio"] == pytest.approx(each["value"] / rows[each["against"]]["value"])
        if each["ceiling"]:
            assert each["of_ceiling"] == pytest.approx(each["ratio"] / each["ceiling"])


def test_the_ceilings_of_training_by_hand() -> None:
    # 6 blocks, cut 4: (a) costs 12 a padded token; uncached 4 + 2 + 1, entered at the adapter 1 + 1 a token.
    sizes = train.Sizes(chains=9)
    lengths = [len(each.tokens_L) for each in sizes.encoded()]
    padded, papers = flops.ceiling_packing(lengths, 8), flops.ceiling_packing(lengths, 4)

    assert train.predicted_ratios(sizes) == pytest.approx(
        {
            "hf_peft": 1.0,
            "paper": 12 * padded / (7 * papers),
            "ours_uncached": 12 * padded / 7,
            "ours_warm": 6 * padded,
            "bare": 6 * padded,
        }
    )
    # LoRA: 4 + 2 + 2, and 2 + 2.
    lora = train.predicted_ratios(train.Sizes(chains=9, kind="lora"))
    assert (lora["ours_uncached"], lora["ours_warm"]) == (
        pytest.approx(1.5 * padded),
        pytest.approx(3 * padded),
    )
    # Above the last block's adapter nothing is left to count.
    assert "ours_warm" not in train.predicted_ratios(train.Sizes(chains=9, skip_layers=5))


def test_training_has_the_contestants_that_can_run() -> None:
    def names(**sizes: Any) -> list[str]:
        return list(train.contestants(train.Sizes(**sizes)))

    assert names() == ["hf_peft", "paper", "ours_uncached", "ours_warm", "bare"]
    assert names(shape="prot_t5_xl") == ["paper", "ours_uncached", "ours_warm"]
    assert names(device="cuda") == ["hf_peft", "paper", "ours_uncached", "ours_warm"]
    entries = train.contestants(train.Sizes(kind="lora", precision="bfloat16"))["bare"].options
    assert (entries["entries"], entries["attentions"]) == (["cut"], ["products", "widened"])


def test_the_floor_of_memory_by_hand() -> None:
    # Blocks of 4 * 40 * 40 + 2 * 40 * 160 weights, 3 of them, above the cut's adapter 1; embedding 33 * 40.
    sizes = memory.Sizes(shape="tiny", skip_layers=1)
    assert memory.share_above(sizes) == pytest.approx(19200 / (3 * 19200 + 1320))


def test_every_way_to_store_a_number_is_measured_on_the_same_residues(tmp_path: Path) -> None:
    workload = Workload(**{**MODEL, "warmup": 0})
    done = cache_laps.measure(asdict(workload), 128, ["bfloat16", "int8"], str(tmp_path))

    distinct = {sequence for _, sequence, _ in workload.drawn()}
    assert done["residues"] == sum(map(len, distinct))
    # Two special tokens a chain, and the chain of one residue that an empty turn runs.
    tokens = done["residues"] + 2 * len(distinct) + 3
    assert done["bytes"] == {"bfloat16": 2 * 40 * tokens, "int8": (40 + 4) * tokens}
    assert {len(values) for values in done["seconds"].values()} == {2}
    assert list(tmp_path.iterdir()) == []


def test_the_predictor_and_the_model_alone_give_the_same_states() -> None:
    workload = Workload(**MODEL)

    ours, alone = ours_predict.predictor(workload), ours_predict.forward(workload, tokens_per_batch=64)

    assert ours.residues == alone.residues == sum(len(sequence) for _, sequence, _ in workload.drawn())
    assert ours.details["states"] == alone.details["states"]
    assert [len(states) for states in ours.details["states"]] == [len(ss) for _, _, ss in workload.drawn()]
    assert len(ours.seconds) == 2


def test_sizes_are_read_and_checked() -> None:
    assert suites.parse(["chains=12", "lr=0.01", "cuts=[1, 2]", "directory="]) == {
        **{"chains": 12, "lr": 0.01, "cuts": [1, 2]},
        "directory": "",
    }
    with pytest.raises(ConfigError, match="'chains' is not KEY=VALUE; write for example chains=100"):
        suites.parse(["chains"])
    with pytest.raises(ConfigError, match="chains=\\[1: not valid YAML"):
        suites.parse(["chains=[1"])
    with pytest.raises(ConfigError, match="the suite train: chains=many; Input should be a valid integer"):
        suites.run("train", {"chains": "many"})
    with pytest.raises(ConfigError, match="skip_layers=6 of 6 blocks"):
        suites.run("step", {"skip_layers": 6})
    with pytest.raises(ConfigError, match="name different counts of at least 1"):
        scale.Sizes(workers=[1, 1])
    assert tune.Sizes(warmup=1, repeats=2).epochs == 3


def test_the_unchecked_reference_writes_what_ingest_writes(tmp_path: Path) -> None:
    source = tmp_path / "in.txt"
    source.write_text(
        "".join(f">{name}\n{sequence}\n{ss}\n" for name, sequence, ss in chains(1500, 1, longest=60))
    )

    ingest.unchecked(str(source), str(tmp_path / "reference"))
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
    with pytest.raises(ConfigError, match="did you mean step\\? the suites are train, cache, step, "):
        suites.run("stpe")
    with pytest.raises(ConfigError, match="no size 'colour' of the suite step; its sizes are shape, "):
        suites.run("step", {"colour": 3})


def test_every_suite_has_its_module_and_stands_in_the_jobs_help() -> None:
    text = job("--help").stdout
    for name in SUITES:
        module = importlib.import_module(f"liftray.bench.suites.{name}")
        assert callable(module.run)
        assert f"  {name} " in text


def test_the_job_refuses_an_unknown_suite_in_one_line(tmp_path: Path) -> None:
    done = job("nonsense", "--out", str(tmp_path / "out"))

    assert done.returncode == 2
    assert done.stderr == f"error: no suite 'nonsense'; the suites are {', '.join(SUITES)}\n"
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_job_writes_its_report_and_prints_the_table(tmp_path: Path) -> None:
    done = job("ingest", "repeats=1", "--out", str(tmp_path))

    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.glob("ingest-*.json")
    rows = {each["name"]: each for each in json.loads(path.read_text())["rows"]}
    assert all(f"| {name} " in done.stdout for name in rows)
    assert str(path) in done.stdout
    # Peak memory: a few hundred bytes a record are kept to find duplicates, nothing else grows.
    assert rows["peak_memory_growth"]["value"] < 2000
