from typing import Any

import pytest
import torch

from liftray.backbone.families import FAMILIES
from liftray.backbone.model import Backbone, from_config
from liftray.backbone.packed import WindowLayout
from liftray.errors import BackboneError

Configs = dict[str, dict[str, Any]]


@pytest.fixture(params=FAMILIES)
def backbone(configs: Configs, request: pytest.FixtureRequest) -> Backbone:
    return from_config(request.param, configs[request.param], seed=1)


def _batch(backbone: Backbone, length: int = 20) -> tuple[torch.Tensor, WindowLayout]:
    tokens_T = torch.from_numpy(backbone.tokens.encode(("MKTAYIAKQRQISFVKSHFS" * 50)[:length]))
    return tokens_T, WindowLayout.of((len(tokens_T),))


def test_it_starts_frozen_and_in_eval_mode(backbone: Backbone) -> None:
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    assert not any(module.training for module in backbone.modules())
    assert len(backbone.blocks) == backbone.num_blocks == 2
    assert backbone.width == 16


def test_train_mode_gives_the_bits_of_eval_mode(backbone: Backbone) -> None:
    parent = torch.nn.Sequential(backbone)
    tokens_T, layout = _batch(backbone)
    still_TD = backbone(tokens_T, layout)
    parent.train()
    assert backbone.training
    assert torch.equal(backbone(tokens_T, layout), still_TD)


def test_no_pooler_or_head_is_left(backbone: Backbone) -> None:
    names = [name for name, _ in backbone.named_parameters()]
    assert not [name for name in names if "pooler" in name or "head" in name or "lm_" in name]


def test_hidden_states_have_the_width(backbone: Backbone) -> None:
    tokens_T, layout = _batch(backbone)
    hidden_TD = backbone.embed(tokens_T, layout)
    assert hidden_TD.shape == (*tokens_T.shape, backbone.width)
    assert torch.equal(backbone.run_blocks(hidden_TD, layout, 1, 1), hidden_TD)


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
    tokens_T, layout = _batch(backbone)
    with torch.inference_mode():
        expected_TD = backbone(tokens_T, layout)
    hidden_TD = backbone.embed(tokens_T, layout).requires_grad_()
    whole_TD = backbone.finish(backbone.run_blocks(hidden_TD, layout, 0, 2))
    whole_TD.square().sum().backward()
    assert hidden_TD.grad is not None
    assert torch.equal(whole_TD, expected_TD)


@torch.no_grad()
def test_what_lies_above_a_cut_works_alone(backbone: Backbone) -> None:
    tokens_T, layout = _batch(backbone)
    whole_TD = backbone(tokens_T, layout)
    hidden_TD = backbone.run_frozen(tokens_T, layout, 1)
    before = sum(parameter.numel() for parameter in backbone.parameters())
    backbone.drop_below(1)
    assert sum(parameter.numel() for parameter in backbone.parameters()) < 0.7 * before
    assert torch.equal(backbone.finish(backbone.run_blocks(hidden_TD, layout, 1, 2)), whole_TD)


def test_recomputed_activations_give_the_same_gradient(backbone: Backbone) -> None:
    tokens_T, layout = _batch(backbone)
    gradients = []
    for recompute in (False, True):
        backbone.recompute = recompute
        hidden_TD = backbone.run_frozen(tokens_T, layout, 1).requires_grad_()
        backbone.run_blocks(hidden_TD, layout, 1, 2).square().sum().backward()
        gradients.append(hidden_TD.grad)
    assert torch.equal(*gradients)


@pytest.mark.parametrize("cast", [lambda module: module.bfloat16(), lambda module: module.to(torch.bfloat16)])
def test_casting_a_parent_keeps_rotary_positions_apart(configs: Configs, cast) -> None:
    backbone = from_config("esm", configs["esm"], seed=1)
    exact = [block.attention.self.rotary_embeddings.inv_freq.clone() for block in backbone.blocks]
    tokens_T, layout = _batch(backbone, 600)
    reference_TD = backbone(tokens_T, layout)
    cast(torch.nn.Sequential(backbone))
    assert {parameter.dtype for parameter in backbone.parameters()} == {torch.bfloat16}
    kept = [block.attention.self.rotary_embeddings.inv_freq for block in backbone.blocks]
    assert all(torch.equal(before, after) for before, after in zip(exact, kept, strict=True))
    torch.testing.assert_close(backbone(tokens_T, layout).float(), reference_TD, atol=0.1, rtol=0.05)


def test_blocks_compile_to_one_graph(backbone: Backbone) -> None:
    """Traced whole, without a break; run by torch's own operators, so the bits stay."""
    tokens_T, layout = _batch(backbone)
    hidden_TD = backbone.embed(tokens_T, layout)
    compiled = torch.compile(
        lambda hidden: backbone.run_blocks(hidden, layout, 1, 2), backend="eager", fullgraph=True
    )
    assert torch.equal(compiled(hidden_TD), backbone.run_blocks(hidden_TD, layout, 1, 2))
