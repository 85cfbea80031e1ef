"""Plain Hugging Face models for the competitors: the same weights as ours, none of our code.

Invariant: models are built from the workload alone. They have the dropout rates of the published configs (none inside
the backbone), and SDPA attention where the family has it, as `from_pretrained` would choose.
"""

import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    EsmConfig,
    EsmForTokenClassification,
    EsmModel,
    EsmTokenizer,
    T5Config,
    T5EncoderModel,
)

from liftray.backbone.families import family
from liftray.backbone.sources import resolve
from liftray.backbone.weights import read_state
from liftray.bench.workload import Workload
from liftray.data.labels import STATES
from liftray.errors import ConfigError


def encoder(workload: Workload) -> nn.Module:
    """The transformers encoder without a head, in float32, on the workload's device.

    Args:
        workload: Names the shape and whether it is pretrained.

    Returns:
        An `EsmModel` or a `T5EncoderModel`: (input_ids, attention_mask) -> last_hidden_state.

    Raises:
        BackboneError: The pretrained weights are not installed.
    """
    torch.manual_seed(workload.seed)
    config = dict(workload.model.config)
    model: Any
    if workload.model.family == "t5":
        model = T5EncoderModel(
            T5Config(**config, dropout_rate=0.0, is_encoder_decoder=False, use_cache=False)
        )
    else:
        model = EsmModel(EsmConfig(**config, **_NO_DROPOUT), add_pooling_layer=False)
        model.contact_head = None
    if pretrained(workload):
        _load(model, workload)
    return model.to(workload.device)


def classifier(workload: Workload) -> nn.Module:
    """`EsmForTokenClassification` with a fresh linear head, in float32, on the workload's device.

    Args:
        workload: Names the shape, the task and the head's dropout.

    Returns:
        The model: (input_ids, attention_mask, labels) -> loss, logits.

    Raises:
        ConfigError: The shape is of a family for which transformers has no such model.
        BackboneError: The pretrained weights are not installed.
    """
    if workload.model.family != "esm":
        raise ConfigError(
            f"{workload.model.title} has no token-classification model in transformers",
            remedy="choose an ESM-2 shape",
        )
    torch.manual_seed(workload.seed)
    names = dict(enumerate(STATES[workload.task]))
    model = EsmForTokenClassification(
        EsmConfig(
            **workload.model.config,
            **_NO_DROPOUT,
            id2label=names,
            label2id={name: code for code, name in names.items()},
        )
    )
    model.dropout.p = workload.dropout
    model.esm.contact_head = None
    if pretrained(workload):
        _load(model.esm, workload)
    return model.to(workload.device)


def tokenizer(workload: Workload) -> EsmTokenizer:
    """Transformers' own ESM tokenizer over the published vocabulary."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vocab.txt"
        path.write_text("\n".join(family("esm").fallback_vocabulary), encoding="utf-8")
        return EsmTokenizer(str(path), model_max_length=workload.model.config["max_position_embeddings"])


def pretrained(workload: Workload) -> bool:
    """Whether pretrained weights are requested and available for this shape."""
    return workload.pretrained and bool(workload.model.weights)


def wait(device: str) -> None:
    """Wait until the device has done what it was given, so that a clock may be read."""
    if device == "cuda":
        torch.cuda.synchronize()


_NO_DROPOUT: dict[str, Any] = {
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "attn_implementation": "sdpa",
}


def _load(model: nn.Module, workload: Workload) -> None:
    resolved = resolve([workload.model.weights])
    parameters = {name for name, _ in model.named_parameters()}
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    state = read_state(
        resolved.weight_files, family(resolved.family), shapes, optional=shapes.keys() - parameters
    )
    model.load_state_dict(state, strict=False)
