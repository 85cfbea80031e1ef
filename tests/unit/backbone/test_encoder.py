from typing import Any

import pytest
import torch

from liftray.backbone.families import FAMILIES
from liftray.backbone.model import Backbone, from_config
from liftray.errors import BackboneError

Configs = dict[str, dict[str, Any]]


@pytest.fixture(params=FAMILIES)
def backbone(configs: Configs, request: pytest.FixtureRequest) -> Backbone:
    return from_config(request.param, configs[request.param], seed=1)


def _batch(backbone: Backbone, length: int = 20) -> tuple[torch.Tensor, torch.Tensor]:
    tokens_BL = torch.from_numpy(backbone.tokens.encode(("MKTAYIAKQRQISFVKSHFS" * 50)[:length]))[None]
    return tokens_BL, torch.ones_like(tokens_BL)


def test_it_starts_frozen_and_in_eval_mode(backbone: Backbone) -> None:
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    assert not any(module.training for module in backbone.modules())
    assert len(backbone.blocks) == backbone.num_blocks == 2
    assert backbone.width == 16


def test_train_mode_gives_the_bits_of_eval_mode(backbone: Backbone) -> None:
    parent = torch.nn.Sequential(backbone)
    tokens_BL, mask_BL = _batch(backbone)
    still_BLD = backbone(tokens_BL, mask_BL)
    parent.train()
    assert backbone.training
    assert torch.equal(backbone(tokens_BL, mask_BL), still_BLD)


def test_no_pooler_or_head_is_left(backbone: Backbone) -> None:
    names = [name for name, _ in backbone.named_parameters()]
    assert not [name for name in names if "pooler" in name or "head" in name or "lm_" in name]


def test_hidden_states_have_the_width(backbone: Backbone) -> None:
    tokens_BL, mask_BL = _batch(backbone)
    hidden_BLD = backbone.embed(tokens_BL, mask_BL)
    assert hidden_BLD.shape == (*tokens_BL.shape, backbone.width)
    assert torch.equal(backbone.run_blocks(hidden_BLD, mask_BL, 1, 1), hidden_BLD)


@pytest.mark.parametrize(
    ("family", "keys", "residues"),
    [
        ("esm", {}, None),
        ("esm", {"position_embedding_type": "absolute"}, 36),
        ("t5", {}, None),
        ("bert", {}, 38),
    ],
)
def test_rows_longer_than_its_positions_are_refused(
    configs: Configs, family: str, keys: dict, residues: int | None
) -> None:
    backbone = from_config(family, {**configs[family], **keys})
    assert backbone.max_residues == residues
    longest = 400 if residues is None else residues
    assert backbone(*_batch(backbone, longest)).isfinite().all()
    if residues is not None:
        with pytest.raises(BackboneError, match=r"data\.max_length to 3[68]"):
            backbone.embed(*_batch(backbone, residues + 1))


def test_inference_mode_does_not_spoil_a_later_training_step(backbone: Backbone) -> None:
    """ESM caches rotary tables by length; those made in inference mode cannot serve a backward pass."""
    tokens_BL, mask_BL = _batch(backbone)
    with torch.inference_mode():
        expected_BLD = backbone(tokens_BL, mask_BL)
    hidden_BLD = backbone.embed(tokens_BL, mask_BL).requires_grad_()
    whole_BLD = backbone.finish(backbone.run_blocks(hidden_BLD, mask_BL, 0, 2))
    whole_BLD.square().sum().backward()
    assert hidden_BLD.grad is not None
    assert torch.equal(whole_BLD, expected_BLD)


@pytest.mark.parametrize("cast", [lambda module: module.bfloat16(), lambda module: module.to(torch.bfloat16)])
def test_casting_a_parent_keeps_rotary_positions_apart(configs: Configs, cast) -> None:
    backbone = from_config("esm", configs["esm"], seed=1)
    exact = [block.attention.self.rotary_embeddings.inv_freq.clone() for block in backbone.blocks]
    tokens_BL, mask_BL = _batch(backbone, 600)
    reference_BLD = backbone(tokens_BL, mask_BL)
    cast(torch.nn.Sequential(backbone))
    assert {parameter.dtype for parameter in backbone.parameters()} == {torch.bfloat16}
    kept = [block.attention.self.rotary_embeddings.inv_freq for block in backbone.blocks]
    assert all(torch.equal(before, after) for before, after in zip(exact, kept, strict=True))
    torch.testing.assert_close(backbone(tokens_BL, mask_BL).float(), reference_BLD, atol=0.1, rtol=0.05)


def test_casting_back_and_forth_forgets_cached_tables(configs: Configs) -> None:
    backbone = from_config("esm", configs["esm"], seed=1)
    tokens_BL, mask_BL = _batch(backbone)
    backbone(tokens_BL, mask_BL)
    rotary = backbone.blocks[0].attention.self.rotary_embeddings
    backbone.double()
    assert rotary._seq_len_cached is None
    assert backbone(tokens_BL, mask_BL).dtype == torch.float64


def test_blocks_compile_to_one_graph(backbone: Backbone) -> None:
    """Traced whole, without a break; run by torch's own operators, so the bits stay."""
    tokens_BL, mask_BL = _batch(backbone)
    hidden_BLD = backbone.embed(tokens_BL, mask_BL)
    compiled = torch.compile(
        lambda hidden, mask: backbone.run_blocks(hidden, mask, 1, 2), backend="eager", fullgraph=True
    )
    assert torch.equal(compiled(hidden_BLD, mask_BL), backbone.run_blocks(hidden_BLD, mask_BL, 1, 2))
