"""loaded bundle == trained model, bit by bit; a bundle that does not match is refused.

Tolerance: none; the same operations on the same bits.
"""

import json
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from liftray import sealed
from liftray.adapt import tagger as taggers
from liftray.adapt.tagger import Tagger, TaggerSettings
from liftray.backbone import model as backbones
from liftray.backbone.sources import resolve
from liftray.errors import BundleError
from liftray.files import sha256_file
from liftray.predict import bundle
from liftray.predict.predictor import Predictor
from liftray.predict.training_sketch import sketch
from tests.parts import tiny

_SEQUENCES = ["MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQ", "GSHMLEDPVAG", "A"]
Made = tuple[Tagger, Path, str]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("backbones")
    made = {family: tiny.write_backbone(root / family, family) for family in tiny.FAMILIES}
    return {**made, "other": tiny.write_backbone(root / "other", "esm", seed=2)}


def _trained(source: str, dtype: Any = "float32", **overrides: Any) -> Tagger:
    chosen = tiny.settings(adapter__skip_layers=1, adapter__reduction_factor=8, task="ss9", **overrides)
    loaded = backbones.load(resolve([source]), dtype=dtype)
    return tiny.move(taggers.build(loaded, TaggerSettings.of(chosen), seed=4)).eval()


@torch.no_grad()
def _logits(model: Tagger) -> torch.Tensor:
    return model(*tiny.batch(model.backbone, _SEQUENCES))


@pytest.fixture
def made(sources: dict[str, str], tmp_path: Path) -> Made:
    model = _trained(sources["esm"], adapter__kind="lora")
    bundle.save(model, tmp_path / "bundle", [sources["esm"]], {"data": {"train": {}}})
    return model, tmp_path / "bundle", sources["esm"]


_SHAPES = [
    {"adapter__kind": "bottleneck"},
    {"adapter__kind": "lora"},
    {"adapter__kind": "bottleneck", "dtype": "bfloat16"},
    {"adapter__kind": "lora", "dtype": "bfloat16"},
    {"method": "features"},
    {"method": "full"},
    {"method": "full", "dtype": "bfloat16"},
]


@pytest.mark.parametrize(
    ("family", "head", "chosen"),
    [
        *product(tiny.FAMILIES, ("linear", "conv"), _SHAPES),
        ("esm", "metric", {"head__temperature": 9.0, "dtype": "bfloat16"}),
        ("t5", "lstm", {"head__mix_blocks": True}),
        ("bert", "linear", {"head__mix_blocks": True, "method": "features"}),
    ],
    ids=lambda message: "-".join(map(str, message.values())) if isinstance(message, dict) else message,
)
def test_a_loaded_bundle_is_the_trained_model(
    sources: dict[str, str], tmp_path: Path, family: str, head: str, chosen: dict[str, Any]
) -> None:
    model = _trained(sources[family], head__kind=head, **chosen)
    assembled = bundle.assemble(
        resolve([sources[family]]),
        model.settings,
        chosen.get("dtype", "float32"),
        {name: parameter.detach() for name, parameter in model.trained().items()},
    )
    assert torch.equal(_logits(assembled), _logits(model))
    bundle.save(assembled, tmp_path / "bundle", [sources[family]], {})
    loaded = bundle.load(tmp_path / "bundle")
    assert torch.equal(_logits(loaded.tagger), _logits(model))
    assert loaded.tagger.settings == model.settings
    mine, theirs = dict(model.named_parameters()), dict(loaded.tagger.named_parameters())
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert all(mine[name].dtype == theirs[name].dtype for name in mine)
    assert not any(parameter.requires_grad for parameter in theirs.values())


def test_its_files_are_safetensors_and_json_of_the_size_of_what_was_trained(made: Made) -> None:
    model, directory, _ = made
    paths = [path for path in directory.rglob("*") if path.is_file()]
    assert {path.suffix for path in paths} == {".json", ".safetensors"}
    tensors = sum(path.stat().st_size for path in paths if path.suffix == ".safetensors")
    trained = 4 * model.count()["trained"]
    assert trained <= tensors <= trained + 8192  # and headers that name the tensors
    assert 4 * model.count()["backbone"] > 2 * tensors


