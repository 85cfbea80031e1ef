"""Taggers of the shape of ESM-2 8M with random weights, on the device that there is.

Invariant: the shape is the published model's; weights follow from the seed.
"""

from typing import Any, Literal

import torch

from liftray.adapt import tagger as taggers
from liftray.adapt.tagger import Tagger, TaggerSettings
from liftray.backbone.model import from_config
from liftray.config import AdapterSettings, HeadSettings

# Lin et al. 2023, as in its published config.json.
_ESM2_8M: dict[str, Any] = {
    "vocab_size": 33,
    "hidden_size": 320,
    "num_hidden_layers": 6,
    "num_attention_heads": 20,
    "intermediate_size": 1280,
    "max_position_embeddings": 1026,
    "position_embedding_type": "rotary",
    "layer_norm_eps": 1e-5,
    "token_dropout": True,
}


def device() -> str:
    """Where the suites compute."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def wait() -> None:
    """Wait until the device has done what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def tagger(
    *,
    seed: int,
    width: int,
    kind: Literal["bottleneck", "lora"] = "bottleneck",
    skip_layers: int,
    max_length: int,
) -> Tagger:
    """Build a tagger with a linear head for nine states, in float32.

    Args:
        seed: Of backbone, adapters and head.
        width: Of the hidden states: 320, or less (a multiple of 20) to make it smaller.
        kind: Adapter kind.
        skip_layers: The cut k.
        max_length: Widest window, in residues.
    """
    shape = {**_ESM2_8M, "hidden_size": width, "intermediate_size": 4 * width}
    settings = TaggerSettings(
        task="ss9",
        ss3_map="dssp",
        method="adapter",
        adapter=AdapterSettings(kind=kind, skip_layers=skip_layers),
        head=HeadSettings(),
        max_length=max_length,
    )
    return taggers.build(from_config("esm", shape, seed), settings, seed).to(device())
