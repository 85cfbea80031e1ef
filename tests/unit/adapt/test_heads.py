"""Heads see the residues of one chain and nothing else."""

import pytest
import torch

from liftray.adapt import heads
from liftray.config import HeadSettings

_WIDTH, _CLASSES = 24, 9


@pytest.fixture(params=["linear", "conv"])
def head(request: pytest.FixtureRequest) -> torch.nn.Module:
    torch.manual_seed(0)
    return heads.build(HeadSettings(kind=request.param), _WIDTH, _CLASSES).eval()


def _inputs(lengths: list[int], width: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Hidden states with one special token in front and one behind, garbage in the padding."""
    generator = torch.Generator().manual_seed(seed)
    hidden_BLD = torch.randn(len(lengths), width, _WIDTH, generator=generator)
    place_L = torch.arange(width)
    ends_B1 = torch.tensor(lengths)[:, None] + 1
    return hidden_BLD, (place_L >= 1) & (place_L < ends_B1)


@torch.no_grad()
def test_what_stands_outside_the_residues_never_reaches_them(head: torch.nn.Module) -> None:
    hidden_BLD, residues_BL = _inputs([1, 7, 20], 24)
    logits_BLC = head(hidden_BLD, residues_BL)
    other_BLD = torch.where(residues_BL[..., None], hidden_BLD, 100 * torch.randn_like(hidden_BLD))
    assert torch.equal(head(other_BLD, residues_BL)[residues_BL], logits_BLC[residues_BL])


@torch.no_grad()
def test_rows_do_not_see_each_other(head: torch.nn.Module) -> None:
    hidden_BLD, residues_BL = _inputs([1, 7, 20], 24)
    logits_BLC = head(hidden_BLD, residues_BL)
    changed_BLD = hidden_BLD.clone()
    changed_BLD[1] = 50.0
    again_BLC = head(changed_BLD, residues_BL)
    assert torch.equal(again_BLC[[0, 2]], logits_BLC[[0, 2]])
    assert not torch.equal(again_BLC[1], logits_BLC[1])


@torch.no_grad()
def test_a_row_alone_without_padding_gets_the_same_logits(head: torch.nn.Module) -> None:
    """Up to the order in which a kernel sums: 1e-5 in float32."""
    lengths = [1, 7, 20]
    hidden_BLD, residues_BL = _inputs(lengths, 24)
    logits_BLC = head(hidden_BLD, residues_BL)
    for row, length in enumerate(lengths):
        alone_BLC = head(hidden_BLD[row : row + 1, : length + 2], residues_BL[row : row + 1, : length + 2])
        torch.testing.assert_close(alone_BLC[0, 1:-1], logits_BLC[row, 1 : length + 1], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_the_conv_head_sees_six_residues_to_each_side() -> None:
    """Half of the width-9 convolution (4), and one residue for each unit's width-3 one: 6 in all."""
    torch.manual_seed(0)
    head = heads.build(HeadSettings(kind="conv"), _WIDTH, _CLASSES).eval()
    hidden_BLD, residues_BL = _inputs([30], 32)
    logits_BLC = head(hidden_BLD, residues_BL)
    changed_BLD = hidden_BLD.clone()
    changed_BLD[0, 15] += 5.0
    moved = (head(changed_BLD, residues_BL) != logits_BLC).any(-1)[0].nonzero().flatten().tolist()
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
    hidden_BLD, residues_BL = _inputs([20], 22)
    assert torch.equal(head(hidden_BLD, residues_BL), head(hidden_BLD, residues_BL))
    head.train()
    torch.manual_seed(1)
    first_BLC = head(hidden_BLD, residues_BL)
    assert not torch.equal(first_BLC, head(hidden_BLD, residues_BL))
    torch.manual_seed(1)
    assert torch.equal(first_BLC, head(hidden_BLD, residues_BL))
