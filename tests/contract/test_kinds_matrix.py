"""Every adapter kind on every family starts at the frozen model, trains only its own weights, changes nothing below the
cut, loads from its bundle, and predicts the same from a cached input. Full fine-tuning likewise.

Tolerances. Kinds whose added part begins at zero, or whose factors begin at one, have the bits of the frozen model.
Bottlenecks begin with small weights: within 2 % of the hidden state's norm. Compacters' shared factors begin near 1e-4:
within 1e-5. Prefixes have no neutral value: nothing is claimed. All else: exact, the same operations on the same bits.
"""

from pathlib import Path
from typing import Any

import pytest
import torch

from liftray.adapt import tagger as taggers
from liftray.adapt.tagger import Tagger, TaggerSettings, fingerprint
from liftray.backbone import model as backbones
from liftray.backbone.sources import resolve
from liftray.predict import bundle
from liftray.sections.kinds import ADAPTERS
from tests.parts import tiny

_SEQUENCES = ["MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQ", "GSHMLEDPVAG", "A", "UBZOXJKLM"]
_EXACT, _NEAR, _CLOSE = 0.0, 0.02, 1e-5
_PLACES = ("output", "attention", "both")


def _wide(kind: str, **more: Any) -> dict[str, Any]:
    return {"adapter__kind": kind, "adapter__reduction_factor": 8, **more}


# Case -> settings, and how far from the frozen model it may begin; None: anywhere.
_CASES: dict[str, tuple[dict[str, Any], float | None]] = {
    **{
        f"{kind}-{place}": (_wide(kind, adapter__location=place), share)
        for kind, share in (
            ("bottleneck", _NEAR),
            ("parallel_bottleneck", _EXACT),
            ("compacter", _CLOSE),
            ("parallel_compacter", _CLOSE),
        )
        for place in _PLACES
    },
    **{
        f"{kind}-{place}": (_wide(kind, adapter__lora_location=place), _EXACT)
        for kind in ("lora", "dora")
        for place in ("attention", "feed_forward", "both")
    },
    "ia3": ({"adapter__kind": "ia3"}, _EXACT),
    "prefix_tuning": ({"adapter__kind": "prefix_tuning", "adapter__prefix_hidden": 8}, None),
    "prefix_tuning-flat": ({"adapter__kind": "prefix_tuning", "adapter__prefix_hidden": 0}, None),
    "mam": (_wide("mam", adapter__prefix_hidden=8), None),
    "unipelt": (_wide("unipelt", adapter__prefix_hidden=8), None),
    "full": ({"method": "full"}, _EXACT),
}
# All other cases are variants of these.
_MAIN = (
    *("bottleneck-output", "parallel_bottleneck-both", "compacter-output", "parallel_compacter-attention"),
    *("lora-both", "dora-both", "ia3", "prefix_tuning", "mam", "unipelt", "full"),
)
families = pytest.mark.parametrize("family", tiny.FAMILIES)
main_cases = pytest.mark.parametrize("case", _MAIN)


def _model(family: str, case: str, skip: int, dtype: str = "float32") -> Tagger:
    return tiny.tagger(family, dtype, adapter__skip_layers=skip, **_CASES[case][0])


@torch.no_grad()
def _hidden(model: Tagger) -> torch.Tensor:
    """One chain at a time: in a packed batch the last bits of a product depend on the number of rows."""
    batches = [tiny.batch(model.backbone, [sequence]) for sequence in _SEQUENCES]
    with model.backbone.autocast("cpu"):
        return torch.cat([model.suffix(model.prefix(*batch), batch[1]) for batch in batches]).float()


def test_every_kind_has_a_case() -> None:
    assert {settings.get("adapter__kind") for settings, _ in _CASES.values()} == {None, *ADAPTERS}


@families
@pytest.mark.parametrize(
    ("case", "skip"), [(case, skip) for case in _CASES for skip in ((0, 1, 2) if case in _MAIN else (1,))]
)
def test_a_kind_starts_at_the_frozen_model_and_training_changes_it(family: str, case: str, skip: int) -> None:
    fresh_TD, frozen_TD = _hidden(_model(family, case, skip)), _hidden(tiny.tagger(family, method="features"))
    share = _CASES[case][1]
    if share == _EXACT:
        assert torch.equal(fresh_TD, frozen_TD)
    elif share is not None:
        assert (fresh_TD - frozen_TD).norm() < share * frozen_TD.norm()
    moved_TD = _hidden(tiny.move(_model(family, case, skip)))
    assert (moved_TD - fresh_TD).norm() > 1e-3 * frozen_TD.norm(), "it does nothing"


@families
@pytest.mark.parametrize("case", [case for case, (_, share) in _CASES.items() if share == _EXACT])
def test_a_kind_starts_at_the_frozen_bfloat16_model(family: str, case: str) -> None:
    fresh_TD = _hidden(_model(family, case, 1, "bfloat16"))
    frozen_TD = _hidden(tiny.tagger(family, "bfloat16", method="features"))
    # Full fine-tuning holds norms and biases in float32, so the stream between its blocks is not rounded.
    assert (fresh_TD - frozen_TD).norm() <= (0.02 if case == "full" else 0.0) * frozen_TD.norm()


