"""Prefixes and gates on packed batches match what the adapters library computes on padded rows.

Tolerance: kernels sum in another order, 5e-5 in float32. The library's gates (UniPELT) read the padding too, so those
are compared on one window. The library's T5 misplaces the relative position bias where there are prefixes (see
`backbone.attention`): it is compared with no bias, and block by block with the bias given to it.
"""

from typing import Any

import pytest
import torch
from adapters.context import ForwardContext
from torch import Tensor
from torch.nn import functional

from liftray.adapt.tagger import Tagger
from liftray.backbone import attention
from liftray.backbone.attention import attend
from liftray.backbone.packed import WindowLayout
from liftray.backbone.prefix_tuning import TrainedKeys
from tests.parts import tiny

_SEQUENCES = ["MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQ", "GSHMLEDPVAG", "A", "UBZOXJKLM"]
_CLOSE = {"atol": 5e-5, "rtol": 1e-5}
_PREFIX = 3
kinds = pytest.mark.parametrize("kind", ["prefix_tuning", "mam"])
cuts = pytest.mark.parametrize("skip", [0, 1])


def _model(family: str, kind: str, skip: int) -> Tagger:
    return tiny.move(
        tiny.tagger(
            family,
            adapter__kind=kind,
            adapter__skip_layers=skip,
            adapter__prefix_length=_PREFIX,
            adapter__prefix_hidden=8,
        )
    ).eval()


def _ours(model: Tagger, sequences: list[str]) -> Tensor:
    tokens_T, layout = tiny.batch(model.backbone, sequences)
    return model.suffix(model.prefix(tokens_T, layout), layout)


def _library(model: Tagger, sequences: list[str]) -> Tensor:
    tokens_BL, mask_BL = tiny.rows(model.backbone, sequences)
    whole_BLD = tiny.plain(model.backbone.hf)(input_ids=tokens_BL, attention_mask=mask_BL).last_hidden_state
    return tiny.batch(model.backbone, sequences)[1].unpad(whole_BLD)


@kinds
@cuts
@pytest.mark.parametrize("family", ["esm", "bert"])
@torch.no_grad()
def test_prefixes_match_the_library(family: str, kind: str, skip: int) -> None:
    model = _model(family, kind, skip)
    torch.testing.assert_close(_ours(model, _SEQUENCES), _library(model, _SEQUENCES), **_CLOSE)


@cuts
@pytest.mark.parametrize("family", tiny.FAMILIES)
@torch.no_grad()
def test_gates_match_the_library_on_one_window(family: str, skip: int) -> None:
    model = _model(family, "unipelt", skip)
    if family == "t5":
        _bias_of(model).zero_()
    for sequence in _SEQUENCES:
        torch.testing.assert_close(_ours(model, [sequence]), _library(model, [sequence]), **_CLOSE)


@kinds
@cuts
@torch.no_grad()
def test_prefixes_of_t5_match_the_library_without_the_bias(kind: str, skip: int) -> None:
    model = _model("t5", kind, skip)
    _bias_of(model).zero_()
    torch.testing.assert_close(_ours(model, _SEQUENCES), _library(model, _SEQUENCES), **_CLOSE)


@kinds
@cuts
@torch.no_grad()
def test_prefixes_of_t5_match_the_library_given_the_bias(kind: str, skip: int) -> None:
    model = _model("t5", kind, skip)
    _bias_of(model).mul_(10)
    tokens_T, layout = tiny.batch(model.backbone, _SEQUENCES)
    own: Any = tiny.plain(model.backbone.hf)
    hidden_BLD = layout.pad(model.prefix(tokens_T, layout))
    bias = own.encoder.block[0].layer[0].SelfAttention.compute_bias(layout.longest, layout.longest)
    hidden_mask = torch.where(layout.mask_BL, 0.0, torch.finfo(torch.float32).min)[:, None, None, :]
    bias = functional.pad(bias + hidden_mask, (_PREFIX, 0))
    with ForwardContext(own, hidden_BLD):
        for block in own.encoder.block[skip:]:
            hidden_BLD = block(hidden_BLD, position_bias=bias)[0]
    library_TD = layout.unpad(own.encoder.final_layer_norm(hidden_BLD))
    torch.testing.assert_close(_ours(model, _SEQUENCES), library_TD, **_CLOSE)


@cuts
@torch.no_grad()
def test_the_library_still_misplaces_the_bias_of_t5(skip: int) -> None:
    """If this fails the library has been repaired, and the tests above can compare with its own forward."""
    model = _model("t5", "prefix_tuning", skip)
    _bias_of(model).mul_(10)
    assert not torch.allclose(_ours(model, _SEQUENCES), _library(model, _SEQUENCES), atol=1e-2)


@pytest.mark.parametrize("family", tiny.FAMILIES)
@torch.no_grad()
def test_padded_rows_and_single_windows_give_the_same(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = _model(family, "unipelt", 1)
    expected_TD = _ours(model, _SEQUENCES)
    monkeypatch.setattr(attention, "window_by_window", attention.in_rows)
    torch.testing.assert_close(_ours(model, _SEQUENCES), expected_TD, **_CLOSE)


@pytest.mark.parametrize("with_bias", [False, True])
@torch.no_grad()
def test_a_prefix_is_attended_to_by_its_own_window(with_bias: bool) -> None:
    """By the formula: softmax over the prefix's keys and the window's own."""
    torch.manual_seed(0)
    lengths, heads, width = (5, 1, 3), 2, 4
    layout = WindowLayout.of(lengths)
    query, key, value = torch.randn(3, sum(lengths), heads, width)
    trained = TrainedKeys(*torch.randn(2, len(lengths), _PREFIX, heads, width))
    bias_HLL = torch.randn(heads, 5, 5) if with_bias else None
    out_TD = attend(query, key, value, layout, 0.5, bias_HLL, trained)
    start = 0
    for number, length in enumerate(lengths):
        here = slice(start, start + length)
        keys = torch.cat((trained.key_BPHE[number], key[here]))
        products = 0.5 * torch.einsum("qhe,khe->hqk", query[here], keys)
        if bias_HLL is not None:
            products[:, :, _PREFIX:] += bias_HLL[:, :length, :length]
        values = torch.cat((trained.value_BPHE[number], value[here]))
        wanted = torch.einsum("hqk,khe->qhe", products.softmax(-1), values).flatten(1)
        torch.testing.assert_close(out_TD[here], wanted)
        start += length


def test_prefixes_are_joined_in_front_of_their_windows() -> None:
    layout = WindowLayout.of((2, 3))
    before_BPX = torch.tensor([[[10.0], [11.0]], [[20.0], [21.0]]])
    packed = torch.tensor([[0.0], [1.0], [2.0], [3.0], [4.0]])
    joined = layout.join(before_BPX, packed).flatten().tolist()
    assert joined == [10, 11, 0, 1, 20, 21, 2, 3, 4]
    assert layout.longer(2).lengths == (4, 5)
    assert layout.longer(2).cu_lens.tolist() == [0, 4, 9]
    assert layout.window_mean(packed).flatten().tolist() == [0.5, 3.0]


def _bias_of(model: Tagger) -> Tensor:
    """T5's table of relative position biases."""
    table: Tensor = model.backbone.blocks[0].layer[0].SelfAttention.relative_attention_bias.weight.data  # type: ignore[union-attr, index]
    return table
