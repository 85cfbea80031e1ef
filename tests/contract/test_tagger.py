"""identity-initialised adapter == frozen model, and nothing below the cut or inside the backbone ever changes.

Tolerances: LoRA starts at B = 0, so its output has the bits of the frozen model. The library's bottleneck starts with
small random weights: its output is within 2 % of the frozen hidden state's norm, on every family. A chain alone and
in a batch differs by the order in which a kernel sums: 5e-5 in float32.
"""

import pytest
import torch

from liftray.adapt.tagger import Tagger, fingerprint
from liftray.sections.kinds import HEADS
from tests.parts import tiny

_SEQUENCES = ["MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQ", "GSHMLEDPVAG", "A", "UBZOXJKLM"]

everywhere = pytest.mark.parametrize("skip", [0, 1, tiny.BLOCKS - 1])
families = pytest.mark.parametrize("family", tiny.FAMILIES)
kinds = pytest.mark.parametrize("kind", ["bottleneck", "lora"])
heads = pytest.mark.parametrize("head", HEADS)


def _model(family: str, kind: str, skip: int, dtype: str = "float32", head: str = "linear") -> Tagger:
    return tiny.tagger(
        family,
        dtype,
        adapter__kind=kind,
        adapter__skip_layers=skip,
        adapter__reduction_factor=8,
        head__kind=head,
    )


def _hidden(model: Tagger) -> torch.Tensor:
    """One chain at a time: in a packed batch the last bits of a product depend on the number of rows."""
    batches = [tiny.batch(model.backbone, [sequence]) for sequence in _SEQUENCES]
    with torch.no_grad():
        return torch.cat([model.suffix(model.prefix(*batch), batch[1]) for batch in batches])


@families
@kinds
@everywhere
def test_a_fresh_adapter_is_the_frozen_model(family: str, kind: str, skip: int) -> None:
    fresh_TD = _hidden(_model(family, kind, skip))
    frozen_TD = _hidden(tiny.tagger(family, method="features"))
    if kind == "lora":
        assert torch.equal(fresh_TD, frozen_TD)
    else:
        assert (fresh_TD - frozen_TD).norm() < 0.02 * frozen_TD.norm()
    moved_TD = _hidden(tiny.move(_model(family, kind, skip)))
    assert (moved_TD - fresh_TD).norm() > 0.01 * frozen_TD.norm(), "the adapter does nothing"


@families
@kinds
@everywhere
def test_only_adapters_above_the_cut_and_the_head_change(family: str, kind: str, skip: int) -> None:
    model = tiny.move(_model(family, kind, skip)).train()
    tokens_T, layout = tiny.batch(model.backbone, _SEQUENCES)
    before, bits = fingerprint(model), {name: p.clone() for name, p in model.named_parameters()}
    hidden_TD = model.prefix(tokens_T, layout)
    assert not hidden_TD.requires_grad
    assert hidden_TD.grad_fn is None
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.1)
    model(tokens_T, layout).square().sum().backward()
    reached = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    optimizer.step()
    assert reached == set(model.trained())
    below = [parameter for block in model.backbone.blocks[:skip] for parameter in block.parameters()]
    assert not any(parameter.requires_grad for parameter in below)
    moved = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, bits[name])}
    assert moved == set(model.trained())
    assert fingerprint(model) == before


@families
@kinds
def test_the_fingerprint_detects_a_single_bit(family: str, kind: str) -> None:
    model = _model(family, kind, 1)
    before = fingerprint(model)
    tiny.move(model)
    assert fingerprint(model) == before
    weight = next(iter(model.frozen().values())).data.flatten()
    weight[5] = torch.nextafter(weight[5], torch.tensor(9.0))
    assert fingerprint(model) != before


@families
@kinds
def test_trained_parameters_are_float32_on_a_bfloat16_backbone(family: str, kind: str) -> None:
    model = tiny.move(_model(family, kind, 1, "bfloat16", "conv"))
    assert {parameter.dtype for parameter in model.trained().values()} == {torch.float32}
    assert {parameter.dtype for parameter in model.frozen().values()} == {torch.bfloat16}
    tokens_T, layout = tiny.batch(model.backbone, _SEQUENCES)
    logits_TC = model(tokens_T, layout)
    assert logits_TC.dtype == torch.float32
    logits_TC.sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in model.trained().values())
    exact = tiny.move(_model(family, kind, 1, "float32", "conv"))(tokens_T, layout)
    # bfloat16 holds 8 bits: a few per cent of the logits' spread after three blocks.
    assert (logits_TC - exact).abs().max() < 0.25 * exact.std()


@families
@heads
@torch.no_grad()
def test_residues_do_not_see_other_chains(family: str, head: str) -> None:
    model = tiny.move(_model(family, "bottleneck", 1, head=head)).eval()
    tokens_T, layout = tiny.batch(model.backbone, _SEQUENCES)
    together_TC = model(tokens_T, layout)
    for sequence, here_LC in zip(_SEQUENCES, together_TC.split(layout.lengths), strict=True):
        alone_LC = model(*tiny.batch(model.backbone, [sequence]))
        torch.testing.assert_close(here_LC, alone_LC, atol=5e-5, rtol=1e-5)


@families
@heads
@torch.no_grad()
def test_a_prediction_does_not_depend_on_the_other_chains(family: str, head: str) -> None:
    model = tiny.move(_model(family, "bottleneck", 1, head=head)).eval()
    tokens_T, layout = tiny.batch(model.backbone, _SEQUENCES)
    together_TC = model.logits(tokens_T, layout)
    for sequence, here_LC in zip(_SEQUENCES, together_TC.split(layout.lengths), strict=True):
        assert torch.equal(here_LC, model.logits(*tiny.batch(model.backbone, [sequence])))


@families
def test_residues_are_the_tokens_between_the_special_tokens(family: str) -> None:
    tokens = tiny.tagger(family).tokens
    layout = tiny.batch(tiny.backbone(family), _SEQUENCES)[1]
    residues_T = layout.residues(tokens.num_leading, tokens.num_trailing)
    for sequence, here_L in zip(_SEQUENCES, residues_T.split(layout.lengths), strict=True):
        inside = slice(tokens.num_leading, tokens.num_leading + len(sequence))
        assert here_L.sum() == len(sequence)
        assert here_L[inside].all()


def test_the_same_seed_gives_the_same_weights() -> None:
    one, two = tiny.tagger(), tiny.tagger()
    assert all(torch.equal(one.trained()[name], tensor) for name, tensor in two.trained().items())