def test_its_description_is_complete(made: Made) -> None:
    model, directory, source = made
    info = bundle.read_info(directory)
    assert info["task"] == info["alphabet"] == "ss9"
    assert info["parameters"] == model.count()
    assert info["backbone"]["digest"] == model.backbone.resolved.digest
    assert info["backbone"]["sources"] == [source]
    assert info["data"] == {"train": {}}
    assert info["calibration"] == {"temperature": 1.0}


def test_another_backbone_is_refused(made: Made, sources: dict[str, str]) -> None:
    for other in ("other", "bert"):
        with pytest.raises(BundleError, match=r"trained on backbone .*give the weights it was trained on"):
            bundle.load(made[1], sources=[sources[other]])


def test_the_backbone_may_be_in_another_place(made: Made, tmp_path: Path) -> None:
    shutil.copytree(made[2], tmp_path / "copy")
    loaded = bundle.load(made[1], sources=["/absent", str(tmp_path / "copy")])
    assert torch.equal(_logits(loaded.tagger), _logits(made[0]))


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_a_changed_file_is_refused(made: Made, damage: str) -> None:
    directory = made[1]
    for path in sorted(
        path for path in directory.rglob("*") if path.is_file() and path.name != "bundle.json"
    ):
        content = path.read_bytes()
        changed = {"flip": content[:-1] + bytes([content[-1] ^ 1]), "truncate": content[:-1]}.get(damage)
        path.unlink()
        if changed is not None:
            path.write_bytes(changed)
        with pytest.raises(BundleError, match=path.name):
            bundle.load(directory)
        path.write_bytes(content)
    bundle.load(directory)


@pytest.mark.parametrize(
    "name", ["adapter/pytorch_adapter.bin", "adapter/head_config.json", "extra.safetensors"]
)
def test_a_file_that_the_bundle_does_not_list_is_refused(made: Made, name: str) -> None:
    (made[1] / name).write_bytes(b"{}")
    with pytest.raises(BundleError, match=name):
        bundle.load(made[1])


def test_a_listed_file_of_a_format_that_can_hold_code_is_refused(made: Made) -> None:
    directory = made[1]
    model_file = next(path for path in (directory / "adapter").glob("*.safetensors"))
    adapter = model_file.rename(directory / "adapter" / "pytorch_adapter.bin")

    def relist(info: dict[str, Any]) -> None:
        del info["files"][f"adapter/{model_file.name}"]
        info["files"]["adapter/pytorch_adapter.bin"] = sha256_file(adapter)

    _edit(directory, relist)
    with pytest.raises(BundleError, match=r"pytorch_adapter\.bin"):
        bundle.load(directory)


def test_an_adapter_that_lacks_a_tensor_is_refused(made: Made) -> None:
    """The library itself would continue with random weights."""
    path = next((made[1] / "adapter").glob("*.safetensors"))
    tensors = load_file(path)
    tensors.pop(max(tensors))
    save_file(tensors, path)
    _edit(made[1], lambda info: info["files"].update({f"adapter/{path.name}": sha256_file(path)}))
    with pytest.raises(BundleError, match=r"adapter\.safetensors holds .* numbers, bundle\.json describes"):
        bundle.load(made[1])


def _described(directory: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the library's description of the adapters, and give it the digest that it needs to be read."""
    file = directory / "adapter" / "adapter_config.json"
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))
    _edit(directory, lambda info: info["files"].update({"adapter/adapter_config.json": sha256_file(file)}))


_OTHER_DESCRIPTIONS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "rank": (
        lambda saved: saved["config"].update(r=8),
        r"config\.r is 8 here.*lora \(adapter\.reduction_factor=8\) with 4",
    ),
    "tiny factor": (
        lambda saved: saved["config"].update(reduction_factor=1e-7),
        r"config\.reduction_factor is 1e-07 here",
    ),
    "another kind": (
        lambda saved: saved["config"].update(architecture="prefix_tuning", prefix_length=10**9),
        r"config\.architecture is 'prefix_tuning' here.*with 'lora'",
    ),
    "blocks": (
        lambda saved: saved["config"].update(leave_out=[]),
        r"config\.leave_out is \[\] here.*skip_layers=1\) with \[0\]",
    ),
    "width": (lambda saved: saved.update(hidden_size=64), "hidden_size is 64 here.*with 32"),
    "no config": (lambda saved: saved.pop("config"), "config is None here"),
    "list": (lambda saved: saved.update(config=[1]), r"config is \[1\] here"),
    "no name": (lambda saved: saved.pop("name"), "name is None here"),
    "foreign key": (lambda saved: saved.update(type="x"), "unknown key 'type'"),
}


