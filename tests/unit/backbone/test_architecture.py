import json
from pathlib import Path
from typing import Any

import pytest

from liftray.backbone.architecture import check_config, read_config
from liftray.backbone.families import FAMILIES
from liftray.errors import BackboneError
from tests.parts import tiny

Configs = dict[str, dict[str, Any]]


def _refused(tmp_path: Path, content: object, match: str) -> None:
    path = tmp_path / "config.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(BackboneError, match=match) as caught:
        read_config(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("family", FAMILIES)
def test_only_listed_keys_pass(configs: Configs, family: str) -> None:
    noise = {
        "architectures": ["Any"],
        "torch_dtype": "float32",
        "_name_or_path": "x",
        "transformers_version": "4",
    }
    name, config = check_config({"model_type": family, **configs[family], **noise}, "test")
    assert name == family
    assert not set(noise) & set(config)
    assert config == check_config({"model_type": family, **configs[family]}, "test")[1]


@pytest.mark.parametrize(
    "keys",
    [
        {"auto_map": {"AutoModel": "evil.Model"}},
        {"trust_remote_code": True},
        {"custom_pipelines": {"x": {"impl": "evil.py"}}},
        {"_attn_implementation_internal": "someone/kernel"},
        {"attn_implementation": "someone/kernel"},
        {"_attn_implementation": {"": "someone/kernel"}},
        {"quantization_config": {"quant_method": "bitsandbytes"}},
        {"is_folding_model": True, "esmfold_config": {"trunk": {}}},
        {"is_decoder": True},
    ],
)
def test_keys_that_ask_for_code_are_refused(
    configs: Configs, tmp_path: Path, keys: dict[str, object]
) -> None:
    _refused(tmp_path, {"model_type": "esm", **configs["esm"], **keys}, "refused")


def test_harmless_forms_of_such_keys_pass(configs: Configs) -> None:
    keys = {
        "auto_map": None,
        "is_decoder": False,
        "_attn_implementation_autoset": True,
        "esmfold_config": None,
    }
    plain = {"model_type": "esm", **configs["esm"]}
    assert check_config({**plain, **keys}, "test") == check_config(plain, "test")


@pytest.mark.parametrize("model_type", ["llama", None, 3, ["esm"], "../esm", {"esm": 1}])
def test_unknown_model_type_is_refused(configs: Configs, tmp_path: Path, model_type: object) -> None:
    _refused(tmp_path, {**configs["esm"], "model_type": model_type}, "unknown model_type")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hidden_size", "16"),
        ("hidden_size", True),
        ("hidden_size", 16.0),
        ("hidden_size", 0),
        ("hidden_size", 1 << 40),
        ("num_hidden_layers", [2]),
        ("position_embedding_type", "relative_key"),
        ("token_dropout", 1),
        ("layer_norm_eps", -1e-5),
        ("layer_norm_eps", "1e-5"),
        ("pad_token_id", -1),
    ],
)
def test_wrong_types_and_ranges_are_refused(
    configs: Configs, tmp_path: Path, key: str, value: object
) -> None:
    _refused(tmp_path, {"model_type": "esm", **configs["esm"], key: value}, key)


def test_a_missing_size_is_named(configs: Configs, tmp_path: Path) -> None:
    content = {"model_type": "esm", **configs["esm"]}
    del content["num_hidden_layers"]
    _refused(tmp_path, content, "num_hidden_layers")


@pytest.mark.parametrize(
    ("keys", "match"), [({"num_attention_heads": 3}, "attention heads"), ({"pad_token_id": 33}, "outside")]
)
def test_contradictions_are_refused(
    configs: Configs, tmp_path: Path, keys: dict[str, object], match: str
) -> None:
    _refused(tmp_path, {"model_type": "esm", **configs["esm"], **keys}, match)


@pytest.mark.parametrize("text", ["", "{", "[1]", "[" * 100_000, '"esm"', "\x00"])
def test_what_is_no_json_object_is_refused(tmp_path: Path, text: str) -> None:
    _refused(tmp_path, text, "not JSON|not an object")


def test_an_oversized_config_is_refused(tmp_path: Path) -> None:
    _refused(tmp_path, json.dumps({"model_type": "esm", "x": "y" * (1 << 20)}), "over 1,048,576 bytes")


@pytest.mark.parametrize(
    ("key", "value", "match"),
    [
        ("layer_norm_eps", 10**300, "layer_norm_eps"),
        ("layer_norm_eps", float("nan"), "layer_norm_eps"),
        ("layer_norm_eps", float("inf"), "layer_norm_eps"),
        ("hidden_size", 10**300, "hidden_size"),
        ("max_position_embeddings", 1 << 22, "max_position_embeddings"),
        ("model_type", 10**300, "unknown model_type"),
        ("model_type", ["esm"], "unknown model_type"),
    ],
)
def test_numbers_that_no_model_has_are_refused(tmp_path: Path, key: str, value: object, match: str) -> None:
    _refused(tmp_path, {"model_type": "esm", **tiny.CONFIGS["esm"], key: value}, match)
