"""Heads see the residues of one chain and nothing else."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from liftray.adapt import heads
from liftray.adapt.heads.block_mix import BlockMix
from liftray.adapt.heads.lstm import UNITS, LstmHead
from liftray.adapt.heads.metric import MetricHead
from liftray.backbone.packed import WindowLayout
from liftray.config import HeadSettings
from liftray.sections.kinds import HEADS

_WIDTH, _CLASSES = 24, 9


@pytest.fixture(params=HEADS)
def head(request: pytest.FixtureRequest) -> torch.nn.Module:
    torch.manual_seed(0)
    return heads.build(HeadSettings(kind=request.param), _WIDTH, _CLASSES).eval()


def _inputs(lengths: list[int], seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, WindowLayout]:
    """Hidden states of packed chains with one special token in front of each and one behind."""
    generator = torch.Generator().manual_seed(seed)
    layout = WindowLayout.of(tuple(length + 2 for length in lengths))
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
        alone_LC = head(hidden_TD[here_T], residues_T[here_T], WindowLayout.of((length,)))
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


@torch.no_grad()
@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("mixed", [False, True])
def test_pads_tells_which_heads_lay_windows_out_as_rows(
    kind: Any, mixed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = HeadSettings(kind=kind, mix_blocks=mixed)
    rows: list[WindowLayout] = []
    pad = WindowLayout.pad
    monkeypatch.setattr(
        WindowLayout, "pad", lambda layout, packed: rows.append(layout) or pad(layout, packed)
    )
    heads.build(settings, _WIDTH, _CLASSES, blocks=2)(*_inputs([3, 5]))
    assert heads.head_class(settings).pads == bool(rows)


def _metric(**settings: float) -> MetricHead:
    torch.manual_seed(0)
    head = heads.build(HeadSettings(kind="metric", **settings), _WIDTH, _CLASSES).eval()
    assert isinstance(head, MetricHead)
    return head


@torch.no_grad()
def test_the_metric_head_gives_tau_times_the_correlation_of_embedding_and_centroid() -> None:
    """By NumPy's own correlation coefficient; 1e-5 in float32."""
    head, inputs = _metric(temperature=7.0), _inputs([5, 12])
    logits_TC = head(*inputs)
    embedding_TE = head.embedding(*inputs)
    correlation = np.corrcoef(embedding_TE.numpy(), head.centroids.numpy())
    by_hand_TC = 7.0 * torch.from_numpy(correlation[: len(embedding_TE), len(embedding_TE) :]).float()
    torch.testing.assert_close(logits_TC, by_hand_TC, atol=1e-5, rtol=1e-5)
    assert logits_TC.abs().max() <= 7.0 + 1e-5


@torch.no_grad()
def test_the_metric_head_predicts_the_nearest_centroid() -> None:
    head, inputs = _metric(), _inputs([30])

    def unit(x_NE: torch.Tensor) -> torch.Tensor:
        centred_NE = x_NE - x_NE.mean(-1, keepdim=True)
        return centred_NE / centred_NE.norm(dim=-1, keepdim=True)

    distance_TC = torch.cdist(unit(head.embedding(*inputs)), unit(head.centroids))
    nearest_T = distance_TC.argmin(-1)
    assert torch.equal(head(*inputs).argmax(-1), nearest_T)
    assert len(set(nearest_T.tolist())) > 1


@torch.no_grad()
@pytest.mark.parametrize(("factor", "added"), [(3.0, 0.0), (0.01, 0.0), (1.0, 5.0), (40.0, -2.0)])
@pytest.mark.parametrize("what", ["embedding", "centroids"])
def test_scale_and_offset_of_embeddings_and_centroids_change_nothing(
    what: str, factor: float, added: float
) -> None:
    """To rounding: 1e-4 of logits up to 18."""
    head, inputs = _metric(), _inputs([15, 4])
    before_TC = head(*inputs)
    for tensor in (head.embed.weight, head.embed.bias) if what == "embedding" else (head.centroids,):
        tensor.mul_(factor)
    (head.embed.bias if what == "embedding" else head.centroids).add_(added)
    torch.testing.assert_close(head(*inputs), before_TC, atol=1e-4, rtol=0)


@torch.no_grad()
def test_the_temperature_only_scales_the_logits() -> None:
    inputs = _inputs([9])
    torch.testing.assert_close(_metric(temperature=36.0)(*inputs), 2 * _metric()(*inputs))


def test_the_metric_head_is_the_conv_head_but_for_its_end() -> None:
    metric, conv = (
        {name: tuple(tensor.shape) for name, tensor in heads.build(HeadSettings(kind=kind), 8, 3).named_parameters()}
        for kind in ("metric", "conv")
    )  # fmt: skip
    assert metric.pop("centroids") == (3, 32)
    assert (conv.pop("classify.weight"), conv.pop("classify.bias")) == ((3, 32), (3,))
    assert metric == conv


def test_an_embedding_of_equal_numbers_has_a_bounded_gradient() -> None:
    head = _metric()
    with torch.no_grad():
        head.embed.weight.zero_()
        head.embed.bias.fill_(0.3)
    head(*_inputs([4])).sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in head.parameters())


@torch.no_grad()
def test_the_lstm_head_is_torchs_own_bidirectional_lstm_on_each_chain() -> None:
    """Up to the order in which a kernel sums: 1e-5 in float32."""
    torch.manual_seed(0)
    head = heads.build(HeadSettings(kind="lstm"), _WIDTH, _CLASSES).eval()
    assert isinstance(head, LstmHead)
    both = torch.nn.LSTM(_WIDTH, UNITS, batch_first=True, bidirectional=True)
    both.load_state_dict(
        head.onward.state_dict() | {f"{name}_reverse": tensor for name, tensor in head.back.state_dict().items()}
    )  # fmt: skip
    hidden_TD, residues_T, layout = _inputs([1, 7, 20])
    logits_TC = head(hidden_TD, residues_T, layout)
    for window in range(3):
        here_T = (layout.window_T == window) & residues_T
        expected_LC = head.classify(both(hidden_TD[here_T][None])[0][0])
        torch.testing.assert_close(logits_TC[here_T], expected_LC, atol=1e-5, rtol=1e-5)


def test_a_mix_of_blocks_begins_with_their_mean() -> None:
    mix = BlockMix(3)
    states = list(torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(mix(states), torch.stack(states).mean(0))


@torch.no_grad()
def test_a_mix_of_blocks_is_gamma_times_the_softmax_weighted_sum() -> None:
    mix = BlockMix(2)
    mix.weights.copy_(torch.tensor([0.0, math.log(3.0)]))
    mix.gamma.fill_(2.0)
    one, two = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(mix([one, two]), 2.0 * (0.25 * one + 0.75 * two))
    assert mix([one.bfloat16(), two.bfloat16()]).dtype == torch.bfloat16
