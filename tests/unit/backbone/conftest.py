"""A tiny checkpoint on disk, as a hub or a directory would hold it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from liftray.backbone.model import Backbone, from_config

CONFIGS: dict[str, dict[str, Any]] = {
    "esm": {
        "vocab_size": 33,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 40,
        "position_embedding_type": "rotary",
        "layer_norm_eps": 1e-5,
        "token_dropout": True,
    },
    "t5": {"vocab_size": 128, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2},
    "bert": {
        "vocab_size": 30,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 40,
    },
}

Writer = Callable[..., Backbone]


@pytest.fixture
def configs() -> dict[str, dict[str, Any]]:
    """A tiny architecture of each family, as in its `config.json`."""
    return {name: dict(config) for name, config in CONFIGS.items()}


@pytest.fixture
def write_checkpoint() -> Writer:
    """Write a random checkpoint into a directory and give the backbone that it holds."""

    def write(
        directory: Path,
        family: str = "esm",
        *,
        form: str = "safetensors",
        rename: Callable[[str], str] = lambda name: name,
        extra: dict[str, torch.Tensor] | None = None,
        keys: dict[str, object] | None = None,
        seed: int = 1,
    ) -> Backbone:
        directory.mkdir(parents=True, exist_ok=True)
        made = from_config(family, CONFIGS[family], seed=seed)
        state = {rename(name): tensor.clone() for name, tensor in made.hf.state_dict().items()} | (
            extra or {}
        )
        if form == "safetensors":
            save_file(state, directory / "model.safetensors")
        elif form == "bin":
            torch.save(state, directory / "pytorch_model.bin")
        elif form == "shards":
            names = sorted(state)
            index = {
                name: f"model-0000{number % 2 + 1}-of-00002.safetensors" for number, name in enumerate(names)
            }
            for shard in set(index.values()):
                save_file({name: state[name] for name in names if index[name] == shard}, directory / shard)
            (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
        config = {"model_type": family, **CONFIGS[family], **(keys or {})}
        (directory / "config.json").write_text(json.dumps(config))
        return made

    return write
