"""The contracts of the model on a device: split == whole, packed == padded, cached == uncached, and bfloat16.

Needs torch alone: no Ray, DeepSpeed or MLflow. `pytest tests/gpu -m gpu` runs the CUDA half.

Tolerances. Split == whole: none, the same operations on the same shapes. In float32, packed against each window alone
1e-4: kernels sum in another order. In bfloat16 (8 bits) 2 % of the norm between two layouts of the same windows, and
5 % between bfloat16 and float32, over three blocks.
"""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from liftray.adapt.tagger import Tagger
from liftray.backbone.packed import WindowLayout
from tests.parts import tiny

_CHAINS = ["MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQ", "GSHMLEDPVAG", "A", "ACDEFGHIKLMNPQRSTVWY" * 4]
_FLOAT32 = {"atol": 1e-4, "rtol": 1e-4}

family = pytest.mark.parametrize("family", tiny.FAMILIES)
dtype = pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
kind = pytest.mark.parametrize("kind", ["bottleneck", "lora", "prefix_tuning"])


def _model(device: torch.device, family: str, dtype: str, kind: str = "bottleneck") -> Tagger:
    options = {"adapter__kind": kind, "adapter__skip_layers": 1, "head__dropout": 0.0}
    options |= {"adapter__prefix_length": 4} if kind == "prefix_tuning" else {"adapter__reduction_factor": 8}
    return tiny.move(tiny.tagger(family, dtype, **options)).to(device).eval()


def _batch(model: Tagger, chains: Sequence[str], device: torch.device) -> tuple[Tensor, WindowLayout]:
    tokens_T, layout = tiny.batch(model.backbone, chains)
    return tokens_T.to(device), WindowLayout.of(layout.lengths, device)


def _far(one: Tensor, other: Tensor) -> float:
    """Norm of the difference in units of the other's norm."""
    return ((one.float() - other.float()).norm() / other.float().norm()).item()


@family
@dtype
@kind
@torch.no_grad()
def test_split_is_whole(device: torch.device, family: str, dtype: str, kind: str) -> None:
    model = _model(device, family, dtype, kind)
    tokens_T, layout = _batch(model, _CHAINS, device)
    with model.backbone.autocast(device.type):
        hidden_TD = model.prefix(tokens_T, layout)
    assert torch.equal(model(tokens_T, layout, hidden_TD), model(tokens_T, layout))


@family
@dtype
@kind
@torch.no_grad()
def test_packed_is_each_window_alone(device: torch.device, family: str, dtype: str, kind: str) -> None:
    model = _model(device, family, dtype, kind)
    tokens_T, layout = _batch(model, _CHAINS, device)
    packed_TC = model(tokens_T, layout)
    alone_TC = torch.cat([model(*_batch(model, [chain], device)) for chain in _CHAINS])
    if dtype == "float32":
        torch.testing.assert_close(packed_TC, alone_TC, **_FLOAT32)
    assert _far(packed_TC, alone_TC) < 0.02


@family
@torch.no_grad()
def test_packed_is_what_transformers_computes_padded(device: torch.device, family: str) -> None:
    backbone = tiny.backbone(family).to(device)
    plain = tiny.plain(backbone.hf)
    tokens_T, layout = tiny.batch(backbone, _CHAINS)
    tokens_BL, mask_BL = (tensor.to(device) for tensor in tiny.rows(backbone, _CHAINS))
    whole_BLD = plain(input_ids=tokens_BL, attention_mask=mask_BL).last_hidden_state
    layout = WindowLayout.of(layout.lengths, device)
    torch.testing.assert_close(backbone(tokens_T.to(device), layout), layout.unpad(whole_BLD), **_FLOAT32)


@family
@dtype
@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16])
@torch.no_grad()
def test_cached_is_uncached(device: torch.device, family: str, dtype: str, stored: torch.dtype) -> None:
    """States of the frozen prefix go through the CPU and the precision of a cache."""
    model = _model(device, family, dtype)
    tokens_T, layout = _batch(model, _CHAINS, device)
    with model.backbone.autocast(device.type):
        hidden_TD = model.prefix(tokens_T, layout)
    read_TD = hidden_TD.to(stored).cpu().to(device)
    cached_TC, uncached_TC = model(tokens_T, layout, read_TD), model(tokens_T, layout)
    if stored == hidden_TD.dtype:
        assert torch.equal(cached_TC, uncached_TC)
    assert _far(cached_TC, uncached_TC) < 0.02


@family
@torch.no_grad()
def test_bfloat16_is_near_float32(device: torch.device, family: str) -> None:
    exact, rounded = (_model(device, family, name) for name in ("float32", "bfloat16"))
    exact_TC, rounded_TC = (model(*_batch(model, _CHAINS, device)) for model in (exact, rounded))
    assert rounded_TC.dtype == torch.float32, "logits are float32 whatever the model's precision"
    assert 0 < _far(rounded_TC, exact_TC) < 0.05


@family
@dtype
@kind
def test_gradients_are_those_of_each_window_alone(
    device: torch.device, family: str, dtype: str, kind: str
) -> None:
    model = _model(device, family, dtype, kind)
    tokens_T, layout = _batch(model, _CHAINS, device)
    _loss(model(tokens_T, layout)).backward()
    packed = {name: weight.grad.clone() for name, weight in model.trained().items()}
    model.zero_grad()
    for chain in _CHAINS:
        _loss(model(*_batch(model, [chain], device))).backward()
    alone = {name: weight.grad for name, weight in model.trained().items()}
    assert all(gradient.isfinite().all() for gradient in packed.values())
    both = [torch.cat([one[name].flatten() for name in sorted(one)]) for one in (packed, alone)]
    assert _far(*both) < (1e-4 if dtype == "float32" else 0.02)


def _loss(logits_TC: Tensor) -> Tensor:
    """A sum over tokens, so that windows add up however they are batched."""
    return functional.cross_entropy(logits_TC, torch.zeros_like(logits_TC[:, 0]).long(), reduction="sum")
