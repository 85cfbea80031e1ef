"""`train`: training as users would run it otherwise, our own path, and the upper limit, in residues/s.

Compared: (a) `hf_peft`, Hugging Face Trainer with LoRA on all blocks; (b) `paper`, the loop of the paper; (c)
`ours_uncached`; `ours_warm`, with the frozen prefix read from a full cache; and `bare`, plain PyTorch over the cached
states. Target: `ours_warm` 8 times (a) for ESM-2 8M above block 4, 7 times for the 35M and 150M shapes with three
quarters of the blocks frozen, and 85 % of `bare` (the row `ours_warm_of_bare`). A shape without a
model for (a) is compared with (b). On a GPU there is no `bare`, and `ours_warm_mfu` is the share of the device's peak.

Invariant: all run on the same chains, weights, head and precision. The ceilings are those of `flops.ceilings`; they
count only the padding and the blocks of (a).
"""

from dataclasses import dataclass
from typing import Any

from liftray.bench import flops
from liftray.bench.bench_report import Row, row
from liftray.bench.suites import contest
from liftray.bench.suites.contest import Contestant, Outcome, facts, hold, rate

# The fastest variants of the bare loop; the others would only take time.
_ATTENTIONS = {"float32": ["fused"], "bfloat16": ["products", "widened"]}
_PAPER_BATCH = 4


@dataclass(frozen=True)
class Sizes(contest.Sizes):
    """How much is measured; `shape`, `skip_layers`, `precision` and `device` choose what."""


def run(sizes: Sizes) -> tuple[list[Row], dict[str, Any]]:
    """Run the measurement.

    Returns:
        Rows in residues/s, and the further facts that the figures depend on.
    """
    outcomes = hold("train", contestants(sizes), sizes)
    predicted = predicted_ratios(sizes)
    base, *others = outcomes
    first = rate(base, outcomes[base])
    rows = {base: first}
    for name in others:
        limit = predicted.get(name)
        rows[name] = rate(name, outcomes[name], first, limit and limit / predicted[base])
    shares = [
        row(f"ours_warm_of_{name}", rows["ours_warm"].value, contest.RATE, rows[name], limit)
        for name, limit in (("bare", 1.0), ("ours_uncached", _gain_of_cache(predicted)))
        if name in rows
    ]
    return [*rows.values(), *shares, *_mfu(sizes, outcomes)], facts(outcomes, sizes)


def contestants(sizes: Sizes) -> dict[str, Contestant]:
    """The base is first: (a), or (b) where the family has no (a)."""
    budget = {"tokens_per_batch": sizes.tokens_per_batch}
    is_esm = sizes.model.family == "esm"
    entries = ["cut", "adapter"] if sizes.cut.enters_behind_block else ["cut"]
    bare = {"budgets": [2048, 4096], "attentions": _ATTENTIONS[sizes.precision], "entries": entries}
    return {
        **({"hf_peft": Contestant("hf_peft")} if is_esm else {}),
        "paper": Contestant("paper"),
        "ours_uncached": Contestant("ours", {"cache": "off", **budget}),
        "ours_warm": Contestant("ours", {"cache": "warm", **budget}),
        **({"bare": Contestant("bare", bare)} if is_esm and sizes.device == "cpu" else {}),
    }


def predicted_ratios(sizes: Sizes) -> dict[str, float]:
    """The largest gain of each contestant over (a); none where only one adapter and the head are left."""
    lengths = [len(each.tokens_L) for each in sizes.encoded()]
    bottleneck = sizes.cut.enters_behind_block
    limits = flops.ceilings(
        sizes.model.blocks, sizes.skip_layers, lengths, epochs=sizes.repeats, bottleneck=bottleneck
    )
    predicted = {
        "hf_peft": 1.0,
        "paper": limits["uncached_pruned"] / flops.ceiling_packing(lengths, _PAPER_BATCH),
        "ours_uncached": limits["uncached_pruned"],
    }
    warm = limits.get("warm_at_adapter" if bottleneck else "warm_pruned")
    return predicted if warm is None else {**predicted, "ours_warm": warm, "bare": warm}


def _gain_of_cache(predicted: dict[str, float]) -> float | None:
    warm = predicted.get("ours_warm")
    return warm and warm / predicted["ours_uncached"]


def _mfu(sizes: Sizes, outcomes: dict[str, Outcome]) -> list[Row]:
    """The operations above the cut as a share of the GPU's peak, where the peak is known."""
    if sizes.device == "cpu":
        return []
    import torch

    peak = flops.peak_flops(torch.cuda.get_device_name())
    if peak is None or sizes.precision != "bfloat16":
        return []
    shape, timing = sizes.model, outcomes["ours_warm"].timing
    computed = shape.blocks - sizes.cut.entry
    operations = flops.suffix_flops(
        shape.width,
        shape.feed_forward,
        [len(each.tokens_L) for each in sizes.encoded()],
        forwards=computed,
        backwards=computed,
        inner=shape.inner,
    )
    seconds = timing.residues / timing.residues_per_s
    return [row("ours_warm_mfu", flops.utilisation(operations, seconds, peak), "of peak")]
