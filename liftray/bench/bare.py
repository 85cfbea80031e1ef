"""The ceiling: a bare PyTorch loop over the hidden states at the cut, at its best batch size. No Ray, no DeepSpeed.

Invariant: the hidden states are in memory before the clock starts, and batches are packed. All variants (batch budget,
attention, entry) train on the same chains and take turns. The fastest is reported. The ceiling is that of a CPU:
attention runs chain by chain. Flow: workload -> [this] -> the figure that our own path is compared with.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from liftray.bench.bare_suffix import Attention, Entry, Suffix, rotary
from liftray.bench.competitors import models
from liftray.bench.meter import in_turns, median
from liftray.bench.workload import Encoded, Timing, Workload
from liftray.data.labels import IGNORE_INDEX
from liftray.errors import ConfigError

BUDGETS = (1024, 2048, 4096, 8192)


class _Variant(NamedTuple):
    budget: int
    attention: Attention
    entry: Entry


class _Cached(NamedTuple):
    """A chain as read from a cache: hidden_LD of its tokens, and its class codes."""

    hidden_LD: Tensor
    labels_L: Tensor


def run(
    workload: Workload,
    *,
    budgets: Sequence[int] = BUDGETS,
    attentions: Sequence[Attention] = ("fused", "products", "widened"),
    entries: Sequence[Entry] = ("cut",),
) -> Timing:
    """Train with each variant in turns; a pass covers all chains once.

    Args:
        workload: The work; bfloat16 means frozen weights and activations in bfloat16, trained weights in float32.
        budgets: Tokens of a packed batch.
        attentions: Attention variants, see `Suffix`.
        entries: Where the cached states enter, see `Suffix`.

    Returns:
        Seconds of each pass of the fastest variant; the details name it and hold the rates of all variants.

    Raises:
        ConfigError: The shape is not an ESM-2, or the device is not a CPU.
    """
    if workload.model.family != "esm" or workload.device != "cpu":
        raise ConfigError(
            f"the bare loop runs ESM-2 on a CPU, not {workload.model.title} on {workload.device}",
            remedy="choose an ESM-2 shape and device=cpu",
        )
    if "adapter" in entries and workload.kind != "bottleneck":
        raise ConfigError(
            "only a bottleneck can be entered at the adapter", remedy="choose entries=['cut'] for lora"
        )
    encoder = models.encoder(workload).eval()
    chains = workload.encoded()
    cached = {
        entry: hidden_states(encoder, chains, _state(workload, entry), _dtype(workload)) for entry in entries
    }
    variants = [_Variant(*each) for entry in entries for each in _pairs(budgets, attentions, entry)]
    passes = {
        _name(variant): _training_pass(
            suffix(encoder, workload, variant), cached[variant.entry], variant, workload
        )
        for variant in variants
    }
    for _ in range(workload.warmup - 1):  # `in_turns` has one round of its own that does not count
        for one_pass in passes.values():
            one_pass()
    seconds = in_turns("bench bare", passes, repeats=workload.repeats)
    residues = sum(len(each.tokens_L) - 2 for each in chains)
    rates = {name: residues / median(values) for name, values in seconds.items()}
    best = max(rates, key=rates.__getitem__)
    return Timing(residues, seconds[best], {"best": best, "residues_per_s": rates})


@torch.no_grad()
def hidden_states(
    encoder: nn.Module, chains: Sequence[Encoded], state: int, dtype: torch.dtype
) -> list[_Cached]:
    """Run the frozen encoder over each chain and keep one of its states.

    Args:
        encoder: The `EsmModel`, in float32.
        chains: Tokens and labels.
        state: k: the input of block k, the output of the k-th block.
        dtype: Number type of the kept states.

    Returns:
        An (L, D) matrix for each chain, with its labels.
    """
    kept: list[Tensor] = []

    def keep(module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        kept.append(arguments[0][0].to(dtype))

    esm: Any = encoder
    # The last block's output is what the final norm reads.
    at = [*esm.encoder.layer, esm.encoder.emb_layer_norm_after][state]
    handle = at.register_forward_pre_hook(keep, with_kwargs=True)
    for each in chains:
        tokens_BL = torch.from_numpy(each.tokens_L)[None]
        esm(input_ids=tokens_BL, attention_mask=torch.ones_like(tokens_BL))
    handle.remove()
    return [
        _Cached(hidden_LD, torch.from_numpy(each.labels_L))
        for hidden_LD, each in zip(kept, chains, strict=True)
    ]


def suffix(encoder: nn.Module, workload: Workload, variant: _Variant) -> Suffix:
    """The trained part of a variant, with fresh adapters and head."""
    torch.manual_seed(workload.seed)
    return Suffix(
        encoder,
        workload.skip_layers,
        kind=workload.kind,
        width=workload.rank,
        classes=workload.classes,
        dropout=workload.dropout,
        dtype=_dtype(workload),
        entry=variant.entry,
        attention=variant.attention,
    )


def packed(lengths: Sequence[int], order: Sequence[int], budget: int) -> Iterator[list[int]]:
    """Fill batches in a given order.

    Args:
        lengths: Tokens of each chain.
        order: Indices of the chains.
        budget: Tokens of a batch; a chain longer than it is a batch of its own.

    Yields:
        Chains of a batch, in that order.
    """
    batch: list[int] = []
    tokens = 0
    for chain in order:
        if batch and tokens + lengths[chain] > budget:
            yield batch
            batch, tokens = [], 0
        batch.append(chain)
        tokens += lengths[chain]
    if batch:
        yield batch


def _training_pass(
    model: Suffix, chains: list[_Cached], variant: _Variant, workload: Workload
) -> Callable[[], None]:
    """A function that trains once over all chains, an optimizer step a batch."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=workload.lr, fused=True)
    lengths = [len(each.labels_L) for each in chains]
    head_width = workload.model.width // int(workload.model.config["num_attention_heads"])
    generator = torch.Generator().manual_seed(workload.seed)
    model.train()

    def one_pass() -> None:
        order = torch.randperm(len(chains), generator=generator).tolist()
        for members in packed(lengths, order, variant.budget):
            hidden_TD = torch.cat([chains[row].hidden_LD for row in members])
            labels_T = torch.cat([chains[row].labels_L for row in members])
            sizes = [lengths[row] for row in members]
            logits_TC = model(hidden_TD, sizes, rotary(sizes, head_width, hidden_TD.dtype))
            nn.functional.cross_entropy(logits_TC, labels_T, ignore_index=IGNORE_INDEX).backward()
            optimizer.step()
            optimizer.zero_grad()

    return one_pass


def _pairs(
    budgets: Sequence[int], attentions: Sequence[Attention], entry: Entry
) -> Iterator[tuple[int, Attention, Entry]]:
    for budget in budgets:
        for attention in attentions:
            yield budget, attention, entry


def _name(variant: _Variant) -> str:
    return f"{variant.entry}/{variant.attention}/{variant.budget}"


def _state(workload: Workload, entry: Entry) -> int:
    return workload.skip_layers + (entry == "adapter")


def _dtype(workload: Workload) -> torch.dtype:
    return torch.bfloat16 if workload.precision == "bfloat16" else torch.float32
