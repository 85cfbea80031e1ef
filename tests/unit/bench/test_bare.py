"""The bare loop computes what the whole model with the `adapters` library computes; only faster."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from liftray.bench import bare
from liftray.bench.bare_suffix import Suffix, fused, rotary, widened
from liftray.bench.competitors import models, paper
from liftray.bench.workload import Workload
from liftray.errors import ConfigError

TINY = Workload(shape="tiny", skip_layers=1, chains=5, longest=40, repeats=2, reduction_factor=8)
WHERE = [
    ("bottleneck", 1, "cut"),
    ("bottleneck", 1, "adapter"),
    ("bottleneck", 2, "adapter"),
    ("lora", 1, "cut"),
]


def whole(workload: Workload) -> tuple[paper.Tagger, list[list[nn.Parameter]]]:
    """The whole model with adapters that matter, and their parameters by block."""
    tagger = paper.Tagger(workload).eval()
    generator = torch.Generator().manual_seed(3)
    by_block = []
    for block in tagger.encoder.encoder.layer[workload.skip_layers :]:
        trained = [each for each in block.parameters() if each.requires_grad]
        for each in trained:
            each.data = 0.1 * torch.randn(each.shape, generator=generator)
        by_block.append(trained)
    return tagger, by_block


def bare_one(
    workload: Workload, tagger: paper.Tagger, by_block: list[list[nn.Parameter]], variant: Any
) -> Suffix:
    """The suffix with the same adapters and head."""
    suffix = bare.suffix(models.encoder(workload), workload, variant).eval()
    suffix.classify.load_state_dict(tagger.classify.state_dict())
    for adapter, trained in zip(suffix.adapters, by_block, strict=True):
        values = in_our_order(workload, [each.detach() for each in trained])
        for ours, theirs in zip(adapter.parameters(), values, strict=True):
            ours.data = theirs.clone()
    return suffix


def in_our_order(workload: Workload, values: list[Tensor]) -> list[Tensor]:
    """The library's tensors of one block as the suffix has them: query's and value's A are one matrix there."""
    if workload.kind == "bottleneck":
        return values
    query_a, query_b, value_a, value_b = values
    return [torch.cat([query_a, value_a]), query_b, value_b]


def logits_of(suffix: Suffix, workload: Workload, entry: Any) -> Tensor:
    state = workload.skip_layers + (entry == "adapter")
    cached = bare.hidden_states(models.encoder(workload).eval(), workload.encoded(), state, torch.float32)
    lengths = [len(each.labels_L) for each in cached]
    return suffix(torch.cat([each.hidden_LD for each in cached]), lengths, rotary(lengths, 2, torch.float32))


@pytest.mark.parametrize("attention", ["fused", "products", "widened"])
@pytest.mark.parametrize(("kind", "cut", "entry"), WHERE)
def test_suffix_over_cached_states_is_the_whole_model(
    kind: Any, cut: int, entry: Any, attention: Any
) -> None:
    workload = replace(TINY, kind=kind, skip_layers=cut)
    tagger, by_block = whole(workload)
    suffix = bare_one(workload, tagger, by_block, bare._Variant(0, attention, entry))

    ours_TC = logits_of(suffix, workload, entry)
    rows = [torch.from_numpy(each.tokens_L)[None] for each in workload.encoded()]
    theirs_TC = torch.cat([tagger(row, torch.ones_like(row))[0] for row in rows])
    # Rounding alone: products and sums are grouped otherwise.
    torch.testing.assert_close(ours_TC, theirs_TC, rtol=0, atol=5e-6)

    ours_TC.square().sum().backward()
    theirs_TC.square().sum().backward()
    for adapter, trained in zip(suffix.adapters, by_block, strict=True):
        wanted = in_our_order(workload, [each.grad for each in trained if each.grad is not None])
        for parameter, grad in zip(adapter.parameters(), wanted, strict=True):
            torch.testing.assert_close(parameter.grad, grad, rtol=1e-4, atol=1e-4)


def test_widened_attention_is_that_of_float32() -> None:
    query, key, value = torch.randn(3, 12, 2, 4, generator=torch.Generator().manual_seed(1)).bfloat16()

    mixed_TD = widened(query, key, value, (5, 7))

    assert mixed_TD.dtype == torch.bfloat16
    wide_TD = fused(query.float(), key.float(), value.float(), (5, 7))
    assert torch.equal(mixed_TD, wide_TD.bfloat16())


def test_nothing_frozen_is_a_parameter_and_trained_ones_are_float32() -> None:
    encoder = models.encoder(TINY)
    variant = bare._Variant(0, "products", "cut")
    suffix = bare.suffix(encoder, replace(TINY, precision="bfloat16"), variant)

    names = {name.split(".")[0] for name, _ in suffix.named_parameters()}
    assert names == {"adapters", "classify"}
    assert {each.dtype for each in suffix.parameters()} == {torch.float32}
    assert {each.dtype for each in suffix.buffers()} == {torch.bfloat16}


def test_a_frozen_state_is_what_the_encoder_says() -> None:
    encoder: Any = models.encoder(TINY).eval()
    chains = TINY.encoded()

    for state in (1, 3):
        for cached, chain in zip(
            bare.hidden_states(encoder, chains, state, torch.float32), chains, strict=True
        ):
            tokens_BL = torch.from_numpy(chain.tokens_L)[None]
            kept = encoder(tokens_BL, torch.ones_like(tokens_BL), output_hidden_states=True).hidden_states
            want = kept[state][0] if state < 3 else None
            if want is not None:
                torch.testing.assert_close(cached.hidden_LD, want)
            else:
                torch.testing.assert_close(
                    encoder.encoder.emb_layer_norm_after(cached.hidden_LD), kept[-1][0]
                )


def test_batches_hold_each_chain_once_within_the_budget() -> None:
    lengths, order = [5, 9, 2, 7, 1, 30, 4], [6, 5, 4, 3, 2, 1, 0]

    batches = list(bare.packed(lengths, order, 12))

    assert [row for batch in batches for row in batch] == order
    assert batches == [[6], [5], [4, 3, 2], [1], [0]]
    assert list(bare.packed([], [], 12)) == []


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_fastest_variant_is_reported_with_the_rates_of_all(precision: Any) -> None:
    timing = bare.run(replace(TINY, precision=precision), budgets=[64, 128], entries=["cut", "adapter"])

    rates = timing.details["residues_per_s"]
    assert len(rates) == 2 * 3 * 2
    assert timing.details["best"] == max(rates, key=rates.__getitem__)
    assert timing.residues_per_s == pytest.approx(max(rates.values()))
    assert len(timing.seconds) == 2


def test_a_pass_trains() -> None:
    encoder = models.encoder(TINY).eval()
    variant = bare._Variant(128, "fused", "adapter")
    suffix = bare.suffix(encoder, TINY, variant)
    before = {name: each.detach().clone() for name, each in suffix.named_parameters()}

    bare._training_pass(
        suffix, bare.hidden_states(encoder, TINY.encoded(), 2, torch.float32), variant, TINY
    )()

    assert all(not torch.equal(each, before[name]) for name, each in suffix.named_parameters())


def test_what_it_cannot_run_is_refused() -> None:
    with pytest.raises(ConfigError, match="not ProtT5-XL encoder on cpu"):
        bare.run(Workload(shape="prot_t5_xl"))
    with pytest.raises(ConfigError, match="only a bottleneck can be entered"):
        bare.run(replace(TINY, kind="lora"), entries=["adapter"])
