"""`step`: a training step of the tagger in bare PyTorch, cut at k, against LoRA on all blocks.

Invariant: every variant trains on the same batches, in one process, in turns: only the adapters and the cut differ.
Neither Ray nor DeepSpeed runs, so this is what the orchestration is measured against.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from liftray.adapt.losses import loss_sum
from liftray.adapt.tagger import Tagger
from liftray.backbone.tokens import TokenTable
from liftray.bench import flops
from liftray.bench.meter import in_turns, median
from liftray.bench.report import Row, row
from liftray.bench.suites import models
from liftray.bench.suites.chains import chains
from liftray.config import LossSettings
from liftray.data import labels, packing
from liftray.data.batch import TRAIN, PackedBatch

_BASELINE = "lora_all_blocks"
_CUTS = (0, 2, 4)

Inputs = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes:
        micro_batches: Batches of one timed pass; each is one optimizer step.
        tokens_per_batch: Padded tokens of a batch.
        longest: Residues of the longest chain.
        width: Of the hidden states; 320 is ESM-2 8M.
        repeats: Timed passes of each variant.
        seed: Of chains, weights and dropout.
    """

    micro_batches: int = 2
    tokens_per_batch: int = 2048
    longest: int = 511
    width: int = 320
    repeats: int = 5
    seed: int = 0


def run(sizes: Sizes) -> tuple[list[Row], dict[str, Any]]:
    """Measure.

    Returns:
        Rows in residues/s, and what else the figures depend on.
    """
    kinds: dict[str, tuple[Literal["bottleneck", "lora"], int]] = {_BASELINE: ("lora", 0)}
    kinds |= {f"bottleneck_skip_{cut}": ("bottleneck", cut) for cut in _CUTS}
    taggers = {
        name: models.tagger(
            seed=sizes.seed, width=sizes.width, kind=kind, skip_layers=cut, max_length=sizes.longest
        )
        for name, (kind, cut) in kinds.items()
    }
    backbone = taggers[_BASELINE].backbone
    batches, residues = _batches(sizes, backbone.tokens)
    passes = {name: _training_pass(tagger, batches, sizes.seed) for name, tagger in taggers.items()}
    seconds = in_turns("bench step", passes, repeats=sizes.repeats, wait=models.wait)
    rates = {name: residues / median(values) for name, values in seconds.items()}
    baseline = row(_BASELINE, rates[_BASELINE], "residues/s")
    rows = [
        row(
            name,
            rates[name],
            "residues/s",
            baseline,
            flops.ceiling_uncached(backbone.num_blocks, kinds[name][1]),
        )
        for name in kinds
        if name != _BASELINE
    ]
    return [baseline, *rows], {
        "backbone": "shape of ESM-2 8M, random weights"
        if sizes.width == Sizes.width
        else "narrowed ESM-2 8M",
        "dtype": "float32",
        "blocks": backbone.num_blocks,
        "residues_per_pass": residues,
        "device": models.device(),
        "threads": torch.get_num_threads(),
        "trained_parameters": {name: tagger.count()["trained"] for name, tagger in taggers.items()},
        "seconds": {name: [round(value, 4) for value in values] for name, values in seconds.items()},
    }


def _batches(sizes: Sizes, tokens: TokenTable) -> tuple[list[Inputs], int]:
    """Micro-batches as training forms them, and their residues in all."""
    # Twice what the batches hold if every chain were a short one: more batches are planned than are run.
    count = 2 * sizes.micro_batches * max(1, sizes.tokens_per_batch // min(50, sizes.longest))
    drawn = chains(count, sizes.seed, longest=sizes.longest)
    extra = tokens.num_prefix + tokens.num_suffix
    lengths = np.array([len(sequence) + extra for _, sequence, _ in drawn])
    plan = packing.plan_train(lengths, seed=sizes.seed, epoch=0, budget=sizes.tokens_per_batch, per_step=1)
    inputs, residues = [], 0
    for number in range(sizes.micro_batches):
        members = [drawn[item] for item in plan.micro(number)]
        residues += sum(len(sequence) for _, sequence, _ in members)
        inputs.append(_inputs(members, tokens))
    return inputs, residues


def _inputs(members: list[tuple[str, str, str]], tokens: TokenTable) -> Inputs:
    encoded = [tokens.encode(sequence) for _, sequence, _ in members]
    codes = [
        np.pad(
            labels.encode(ss, "ss9"),
            (tokens.num_prefix, tokens.num_suffix),
            constant_values=labels.IGNORE_INDEX,
        )
        for _, _, ss in members
    ]
    packed = PackedBatch(
        split=TRAIN,
        epoch=0,
        step=0,
        micro=0,
        scored=sum(len(ss) for _, _, ss in members),
        tokens_T=np.concatenate(encoded),
        labels_T=np.concatenate(codes),
        cu_lens=np.cumsum([0, *(len(row_T) for row_T in encoded)]),
        items=np.arange(len(members)),
    )
    tokens_BL, mask_BL, labels_BL = (
        torch.from_numpy(array).to(models.device()) for array in packed.padded(tokens.pad_id)
    )
    return tokens_BL, mask_BL, labels_BL


def _training_pass(tagger: Tagger, batches: list[Inputs], seed: int) -> Callable[[], None]:
    tagger.train()
    optimizer = torch.optim.AdamW(tagger.trained().values(), lr=1e-3)
    settings = LossSettings()

    def one_pass() -> None:
        torch.manual_seed(seed)
        for tokens_BL, mask_BL, labels_BL in batches:
            scored = (labels_BL != labels.IGNORE_INDEX).sum()
            loss = loss_sum(settings, tagger(tokens_BL, mask_BL), labels_BL) / scored
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()

    return one_pass