@pytest.mark.parametrize("case", _OTHER_DESCRIPTIONS)
def test_two_descriptions_of_one_adapter_are_refused_with_both_values(made: Made, case: str) -> None:
    change, message = _OTHER_DESCRIPTIONS[case]
    _described(made[1], change)
    with pytest.raises(BundleError, match=message):
        bundle.load(made[1])


def test_another_adapter_in_bundle_json_is_refused_before_it_is_built(made: Made) -> None:
    _edit(made[1], lambda info: info["adapter"].update(reduction_factor=1))
    with pytest.raises(BundleError, match=r"config\.\w+ is 4 here.*adapter\.reduction_factor=1\) with 32"):
        bundle.load(made[1])
    _described(made[1], lambda saved: saved["config"].update(r=32, alpha=32))
    with pytest.raises(BundleError, match=r"holds 1,024 numbers, bundle\.json describes 8,192"):
        bundle.load(made[1])


def test_a_bundle_without_its_adapter_is_refused(made: Made) -> None:
    shutil.rmtree(made[1] / "adapter")
    _edit(made[1], lambda info: info.update(files={"head.safetensors": info["files"]["head.safetensors"]}))
    with pytest.raises(BundleError, match="no adapter in it"):
        bundle.load(made[1])


@pytest.mark.parametrize("damage", ["missing", "another cut"])
def test_trained_backbone_weights_that_do_not_fit_are_refused(
    sources: dict[str, str], tmp_path: Path, damage: str
) -> None:
    directory = tmp_path / "bundle"
    bundle.save(_trained(sources["esm"], method="full"), directory, [sources["esm"]], {})
    if damage == "missing":
        (directory / "backbone.safetensors").unlink()
        _edit(directory, lambda info: info["files"].pop("backbone.safetensors"))
    else:
        _edit(directory, lambda info: info["adapter"].update(skip_layers=2))
    with pytest.raises(BundleError, match="does not hold the weights of the blocks"):
        bundle.load(directory)


@pytest.mark.parametrize(
    "name", ["../secret.json", "/etc/hostname", "adapter/../../secret.json", "link.json"]
)
def test_a_file_name_outside_the_bundle_is_refused(made: Made, name: str) -> None:
    directory = made[1]
    secret = directory.parent / "secret.json"
    secret.write_text("{}")
    if name == "link.json":
        (directory / name).symlink_to(secret)
    _edit(directory, lambda info: info["files"].update({name: sha256_file(directory / name)}))
    with pytest.raises(BundleError, match=r"is missing, is not of the bundle|is a link"):
        bundle.load(directory)


_NONSENSE: dict[str, Callable[[dict[str, Any]], object]] = {
    "no files": lambda info: info.pop("files"),
    "files are a list": lambda info: info.update(files=sorted(info["files"])),
    "head not listed": lambda info: info["files"].pop("head.safetensors"),
    "adapter not listed": lambda info: info["files"].pop("adapter/adapter_config.json"),
    "another format": lambda info: info.update(format_version=99),
    "no backbone": lambda info: info.pop("backbone"),
    "backbone is a text": lambda info: info.update(backbone="esm"),
    "no digest": lambda info: info["backbone"].pop("digest"),
    "digest is null": lambda info: info["backbone"].update(digest=None),
    "no dtype": lambda info: info["backbone"].update(dtype="float8"),
    "unknown task": lambda info: info.update(task="ss12"),
    "unknown kind": lambda info: info["adapter"].update(kind="magic"),
    "another head": lambda info: info["head"].update(kind="conv"),
    "more blocks than there are": lambda info: info["head"].update(mix_blocks=True),
    "a mix of no blocks": lambda info: (
        info["head"].update(mix_blocks=True),
        info["adapter"].update(skip_layers=9),
    ),
    "members": lambda info: info.update(members=["../elsewhere"]),
    "no members": lambda info: info.update(members=[]),
    "unknown head key": lambda info: info["head"].update(code="import os"),
    "length is a text": lambda info: info.update(max_length="long"),
}


