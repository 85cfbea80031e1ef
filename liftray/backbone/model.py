"""Bringing a resolved backbone into memory, or making one with random weights.

Invariant: only the three encoder classes named here are ever built, from a checked config; shapes are
compared with the weight files before any memory is taken. Flow: `sources.resolve` -> [this] ->
`encoder.Backbone`.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn
from transformers import BertConfig, BertModel, EsmConfig, EsmModel, T5Config, T5EncoderModel
from transformers.modeling_utils import no_init_weights

from liftray.backbone.architecture import check_config
from liftray.backbone.dimensions import Dimensions
from liftray.backbone.encoder import Backbone
from liftray.backbone.families import family
from liftray.backbone.family_encoders import BertBackbone, EsmBackbone, T5Backbone
from liftray.backbone.sources import ResolvedBackbone, architecture_digest
from liftray.backbone.tokens import token_table
from liftray.backbone.weights import read_state
from liftray.errors import BackboneError

__all__ = ["Backbone", "Dtype", "from_config", "load"]

Dtype = Literal["float32", "bfloat16"]

_DTYPES: dict[str, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16}
_FEW_NUMBERS = 1 << 24
_BACKBONES: dict[str, type[Backbone]] = {"esm": EsmBackbone, "t5": T5Backbone, "bert": BertBackbone}


def load(
    resolved: ResolvedBackbone,
    *,
    dtype: Dtype = "float32",
    device: str | torch.device = "cpu",
    first_block: int = 0,
) -> Backbone:
    """Load a backbone, or the part of it above a cut.

    Args:
        resolved: The result of `sources.resolve`.
        dtype: Of its weights and hidden states.
        device: Where to put it.
        first_block: Weights of the embedding and of the blocks below are not read; `drop_below` must follow when
            adapters are in place, which the library can only put into whole models.

    Returns:
        The backbone, frozen and in eval mode.

    Raises:
        BackboneError: The weight files are damaged, unsafe or not this architecture's.
    """
    _check_size(resolved)
    with torch.device("meta"):
        empty = _encoder(resolved.family, resolved.config)
    parameters = {name for name, _ in empty.named_parameters(remove_duplicate=False)}
    shapes = {name: tensor.shape for name, tensor in empty.state_dict().items()}
    state = read_state(
        resolved.weight_files, family(resolved.family), shapes, optional=shapes.keys() - parameters
    )
    if first_block > 0:
        _BACKBONES[resolved.family](empty, resolved).drop_below(first_block)
    needed = empty.state_dict().keys()
    # The system gives memory to pages that are written, so the part that is not needed takes none.
    with _default_dtype(_DTYPES[dtype]), torch.device(device), no_init_weights():
        hf = _encoder(resolved.family, resolved.config)
    own = hf.state_dict()
    for name in state.keys() & needed:
        if state[name].dtype == own[name].dtype and state[name].device == own[name].device:
            own[name] = state[name]  # in the file's pages, which all processes of a node share
        else:
            own[name].copy_(state[name])
        if not torch.isfinite(own[name]).all():
            raise BackboneError(
                f"tensor {name} holds NaN or infinity",
                where=str(resolved.directory),
                remedy="download the weights again",
            )
    hf.load_state_dict(own, assign=True)
    backbone = _BACKBONES[resolved.family](hf, resolved)
    backbone.first_block = first_block
    return backbone


def from_config(
    family_name: str,
    config: Mapping[str, Any],
    seed: int = 0,
    *,
    dtype: Dtype = "float32",
    device: str | torch.device = "cpu",
) -> Backbone:
    """Make a backbone with random weights, for tests and benchmarks.

    Args:
        family_name: `esm`, `t5` or `bert`.
        config: The architecture, keys as in a `config.json`; `vocab_size` must be the family's published one.
        seed: What the weights are drawn from.
        dtype: Of its weights and hidden states.
        device: Where to put it.

    Returns:
        The backbone, frozen and in eval mode; its digest follows from config and seed.

    Raises:
        BackboneError: The config is not one LiftRay can run.
    """
    source = f"random:{family_name}:{seed}"
    name, checked = check_config({"model_type": family_name, **config}, source)
    tokens = token_table(family(name), None, checked["vocab_size"], source)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        hf = _encoder(name, checked)
    weights = hashlib.sha256(json.dumps([source, checked], sort_keys=True).encode()).hexdigest()
    resolved = ResolvedBackbone(
        source=source,
        directory=Path(),
        weight_files=(),
        family=name,
        config=checked,
        tokens=tokens,
        weights_sha256=weights,
        digest=architecture_digest(weights, checked, tokens),
        name=f"random {family(name).title}",
        note="random weights, not pretrained",
    )
    return _BACKBONES[name](hf, resolved).to(device=device, dtype=_DTYPES[dtype])


def _check_size(resolved: ResolvedBackbone) -> None:
    """Refuse a config that describes more numbers than the weight files have bytes, before anything is built."""
    numbers = Dimensions.of(resolved.family, resolved.config).parameters()
    held = sum(path.stat().st_size for path in resolved.weight_files)
    # Below this, the reader of the weights says more exactly what is missing.
    if numbers > held + _FEW_NUMBERS:
        raise BackboneError(
            f"weight files of {held:,} bytes do not hold the {numbers:,} weights that config.json describes",
            where=str(resolved.directory),
            remedy="give the config.json that belongs to the weights",
        )


def _encoder(name: str, config: dict[str, Any]) -> nn.Module:
    """Build the family's own encoder, without what follows the last hidden state, all dropout off."""
    if name == "t5":
        return T5EncoderModel(T5Config(**config, dropout_rate=0.0, is_encoder_decoder=False, use_cache=False))
    off = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    if name == "bert":
        return BertModel(BertConfig(**config, **off), add_pooling_layer=False)
    encoder = EsmModel(EsmConfig(**config, **off), add_pooling_layer=False)
    encoder.contact_head = None
    return encoder


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
