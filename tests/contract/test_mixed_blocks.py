"""A head with a mix of blocks reads the outputs of all blocks above the cut, and nothing below the cut changes.

Tolerance: none; the same operations on the same bits, except where a mean is taken in another order (1e-6).
"""

from typing import Any

import pytest
import torch

from liftray.adapt.tagger import Tagger, fingerprint
from liftray.errors import ConfigError
from tests.parts import tiny

_SEQUENCES = ["MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQ", "GSHMLEDPVAG", "A"]
_METHODS: dict[str, dict[str, Any]] = {
    "bottleneck": {"adapter__kind": "bottleneck"},
    "lora": {"adapter__kind": "lora"},
    "features": {"method": "features"},
    "full": {"method": "full"},
}
families = pytest.mark.parametrize("family", tiny.FAMILIES)
methods = pytest.mark.parametrize("method", _METHODS)
cuts = pytest.mark.parametrize("skip", range(tiny.BLOCKS))


def _model(family: str, method: str, skip: int, mixed: bool = True) -> Tagger:
    chosen = {**_METHODS[method], "adapter__skip_layers": skip, "head__mix_blocks": mixed}
    return tiny.tagger(family, **chosen).eval()


def _last(model: Tagger, block: int) -> None:
    """Give one block, counted from the cut, all the weight of the mix."""
    weights = model.head.mix.weights.data
    weights.fill_(-torch.inf)[block] = 0.0


@torch.no_grad()
def _hidden(model: Tagger) -> torch.Tensor:
    """One chain at a time: in a packed batch the last bits of a product depend on the number of rows."""
    batches = [tiny.batch(model.backbone, [sequence]) for sequence in _SEQUENCES]
    return torch.cat([model.suffix(model.prefix(*batch), batch[1]) for batch in batches])


@families
@methods
@cuts
def test_the_mix_of_the_last_block_alone_is_the_model_without_a_mix(
    family: str, method: str, skip: int
) -> None:
    mixed, plain = (tiny.move(_model(family, method, skip, which)) for which in (True, False))
    plain.load_state_dict(mixed.trained(), strict=False)
    mixed.head.mix.gamma.data.fill_(1.0)
    _last(mixed, -1)
    assert torch.equal(_hidden(mixed), _hidden(plain))


@families
@cuts
def test_the_mix_is_of_the_final_normed_outputs_above_the_cut(family: str, skip: int) -> None:
    """Of a frozen backbone: transformers' own hidden states after blocks k to n - 1, then its final norm."""
    model = _model(family, "features", skip)
    backbone = tiny.backbone(family)
    tokens_T, layout = tiny.batch(backbone, _SEQUENCES)
    with torch.no_grad():
        hidden_TD, outputs = backbone.embed(tokens_T, layout), []
        for number in range(tiny.BLOCKS):
            hidden_TD = backbone.run_blocks(hidden_TD, layout, number, number + 1)
            outputs.append(backbone.finish(hidden_TD))
    assert len(model.head.mix.weights) == tiny.BLOCKS - skip
    for place, output_TD in enumerate(outputs[skip:]):
        _last(model, place)
        # A chain alone has other last bits than a batch.
        torch.testing.assert_close(_hidden(model), output_TD, atol=1e-5, rtol=1e-5)
    model.head.mix.weights.data.zero_()
    mean_TD = torch.stack(outputs[skip:]).mean(0)
    torch.testing.assert_close(_hidden(model), mean_TD, atol=1e-5, rtol=1e-5)


@families
@methods
@cuts
@pytest.mark.parametrize("recompute", [False, True])
def test_gradients_reach_only_trained_weights(family: str, method: str, skip: int, recompute: bool) -> None:
    model = tiny.move(_model(family, method, skip)).train()
    model.backbone.recompute = recompute
    before = fingerprint(model)
    tokens_T, layout = tiny.batch(model.backbone, _SEQUENCES)
    model(tokens_T, layout).square().sum().backward()
    reached = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert reached == set(model.trained())
    # With one block there is no weight to train.
    assert bool(model.head.mix.weights.grad.any()) == (skip < tiny.BLOCKS - 1)
    assert model.head.mix.gamma.grad.any()
    assert fingerprint(model) == before


@families
def test_a_frozen_mix_has_the_entry_of_a_bottleneck(family: str) -> None:
    assert _model(family, "features", 1).cut.entry == 2
    assert _model(family, "features", 1, mixed=False).cut.entry == tiny.BLOCKS


def test_a_frozen_mix_of_no_blocks_is_refused() -> None:
    with pytest.raises(ConfigError, match="choose 0 to 2"):
        _model("esm", "features", tiny.BLOCKS)


@families
def test_the_mix_is_counted_with_the_head(family: str) -> None:
    mixed, plain = (_model(family, "lora", 1, which).count() for which in (True, False))
    assert mixed["head"] == plain["head"] + (tiny.BLOCKS - 1) + 1
    assert mixed["adapter"] == plain["adapter"]
