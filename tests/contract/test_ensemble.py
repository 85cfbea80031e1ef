"""Merged bundles predict the mean of their members' probabilities; members that do not match are refused.

Tolerance: 1e-6, the rounding of a logarithm and its inverse in float32.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from liftray import sealed
from liftray.adapt import tagger as taggers
from liftray.adapt.tagger import TaggerSettings
from liftray.backbone import model as backbones
from liftray.backbone.sources import resolve
from liftray.errors import BundleError
from liftray.files import sha256_file
from liftray.predict import bundle
from liftray.predict.merge import merge
from liftray.predict.predictor import Predictor
from tests.parts import tiny

_CHAINS = [("a", "MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQ"), ("b", "GSHMLEDPVAG"), ("c", "MKTAYI" * 30)]
_ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("backbones")
    return {
        "esm": tiny.write_backbone(root / "esm"),
        "other": tiny.write_backbone(root / "other", seed=2),
    }


def _bundle(source: str, directory: Path, seed: int, temperature: float = 1.0, **overrides: Any) -> Path:
    chosen = tiny.settings(
        **{"task": "ss9", "data__max_length": 100, "adapter__reduction_factor": 8, **overrides}
    )
    model = taggers.build(backbones.load(resolve([source])), TaggerSettings.of(chosen), seed=seed)
    details = {
        "calibration": {"temperature": temperature},
        "data": {"train": {"t": "one"}, "valid": {"v": f"of seed {seed}"}},
    }
    bundle.save(tiny.move(model, seed), directory, [source], details)
    return directory


@pytest.fixture
def members(sources: dict[str, str], tmp_path: Path) -> list[Path]:
    esm = sources["esm"]
    return [
        _bundle(esm, tmp_path / "one", 1),
        _bundle(esm, tmp_path / "two", 2, temperature=2.5, head__kind="metric", adapter__kind="lora"),
        _bundle(esm, tmp_path / "three", 3, method="features", head__mix_blocks=True),
    ]


def _probabilities(directory: Path) -> list[Any]:
    return [found.probabilities_LC for found in Predictor.load(directory).predict(_CHAINS)]  # type: ignore[union-attr]


def test_it_predicts_the_mean_of_the_members_probabilities(members: list[Path], tmp_path: Path) -> None:
    merge(members, tmp_path / "merged")
    alone = [_probabilities(member) for member in members]
    for number, together_LC in enumerate(_probabilities(tmp_path / "merged")):
        mean_LC = np.mean([one[number] for one in alone], axis=0)
        np.testing.assert_allclose(together_LC, mean_LC, atol=1e-6)
        assert np.abs(mean_LC - alone[0][number]).max() > 0.01, "all members predict the same"


def test_its_own_temperature_is_applied_last(members: list[Path], tmp_path: Path) -> None:
    merge(members, tmp_path / "merged")
    loaded = bundle.load(tmp_path / "merged")
    (plain,) = Predictor(loaded.tagger, loaded.info).predict(_CHAINS[:1])
    (cooled,) = Predictor(loaded.tagger, {"calibration": {"temperature": 0.5}}).predict(_CHAINS[:1])
    squared_LC = plain.probabilities_LC**2  # type: ignore[union-attr]
    expected_LC = squared_LC / squared_LC.sum(1, keepdims=True)
    np.testing.assert_allclose(cooled.probabilities_LC, expected_LC, atol=1e-6)  # type: ignore[union-attr]


def test_members_are_stored_byte_for_byte(members: list[Path], tmp_path: Path) -> None:
    info = merge(members, tmp_path / "merged")
    assert info == bundle.read_info(tmp_path / "merged")
    assert info["members"] == ["member-1", "member-2", "member-3"]
    for name, member in zip(info["members"], members, strict=True):
        inside = tmp_path / "merged" / name
        files = {path.relative_to(member) for path in member.rglob("*") if path.is_file()}
        assert {path.relative_to(inside) for path in inside.rglob("*") if path.is_file()} == files
        assert all(sha256_file(inside / name) == sha256_file(member / name) for name in files)


@pytest.mark.parametrize("family", ["esm", "t5"])
def test_common_weights_of_members_are_in_memory_once(family: str, tmp_path: Path) -> None:
    source = tiny.write_backbone(tmp_path / "backbone", family)
    chosen: list[dict[str, Any]] = [{}, {"adapter__kind": "lora"}, {"method": "full"}]
    made = [
        _bundle(source, tmp_path / str(seed), seed, adapter__skip_layers=1, **options)
        for seed, options in enumerate(chosen)
    ]
    counts = merge(made, tmp_path / "merged")["parameters"]
    together = bundle.load(tmp_path / "merged").tagger
    assert sum(each.numel() for each in together.parameters()) == counts["backbone"] + counts["trained"]
    for number, directory in enumerate(made):
        mine = together.get_submodule(f"members.{number}").state_dict()
        theirs = bundle.load(directory).tagger.state_dict()
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_its_description_is_complete(members: list[Path], tmp_path: Path) -> None:
    info = merge(members, tmp_path / "merged")
    infos = [bundle.read_info(member) for member in members]
    assert (info["task"], info["alphabet"], info["method"]) == ("ss9", "ss9", "ensemble")
    assert info["backbone"]["digest"] == infos[0]["backbone"]["digest"]
    assert info["parameters"]["trained"] == sum(one["parameters"]["trained"] for one in infos)
    assert info["parameters"]["backbone"] == infos[0]["parameters"]["backbone"]
    assert info["calibration"] == {"temperature": 1.0}
    assert info["data"]["train"] == {"t": "one"}
    assert info["data"]["valid"] == {
        "v": "of seed 1",
        "v of member-2": "of seed 2",
        "v of member-3": "of seed 3",
    }
    assert "metrics" not in info


def test_fewer_than_two_or_the_same_model_twice_are_refused(members: list[Path], tmp_path: Path) -> None:
    shutil.copytree(members[0], tmp_path / "copy")
    for chosen, message in (
        (members[:1], "two members or more"),
        ([members[0], members[1], tmp_path / "copy"], "copy: the same model twice"),
    ):
        with pytest.raises(BundleError, match=message):
            merge(chosen, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"task": "ss8"}, "task is ss8, and ss9 in the first"),
        ({"ss3_map": "lift"}, "ss3_map is lift, and dssp in the first"),
        ({"data__max_length": 90}, "max_length is 90, and 100 in the first"),
    ],
)
def test_models_that_do_not_agree_are_refused(
    sources: dict[str, str], members: list[Path], tmp_path: Path, overrides: dict[str, Any], message: str
) -> None:
    other = _bundle(sources["esm"], tmp_path / "other", 4, **overrides)
    with pytest.raises(BundleError, match=message) as caught:
        merge([members[0], other], tmp_path / "merged")
    assert "\n" not in str(caught.value)


def test_another_backbone_and_an_ensemble_are_refused(
    sources: dict[str, str], members: list[Path], tmp_path: Path
) -> None:
    other = _bundle(sources["other"], tmp_path / "other", 4)
    with pytest.raises(BundleError, match="another backbone"):
        merge([members[0], other], tmp_path / "merged")
    merge(members[:2], tmp_path / "merged")
    with pytest.raises(BundleError, match="an ensemble, not one model"):
        merge([members[2], tmp_path / "merged"], tmp_path / "again")


def _edit(directory: Path, **entries: Any) -> None:
    info = json.loads((directory / "bundle.json").read_text())
    sealed.write_json(directory / "bundle.json", info | entries)


@pytest.mark.parametrize("damage", ["flip", "remove", "add"])
def test_a_changed_member_is_refused(members: list[Path], tmp_path: Path, damage: str) -> None:
    merged = tmp_path / "merged"
    merge(members, merged)
    path = merged / "member-2" / "head.safetensors"
    if damage == "flip":
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "remove":
        path.unlink()
    else:
        path = path.with_name("more.safetensors")
        path.write_bytes(b"")
    with pytest.raises(BundleError, match=f"member-2/{path.name}"):
        bundle.load(merged)


@pytest.mark.parametrize(
    "entries",
    [
        {"members": []},
        {"members": "member-1"},
        {"members": ["member-1", "../two"]},
        {"members": ["member-2"]},
        {"task": "ss3"},
        {"ss3_map": "lift"},
    ],
)
def test_a_bundle_json_that_describes_other_members_is_refused(
    members: list[Path], tmp_path: Path, entries: dict[str, Any]
) -> None:
    merge(members, tmp_path / "merged")
    _edit(tmp_path / "merged", **entries)
    with pytest.raises(BundleError) as caught:
        bundle.load(tmp_path / "merged")
    assert "\n" not in str(caught.value)


def test_a_merged_bundle_inside_another_is_refused(members: list[Path], tmp_path: Path) -> None:
    merge(members[:2], tmp_path / "merged")
    merge([members[0], members[2]], tmp_path / "outer")
    inner = tmp_path / "outer" / "member-2"
    shutil.rmtree(inner)
    shutil.copytree(tmp_path / "merged", inner)
    info = json.loads((tmp_path / "outer" / "bundle.json").read_text())
    (tmp_path / "outer" / "bundle.json").unlink()
    bundle.seal(tmp_path / "outer", info)
    with pytest.raises(BundleError, match="member-2 is not a model as"):
        bundle.load(tmp_path / "outer")


@torch.no_grad()
def test_a_prediction_does_not_depend_on_the_other_chains(members: list[Path], tmp_path: Path) -> None:
    merge(members, tmp_path / "merged")
    predictor = Predictor.load(tmp_path / "merged")
    together = list(predictor.predict(_CHAINS))
    for chain, found in zip(_CHAINS, together, strict=True):
        (alone,) = predictor.predict([chain])
        assert np.array_equal(alone.probabilities_LC, found.probabilities_LC)  # type: ignore[union-attr]


def test_the_job_merges_and_prints_the_place(members: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, str(_ROOT / "jobs" / "ensemble.py"), "--out", str(out)]
    done = subprocess.run(
        [*command, "--model", *map(str, members)], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads((out / "summary.json").read_text())
    assert summary["bundle"] == str(out / "bundle")
    assert len(bundle.load(out / "bundle").info["members"]) == 3
