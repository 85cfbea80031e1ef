"""Every kind of file that a run reads back: a changed byte or a cut is found before anything of the file is used.

The files are made once, by the functions that write them in a run, without Ray. Those of the cache are damaged in
`tests/unit/cache/test_cache_damage.py`, the ledger's witness in `tests/unit/track/test_anchors.py`.
"""

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from liftray import sealed
from liftray.adapt import tagger as taggers
from liftray.adapt.tagger import TaggerSettings
from liftray.backbone import model as backbones
from liftray.backbone.sources import resolve
from liftray.data.dataset import ProteinDataset
from liftray.errors import LiftrayError
from liftray.predict import bundle
from liftray.search.evidence import read_counts
from liftray.search.ledger import Ledger
from liftray.study import held_out, outcomes
from liftray.train import checkpoint, resume, step_log
from liftray.train.checkpoint import Checkpoint, Progress
from liftray.train.prepare import PreparedRun, prepare_run
from tests.parts import tiny

_FLIPS, _CUTS = 200, 20
_URI = "sqlite:///mlflow.db"
_CHAINS = pa.table({"id": ["a", "b"], "labelled": [3, 4], "q3": [2 / 3, 0.5], "sov99": [0.5, 0.6]})


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedRun:
    root = tmp_path_factory.mktemp("damage")
    return prepare_run(
        tiny.settings(
            data__train={"t": tiny.dataset(root / "t", tiny.chains([30, 60]))},
            data__valid={"v": tiny.dataset(root / "v", tiny.chains([30], seed=1))},
            backbone__source=[tiny.write_backbone(root / "esm")],
            adapter__reduction_factor=8,
            adapter__skip_layers=1,
        )
    )


@pytest.fixture(scope="module")
def run(prepared: PreparedRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory with each kind of file that is read back."""
    run_dir, settings = tmp_path_factory.mktemp("run"), prepared.settings
    loaded = backbones.load(resolve(settings.backbone.source))
    model = taggers.build(loaded, TaggerSettings.of(settings), seed=0)
    bundle.save(model, run_dir / "bundle", settings.backbone.source, {"data": {"train": {"t": "d"}}})
    weights = {name: one.detach() for name, one in model.trained().items()}
    moments = {f"{name}/exp_avg": one for name, one in weights.items()}
    progress = Progress(epoch=1, global_step=2, step_losses=[0.5, 0.25], history=[{"train/loss": 0.5}])
    state = Checkpoint(progress, weights, moments, weights, average=weights)
    checkpoint.commit(state, run_dir / "checkpoints", keep=1)
    sealed.write_json(run_dir / resume.SUMMARY, {"bundle": str(run_dir / "bundle"), "model_uri": "m"})
    request = {"run_id": "1", "tracking_uri": _URI, "request": resume.request_digest(prepared)}
    sealed.write_json(run_dir / resume.RUN_FILE, request)
    step_log.write_losses(run_dir / "step_losses.parquet", [0.5, 0.25])
    sealed.write_table(run_dir / "validation.parquet", _CHAINS)
    sealed.write_table(run_dir / "held_out.parquet", _CHAINS)
    sealed.write_json(run_dir / held_out.PARAMETERS, model.count())
    Ledger(run_dir).begin({"train.lr": 0.1}, "digest", cached=False)
    return run_dir


def _set(prepared: PreparedRun, run: Path) -> Path:
    return Path(prepared.settings.data.train["t"])


def _run(prepared: PreparedRun, run: Path) -> Path:
    return run


Read = Callable[[Path, PreparedRun], Any]
_KINDS: dict[str, tuple[Callable[[PreparedRun, Path], Path], str, Read]] = {
    "data set's description": (_set, "dataset.json", lambda d, _: ProteinDataset.open(d)),
    "data set's rows": (_set, "*.parquet", lambda d, _: list(ProteinDataset.open(d).iter_records())),
    "bundle's description": (_run, "bundle/bundle.json", lambda d, _: bundle.read_info(d / "bundle")),
    "head": (_run, "bundle/head.safetensors", lambda d, _: bundle.load(d / "bundle")),
    "adapter": (_run, "bundle/adapter/adapter.safetensors", lambda d, _: bundle.load(d / "bundle")),
    "library's description": (
        _run, "bundle/adapter/adapter_config.json", lambda d, _: bundle.load(d / "bundle"),
    ),
    "library's interface": (
        _run, "bundle/adapter/adapter_interface.json", lambda d, _: bundle.load(d / "bundle"),
    ),
    "state": (_run, "checkpoints/*/state.json", lambda d, _: checkpoint.newest(d / "checkpoints")),
    "weights": (_run, "checkpoints/*/weights.safetensors", lambda d, _: checkpoint.newest(d / "checkpoints")),
    "moments": (_run, "checkpoints/*/moments.safetensors", lambda d, _: checkpoint.newest(d / "checkpoints")),
    "best": (_run, "checkpoints/*/best.safetensors", lambda d, _: checkpoint.newest(d / "checkpoints")),
    "average": (_run, "checkpoints/*/average.safetensors", lambda d, _: checkpoint.newest(d / "checkpoints")),
    "summary": (_run, "summary.json", lambda d, one: resume.finished_summary(one, d)),
    "request": (_run, "run.json", lambda d, one: resume.finished_summary(one, d)),
    "earlier run": (_run, "run.json", lambda d, one: resume.earlier_run(d, one.settings.train, _URI)),
    "losses": (_run, "step_losses.parquet", lambda d, _: step_log.read_losses(d / "step_losses.parquet")),
    "validation chains": (
        _run, "validation.parquet", lambda d, _: read_counts(d / "validation.parquet", "q3", "dssp"),
    ),
    "held-out chains": (_run, "held_out.parquet", lambda d, _: outcomes.read([d / "held_out.parquet"])),
    "parameters": (_run, "parameters.json", lambda d, _: sealed.read_json(d / "parameters.json")),
    "trial": (_run, "trials/*/trial.json", lambda d, _: Ledger(d)),
    "clock": (_run, "clock.json", lambda d, _: Ledger(d)),
}  # fmt: skip


@pytest.mark.parametrize("kind", _KINDS)
def test_200_changed_bytes_and_20_cuts_are_found(kind: str, prepared: PreparedRun, run: Path) -> None:
    place, pattern, read = _KINDS[kind]
    directory = place(prepared, run)
    [file] = directory.glob(pattern)
    raw, passed, refused = file.read_bytes(), [], []
    read(directory, prepared)
    try:
        for damage, content in _damaged(raw):
            file.write_bytes(content)
            try:
                read(directory, prepared)
                passed.append(damage)
            except LiftrayError as error:
                refused.append(error)
    finally:
        file.write_bytes(raw)
    assert passed == []
    assert {error.exit_code for error in refused} == {2}
    assert not any("\n" in str(error) for error in refused)


def test_every_file_of_the_run_is_among_the_kinds(run: Path, prepared: PreparedRun) -> None:
    known = {path for place, pattern, _ in _KINDS.values() for path in place(prepared, run).glob(pattern)}
    assert {path for path in run.rglob("*") if path.is_file()} <= known


def _damaged(raw: bytes) -> Iterator[tuple[str, bytes]]:
    draw = random.Random(len(raw))
    for _ in range(_FLIPS):
        at, by = draw.randrange(len(raw)), draw.randrange(1, 256)
        yield f"byte {at} by {by}", raw[:at] + bytes([raw[at] ^ by]) + raw[at + 1 :]
    for length in [0, len(raw) - 1, *(draw.randrange(len(raw)) for _ in range(_CUTS - 2))]:
        yield f"cut to {length}", raw[:length]
