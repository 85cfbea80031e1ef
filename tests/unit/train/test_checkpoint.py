"""A checkpoint is whole or refused, holds the trained parameters and their moments, and no pickle."""

import json
import struct
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from liftray import sealed
from liftray.adapt.tagger import Tagger
from liftray.errors import DataError
from liftray.train import checkpoint
from liftray.train.checkpoint import Checkpoint, Progress
from tests.parts import tiny

_NAMES = {"state.json", "weights.safetensors", "moments.safetensors", "best.safetensors"}


@pytest.fixture
def model() -> Tagger:
    return tiny.tagger(adapter__kind="lora", adapter__skip_layers=1, adapter__reduction_factor=8)


@pytest.fixture
def saved(model: Tagger, tmp_path: Path) -> tuple[Checkpoint, Path]:
    weights = {name: parameter.detach().clone() for name, parameter in model.trained().items()}
    moments = {
        f"{name}/{key}": torch.randn_like(tensor)
        for name, tensor in weights.items()
        for key in ("exp_avg", "exp_avg_sq")
    }
    progress = Progress(
        epoch=2, step=3, global_step=11, best_score=0.7, best_epoch=1, history=[{"epoch": 0, "valid/q3": 0.7}],
        step_losses=[1.0, 0.1 + 0.2], epoch_seconds=0.5, config_digest="abc",
    )  # fmt: skip
    made = Checkpoint(progress, weights, moments, {name: tensor + 1 for name, tensor in weights.items()})
    checkpoint.save(made, tmp_path)
    return made, tmp_path


def test_what_is_loaded_is_what_was_saved(saved: tuple[Checkpoint, Path]) -> None:
    made, directory = saved
    loaded = checkpoint.load(directory)
    assert loaded.progress == made.progress
    for name in ("weights", "moments", "best"):
        mine, theirs = getattr(made, name), getattr(loaded, name)
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[key], theirs[key]) for key in mine)


def test_it_holds_four_bytes_a_trained_number_and_nothing_of_the_backbone(
    saved: tuple[Checkpoint, Path], model: Tagger
) -> None:
    directory = saved[1]
    assert {path.name for path in directory.iterdir()} == _NAMES
    count = model.count()
    for name, times in {"weights": 1, "moments": 2, "best": 1}.items():
        content = (directory / f"{name}.safetensors").read_bytes()
        header = struct.unpack("<Q", content[:8])[0]
        assert len(content) == 8 + header + 4 * times * count["trained"]
        described = json.loads(content[8 : 8 + header])
        kept = {key.partition("/")[0] for key in described if key != "__metadata__"}
        assert kept == set(model.trained())
        assert not kept & set(model.frozen())


def test_an_average_is_stored_with_them_only_where_there_is_one(
    saved: tuple[Checkpoint, Path], tmp_path: Path
) -> None:
    assert checkpoint.load(saved[1]).average == {}
    average = {name: tensor - 1 for name, tensor in saved[0].weights.items()}
    checkpoint.commit(replace(saved[0], average=average), tmp_path / "store", keep=1)
    directory = next((tmp_path / "store").iterdir())
    assert {path.name for path in directory.iterdir()} == _NAMES | {"average.safetensors"}
    loaded = checkpoint.load(directory).average
    assert loaded.keys() == average.keys()
    assert all(torch.equal(loaded[name], average[name]) for name in average)
    for change in (b"", None):
        path = directory / "average.safetensors"
        path.unlink()
        if change is not None:
            path.write_bytes(change)
        with pytest.raises(DataError, match="damaged checkpoint"):
            checkpoint.load(directory)


@pytest.mark.parametrize("name", sorted(_NAMES - {"state.json"}))
@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "empty"])
def test_a_damaged_file_is_refused(saved: tuple[Checkpoint, Path], name: str, damage: str) -> None:
    path = saved[1] / name
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[-1] ^= 1
    path.unlink()
    if damage != "remove":
        path.write_bytes({"flip": content, "truncate": content[:-4], "empty": b""}[damage])
    with pytest.raises(DataError, match="damaged checkpoint") as caught:
        checkpoint.load(saved[1])
    assert "train.resume=false" in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"progress": {}}',
        '{"sha256": {}}',
        "\x00\x01",
        '{"progress": {"epok": 1}, "sha256": {}}',
    ],
)
def test_an_unreadable_state_is_refused(saved: tuple[Checkpoint, Path], text: str) -> None:
    (saved[1] / "state.json").write_text(text)
    with pytest.raises(DataError, match="damaged checkpoint"):
        checkpoint.load(saved[1])


def test_a_state_that_vouches_for_less_than_all_files_is_refused(saved: tuple[Checkpoint, Path]) -> None:
    state = json.loads((saved[1] / "state.json").read_text())
    del state["sha256"]["best.safetensors"]
    sealed.write_json(saved[1] / "state.json", state)
    with pytest.raises(DataError, match="damaged checkpoint"):
        checkpoint.load(saved[1])


def test_a_missing_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="damaged checkpoint"):
        checkpoint.load(tmp_path / "absent")


def test_a_store_keeps_the_newest_and_sweeps_what_a_killed_writer_left(
    saved: tuple[Checkpoint, Path], tmp_path: Path
) -> None:
    store = tmp_path / "store"
    assert checkpoint.newest(store) is None
    (store / ".step-00000001.new.abc").mkdir(parents=True)
    for step in (2, 9, 10):
        checkpoint.commit(_at(saved[0], step), store, keep=2)
    assert sorted(path.name for path in store.iterdir()) == ["step-00000009", "step-00000010"]
    assert _newest_step(store) == 10
    assert checkpoint.at_step(store, 9).progress.global_step == 9


def test_a_damaged_checkpoint_is_passed_over_and_nothing_but_damage_is_refused(
    saved: tuple[Checkpoint, Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = tmp_path / "store"
    for step in (1, 2):
        checkpoint.commit(_at(saved[0], step), store, keep=2)
    (store / "step-00000002" / "best.safetensors").unlink()
    assert _newest_step(store) == 1
    assert "step-00000002" in caplog.text
    state = store / "step-00000001" / "state.json"
    state.write_text(state.read_text()[:20])
    with pytest.raises(DataError, match="damaged checkpoint"):
        checkpoint.newest(store)


def _at(made: Checkpoint, step: int) -> Checkpoint:
    return replace(made, progress=replace(made.progress, global_step=step))


def _newest_step(store: Path) -> int:
    found = checkpoint.newest(store)
    assert found is not None
    return found.progress.global_step