@families
@pytest.mark.parametrize(
    ("case", "recompute"),
    [(case, recompute) for case in _CASES for recompute in (False, True) if case in _MAIN or not recompute],
)
def test_only_trained_weights_get_a_gradient_and_change(family: str, case: str, recompute: bool) -> None:
    model = tiny.move(_model(family, case, 1)).train()
    model.backbone.recompute = recompute
    tokens_T, layout = tiny.batch(model.backbone, _SEQUENCES)
    before, bits = fingerprint(model), {name: p.clone() for name, p in model.named_parameters()}
    hidden_TD = model.prefix(tokens_T, layout)
    assert not hidden_TD.requires_grad
    model(tokens_T, layout).square().sum().backward()
    reached = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    # The bias of keys cancels in the softmax: its gradient is rounding, which may be zero.
    assert {name for name in model.trained() if not name.endswith("key.bias")} <= reached
    assert reached <= set(model.trained())
    below = [parameter for block in model.backbone.blocks[:1] for parameter in block.parameters()]
    assert below
    assert not any(parameter.requires_grad or parameter.grad is not None for parameter in below)
    torch.optim.AdamW(model.parameters(), lr=0.1, weight_decay=0.1).step()
    assert fingerprint(model) == before
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, bits[name])}
    assert moved == set(model.trained())


@families
@main_cases
def test_recomputed_activations_change_no_bit(family: str, case: str) -> None:
    found = []
    for recompute in (False, True):
        model = tiny.move(_model(family, case, 1))
        model.backbone.recompute = recompute
        torch.manual_seed(0)  # The head's dropout.
        model(*tiny.batch(model.backbone, _SEQUENCES)).square().sum().backward()
        found.append({name: parameter.grad for name, parameter in model.trained().items()})
    assert all(torch.equal(gradient, found[1][name]) for name, gradient in found[0].items())


@families
@main_cases
@torch.no_grad()
def test_windows_do_not_see_each_other(family: str, case: str) -> None:
    model = tiny.move(_model(family, case, 1)).eval()
    tokens_T, layout = tiny.batch(model.backbone, _SEQUENCES)
    together_TC = model(tokens_T, layout)
    for sequence, here_LC in zip(_SEQUENCES, together_TC.split(layout.lengths), strict=True):
        alone_LC = model(*tiny.batch(model.backbone, [sequence]))
        torch.testing.assert_close(here_LC, alone_LC, atol=5e-5, rtol=1e-5)


@families
@main_cases
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("skip", [0, 2])
def test_a_model_above_its_cut_takes_the_steps_of_the_whole_one(
    family: str, case: str, dtype: Any, skip: int
) -> None:
    whole = tiny.move(_model(family, case, skip, dtype))
    part = tiny.backbone(family, dtype)
    part.first_block = whole.cut.entry
    above = taggers.build(part, whole.settings, seed=5)
    assert above.trained().keys() == whole.trained().keys()
    above.load_state_dict(whole.trained(), strict=False)
    tokens_T, layout = tiny.batch(whole.backbone, _SEQUENCES)
    hidden_TD = whole.prefix(tokens_T, layout)
    gradients = []
    for model, given in ((whole, None), (above, hidden_TD)):
        torch.manual_seed(0)  # The head's dropout.
        logits_TC = model(tokens_T, layout, given)
        logits_TC.square().sum().backward()
        gradients.append({name: parameter.grad for name, parameter in model.trained().items()})
    assert all(torch.equal(gradient, gradients[1][name]) for name, gradient in gradients[0].items())


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("backbones")
    return {family: tiny.write_backbone(root / family, family) for family in tiny.FAMILIES}


@families
@main_cases
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@torch.no_grad()
def test_a_loaded_bundle_is_the_trained_model(
    sources: dict[str, str], tmp_path: Path, family: str, case: str, dtype: Any
) -> None:
    chosen = tiny.settings(adapter__skip_layers=1, task="ss9", **_CASES[case][0])
    resolved = resolve([sources[family]])
    model = tiny.move(taggers.build(backbones.load(resolved, dtype=dtype), TaggerSettings.of(chosen), seed=4))
    weights = {name: parameter.detach().clone() for name, parameter in model.trained().items()}
    assembled = bundle.assemble(resolved, model.settings, dtype, weights)
    info = bundle.save(assembled, tmp_path / "bundle", [sources[family]], {})
    loaded = bundle.load(tmp_path / "bundle").tagger
    batch = tiny.batch(model.backbone, _SEQUENCES)
    assert torch.equal(loaded(*batch), model.eval()(*batch))
    mine, theirs = dict(model.named_parameters()), dict(loaded.named_parameters())
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert all(mine[name].dtype == theirs[name].dtype for name in mine)
    assert info["backbone"]["dtype"] == dtype
    tensors = sum(path.stat().st_size for path in (tmp_path / "bundle").rglob("*.safetensors"))
    trained = 4 * model.count()["trained"]
    assert trained <= tensors <= trained + 8192, "not the size of what was trained"


@families
@pytest.mark.parametrize("skip", [0, 1, tiny.BLOCKS - 1])
def test_full_fine_tuning_trains_the_blocks_above_the_cut_and_the_final_norm(family: str, skip: int) -> None:
    model = _model(family, "full", skip)
    assert model.cut.entry == skip
    embedding = model.backbone.hf.get_input_embeddings().weight
    assert not embedding.requires_grad
    for number, block in enumerate(model.backbone.blocks):
        assert {parameter.requires_grad for parameter in block.parameters()} == {number >= skip}
    if family != "bert":
        names = [name for name in model.trained() if "emb_layer_norm_after" in name or "final_layer" in name]
        assert names
    counts = model.count()
    plain = sum(parameter.numel() for parameter in tiny.backbone(family).parameters())
    assert counts["backbone"] == plain
    assert counts["adapter"] == 0
    assert counts["head"] < counts["trained"] < plain + counts["head"]