@pytest.mark.parametrize("case", _NONSENSE)
def test_an_inconsistent_bundle_json_is_refused(made: Made, case: str) -> None:
    _edit(made[1], _NONSENSE[case])
    with pytest.raises(BundleError) as caught:
        bundle.load(made[1])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "null", "{", '"x"'])
def test_a_file_that_is_not_a_bundle_json_is_refused(made: Made, text: str) -> None:
    (made[1] / "bundle.json").write_text(text)
    with pytest.raises(BundleError):
        bundle.load(made[1])


def test_a_missing_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"no bundle\.json"):
        bundle.load(tmp_path / "absent")


def test_saving_replaces_an_earlier_bundle(made: Made, sources: dict[str, str]) -> None:
    (made[1] / "left.json").write_text("{}")
    model = _trained(sources["esm"], method="features")
    bundle.save(model, made[1], [sources["esm"]], {})
    assert torch.equal(_logits(bundle.load(made[1]).tagger), _logits(model))
    assert sorted(path.name for path in made[1].iterdir()) == ["bundle.json", "head.safetensors"]


def test_a_failed_save_leaves_the_earlier_bundle(made: Made, sources: dict[str, str]) -> None:
    before = _logits(bundle.load(made[1]).tagger)
    with pytest.raises(ValueError, match="JSON"):
        bundle.save(_trained(sources["esm"]), made[1], [], {"metrics": float("nan")})
    assert torch.equal(_logits(bundle.load(made[1]).tagger), before)
    assert [path.name for path in made[1].parent.iterdir()] == ["bundle"]


def test_it_loads_and_predicts_without_pickle_ray_and_deepspeed(made: Made, tmp_path: Path) -> None:
    script = """
        import pickle, sys

        def refuse(*arguments, **options):
            raise RuntimeError("something was unpickled")

        # Subclasses, since libraries derive from these when they are imported.
        pickle.load = pickle.loads = refuse
        pickle.Unpickler = type("Unpickler", (pickle.Unpickler,), {"__init__": refuse})
        pickle._Unpickler = type("_Unpickler", (pickle._Unpickler,), {"__init__": refuse})

        from liftray.predict.predictor import Predictor

        predictor = Predictor.load(sys.argv[1])
        print(next(predictor.predict([("one", sys.argv[2])])).states)
        assert not {"ray", "deepspeed", "mlflow"} & set(sys.modules)
    """
    found = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(made[1]), _SEQUENCES[0]],
        capture_output=True,
        text=True,
        cwd=Path(bundle.__file__).parents[2],
    )
    assert found.returncode == 0, found.stderr
    tokens_T, layout = tiny.batch(made[0].backbone, _SEQUENCES[:1])
    residues_T = layout.residues(made[0].tokens.num_leading, made[0].tokens.num_trailing)
    with torch.no_grad():
        codes = made[0](tokens_T, layout)[residues_T].argmax(-1)
    assert found.stdout.strip() == "".join("LBEGIHSTP"[code] for code in codes)


def _edit(directory: Path, change: Callable[[dict[str, Any]], object]) -> None:
    info = json.loads((directory / "bundle.json").read_text())
    change(info)
    sealed.write_json(directory / "bundle.json", info)


def test_the_sketch_of_the_training_chains_comes_back(sources: dict[str, str], tmp_path: Path) -> None:
    made = sketch(["MKTAYIAKQRQISFVKSHFS", "MKT"])
    model = _trained(sources["esm"], adapter__kind="lora")
    info = bundle.save(model, tmp_path / "bundle", [sources["esm"]], {}, made)
    assert "training.safetensors" in info["files"]
    (loaded,) = Predictor.load(tmp_path / "bundle").training
    assert (loaded.identical, loaded.scale) == (made.identical, made.scale)
    assert loaded.holds("MKT")
