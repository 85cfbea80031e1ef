"""Heads see the residues of one chain and nothing else."""

import pytest
import torch

from liftray.adapt import heads
from liftray.backbone.attention import Layout
from liftray.config import HeadSettings

_WIDTH, _CLASSES = 24, 9


@pytest.fixture(params=["linear", "conv"])
def head(request: pytest.FixtureRequest) -> torch.nn.Module:
    torch.manual_seed(0)
    return heads.build(HeadSettings(kind=request.param), _WIDTH, _CLASSES).eval()


def _inputs(lengths: list[int], seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, Layout]:
    """Hidden states of packed chains with one special token in front of each and one behind."""
    generator = torch.Generator().manual_seed(seed)
    layout = Layout.of(tuple(length + 2 for length in lengths))
    return torch.randn(sum(layout.lengths), _WIDTH, generator=generator), layout.residues(1, 1), layout


@torch.no_grad()
def test_what_stands_outside_the_residues_never_reaches_them(head: torch.nn.Module) -> None:
    hidden_TD, residues_T, layout = _inputs([1, 7, 20])
    logits_TC = head(hidden_TD, residues_T, layout)
    other_TD = torch.where(residues_T[:, None], hidden_TD, 100 * torch.randn_like(hidden_TD))
    assert torch.equal(head(other_TD, residues_T, layout)[residues_T], logits_TC[residues_T])


@torch.no_grad()
def test_chains_do_not_see_each_other(head: torch.nn.Module) -> None:
    hidden_TD, residues_T, layout = _inputs([1, 7, 20])
    logits_TC = head(hidden_TD, residues_T, layout)
    changed_TD = torch.where((layout.window_T == 1)[:, None], 50.0, hidden_TD)
    again_TC = head(changed_TD, residues_T, layout)
    assert torch.equal(again_TC[layout.window_T != 1], logits_TC[layout.window_T != 1])
    assert not torch.equal(again_TC[layout.window_T == 1], logits_TC[layout.window_T == 1])


@torch.no_grad()
def test_a_chain_alone_gets_the_same_logits(head: torch.nn.Module) -> None:
    """Up to the order in which a kernel sums: 1e-5 in float32."""
    hidden_TD, residues_T, layout = _inputs([1, 7, 20])
    logits_TC = head(hidden_TD, residues_T, layout)
    for window, length in enumerate(layout.lengths):
        here_T = layout.window_T == window
        alone_LC = head(hidden_TD[here_T], residues_T[here_T], Layout.of((length,)))
        torch.testing.assert_close(alone_LC[1:-1], logits_TC[here_T][1:-1], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_the_conv_head_sees_six_residues_to_each_side() -> None:
    """Half of the width-9 convolution (4), and one residue for each unit's width-3 one: 6 in all."""
    torch.manual_seed(0)
    head = heads.build(HeadSettings(kind="conv"), _WIDTH, _CLASSES).eval()
    hidden_TD, residues_T, layout = _inputs([30])
    logits_TC = head(hidden_TD, residues_T, layout)
    changed_TD = hidden_TD.clone()
    changed_TD[15] += 5.0
    moved = (head(changed_TD, residues_T, layout) != logits_TC).any(-1).nonzero().flatten().tolist()
    assert moved == list(range(15 - 6, 15 + 6 + 1))


def test_the_conv_head_has_the_layers_of_the_paper() -> None:
    head = heads.build(HeadSettings(kind="conv"), _WIDTH, _CLASSES)
    shapes = {name: tuple(tensor.shape) for name, tensor in head.named_parameters() if tensor.ndim > 1}
    assert shapes == {
        "units.0.pointwise.weight": (1024, _WIDTH, 1),
        "units.0.near.weight": (512, 512, 3),
        "units.1.pointwise.weight": (1024, 1024, 1),
        "units.1.near.weight": (512, 512, 3),
        "wide.weight": (96, 1024, 9),
        "embed.weight": (32, 96),
        "classify.weight": (_CLASSES, 32),
    }


def test_dropout_acts_in_training_only(head: torch.nn.Module) -> None:
    inputs = _inputs([20])
    assert torch.equal(head(*inputs), head(*inputs))
    head.train()
    torch.manual_seed(1)
    first_TC = head(*inputs)
    assert not torch.equal(first_TC, head(*inputs))
    torch.manual_seed(1)
    assert torch.equal(first_TC, head(*inputs))
