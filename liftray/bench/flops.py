"""The predicted gain of the cut, by counting: each measured figure is reported with its prediction.

Invariant: pure arithmetic, nothing is measured here. Read by the suites.

The unit of cost is one block's forward pass over one token. The backward pass through a block whose own weights are
frozen costs one unit as well: only the gradient of its activations is computed, not that of its weights. Adapters,
head and embedding count nothing, and so does attention's own backward pass, which costs two of its forwards.
"""

from collections.abc import Sequence

from liftray.errors import ConfigError


def train_cost(blocks: int, cut: int, *, cached: bool = False) -> int:
    """Cost of training on one token: `k + 2 (n - k)`, and `2 (n - k)` when the frozen prefix is read from a cache.

    Args:
        blocks: Blocks n of the backbone.
        cut: k: the lowest k blocks run forward only.
        cached: Whether the hidden states at the cut are read, not computed.

    Returns:
        Units of one block's forward pass over one token.

    Raises:
        ConfigError: The cut leaves no block to train.
    """
    if not 0 <= cut < blocks:
        raise ConfigError(f"a cut at {cut} of {blocks} blocks", remedy=f"choose 0 to {blocks - 1}")
    return (0 if cached else cut) + 2 * (blocks - cut)


def ceiling_uncached(blocks: int, cut: int) -> float:
    """Most that a cut can gain over adapters in all blocks, without a cache: `2n / (2n - k)`; see `train_cost`."""
    return train_cost(blocks, 0) / train_cost(blocks, cut)


def ceiling_cached(blocks: int, cut: int, epochs: int) -> float:
    """The same over E epochs of which the first fills a cache: `2nE / (k + 2E (n - k))`; see `train_cost`."""
    if epochs < 1:
        raise ConfigError(f"{epochs} epochs", remedy="count at least one")
    return train_cost(blocks, 0) * epochs / (cut + train_cost(blocks, cut, cached=True) * epochs)


def ceiling_warm(blocks: int, cut: int) -> float:
    """The same where the cache is full already (later epochs, trials that share it): `n / (n - k)`."""
    return train_cost(blocks, 0) / train_cost(blocks, cut, cached=True)


def cache_bytes(width: int, residues: int, bytes_each: int = 2) -> int:
    """Bytes of the hidden states at one cut: `bytes_each x width` a residue (2 bytes: bfloat16)."""
    return bytes_each * width * residues


def padded_tokens(lengths: Sequence[int], batch: int) -> int:
    """Tokens computed when chains go in batches of a fixed number, each padded to its longest.

    Args:
        lengths: Tokens of each chain, in the order in which they are batched.
        batch: Chains of a batch; the last one may have fewer.

    Returns:
        The sum over batches of chains x longest chain.
    """
    groups = (lengths[start : start + batch] for start in range(0, len(lengths), batch))
    return sum(len(group) * max(group) for group in groups)


def ceiling_packing(lengths: Sequence[int], batch: int) -> float:
    """Most that computing no padding can gain over padded batches of a fixed number of chains: padded / real tokens.

    Args:
        lengths: Tokens of each chain, in the order in which they are batched.
        batch: Chains of a padded batch.

    Returns:
        A ratio of at least 1; 1 where there are no chains.
    """
    return padded_tokens(lengths, batch) / sum(lengths) if sum(lengths) else 1.0


def suffix_cost(blocks: int, cut: int, *, bottleneck: bool = False, entered_at_adapter: bool = False) -> int:
    """Cost of training on one token above the cut, the lowest adapter's place in its block counted.

    The gradient need not pass below the lowest adapter. A LoRA sits in the attention of block k, so backward runs
    through all of `n - k` blocks (its end inside block k counted as whole). A bottleneck is behind block k, so backward
    runs through `n - k - 1` alone. No part of block k depends on trained weights, so a cache of the frozen state k + 1
    saves its forward pass too.

    Args:
        blocks: Blocks n of the backbone.
        cut: k: the lowest block with an adapter.
        bottleneck: Whether adapters are bottlenecks behind the feed-forward part; else LoRA.
        entered_at_adapter: Whether the cached state is the one that the lowest bottleneck reads.

    Returns:
        Units of one block's forward pass over one token; 0 where nothing but one adapter and the head is left.

    Raises:
        ConfigError: The cut leaves no block to train.
        ValueError: A LoRA is entered at the adapter.
    """
    above = train_cost(blocks, cut, cached=True) // 2
    if entered_at_adapter and not bottleneck:
        raise ValueError("a LoRA changes the inside of its block: it is entered at the cut")
    return above - entered_at_adapter + above - bottleneck


def ceiling_search(blocks: int, cuts: Sequence[int], epochs: int, *, bottleneck: bool = False) -> float:
    """Most that a cache shared by the trials of a search can gain over the same search without one.

    `E sum(2n - k_i) / (max(k) + E sum 2 (n - k_i))`: each trial i computes its prefix every epoch, or all prefixes are
    computed once, up to the deepest cut; see `train_cost`. With bottlenecks backward stops at the lowest adapter, and
    the cache holds block k too: `E sum(2n - k_i - 1) / (max(k) + 1 + E sum 2 (n - k_i - 1))`; see `suffix_cost`.

    Args:
        blocks: Blocks n of the backbone.
        cuts: Cut of each trial.
        epochs: Epochs E of each.
        bottleneck: Kind of the adapters: bottleneck or LoRA.

    Returns:
        A ratio of at least nearly 1; 1 where no trial has a prefix.
    """
    above = [suffix_cost(blocks, cut, bottleneck=bottleneck) for cut in cuts]
    without = epochs * (sum(cuts) + sum(above))
    # With the state behind block k, its forward pass is saved as well.
    shared = epochs * (sum(above) - bottleneck * len(above))
    return without / (max(cuts) + bottleneck + shared)


def block_flops(width: int, feed_forward: int, lengths: Sequence[int], inner: int | None = None) -> int:
    """Floating-point operations of one block's forward pass over chains, a multiplication with its addition as two.

    `2 T (4 D I + 2 D F)` for the weights and `4 I sum(L^2)` for scores and mixing; norms and activations count nothing
    (Kaplan et al. 2020, table 1, with attention over whole chains).

    Args:
        width: D of the hidden states.
        feed_forward: F of the feed-forward part, of two matrices.
        lengths: Tokens L of each chain; T is their sum.
        inner: I, heads x width of a head; D where it is not given.
    """
    inner = inner or width
    weights = 2 * sum(lengths) * (4 * width * inner + 2 * width * feed_forward)
    return weights + 4 * inner * sum(length * length for length in lengths)


def suffix_flops(
    width: int,
    feed_forward: int,
    lengths: Sequence[int],
    *,
    forwards: int,
    backwards: int,
    inner: int | None = None,
) -> int:
    """Floating-point operations of a training step above the cut.

    Backward through a frozen block costs its weights' products once more (gradients of activations alone) and its
    attention's twice (both operands of each product), as no weight has a gradient; recomputation is not counted.

    Args:
        width: D of the hidden states.
        feed_forward: F of the feed-forward part.
        lengths: Tokens of each chain of the step.
        forwards: Blocks that run forward.
        backwards: Blocks that the gradient passes.
        inner: Heads x width of a head; D where it is not given.
    """
    once = block_flops(width, feed_forward, lengths, inner)
    attention = 4 * (inner or width) * sum(length * length for length in lengths)
    return forwards * once + backwards * (once + attention)


# Dense bfloat16 tensor-core peaks, operations a second, from NVIDIA's data sheets (H100 and H200: half of the figure
# printed, which is with sparsity; A100: the figure without). The longest matching prefix of a device's name counts.
GPU_PEAK_BF16: dict[str, float] = {
    "NVIDIA A100": 312e12,
    "NVIDIA H100": 989.4e12,
    "NVIDIA H100 PCIe": 756e12,
    "NVIDIA H100 NVL": 835e12,
    "NVIDIA H200": 989.4e12,
    "NVIDIA H200 NVL": 835e12,
}


def peak_flops(device: str) -> float | None:
    """Dense bfloat16 peak of a GPU by the name that torch reports; None for a GPU that is not in the table."""
    known = [name for name in GPU_PEAK_BF16 if device.startswith(name)]
    return GPU_PEAK_BF16[max(known, key=len)] if known else None


def utilisation(operations: float, seconds: float, peak: float) -> float:
    """Model FLOP utilisation (Chowdhery et al. 2022): operations that the model needs over what the device could do.

    Args:
        operations: From `suffix_flops` or `block_flops`.
        seconds: What they took.
        peak: Operations a second, from `peak_flops`.

    Returns:
        A fraction.
    """
    return operations / seconds / peak


def ceilings(
    blocks: int, cut: int, lengths: Sequence[int], *, epochs: int, bottleneck: bool = True
) -> dict[str, float]:
    """The predicted limit of each suite's ratio.

    All against LoRA on all blocks with padded random batches of 8 (2 n units a token times the padding), unless the
    name states otherwise. Attention counts like everything else; the loss of GEMMs in small batches does not count.

    Args:
        blocks: Blocks n of the backbone.
        cut: k.
        lengths: Tokens of each chain in the order of the padded batches.
        epochs: Epochs of the run that fills its cache, and of each trial of a search.
        bottleneck: Kind of our own adapters: bottleneck or LoRA.

    Returns:
        - `packing`: no padding, nothing else.
        - `uncached`: the cut and packing.
        - `uncached_pruned`: backward stops at the lowest adapter.
        - `first_epoch`, `whole_run`: with a cache that is filled in the first epoch.
        - `warm`: with a full cache, all blocks above the cut forward and back.
        - `warm_pruned`: backward stops at the lowest adapter.
        - `warm_at_adapter`: the lowest block's forward saved as well; for bottlenecks alone, and where a block is left.
        - `cache`: warm cache against none, both packed.
    """
    padding = ceiling_packing(lengths, 8)
    whole = train_cost(blocks, 0) * padding
    pruned = suffix_cost(blocks, cut, bottleneck=bottleneck)
    predicted = {
        "packing": padding,
        "uncached": ceiling_uncached(blocks, cut) * padding,
        "uncached_pruned": whole / (cut + pruned),
        "first_epoch": ceiling_cached(blocks, cut, 1) * padding,
        "whole_run": ceiling_cached(blocks, cut, epochs) * padding,
        "warm": ceiling_warm(blocks, cut) * padding,
        "warm_pruned": whole / pruned,
        "cache": train_cost(blocks, cut) / train_cost(blocks, cut, cached=True),
    }
    if bottleneck and cut < blocks - 1:
        entered = suffix_cost(blocks, cut, bottleneck=True, entered_at_adapter=True)
        predicted["warm_at_adapter"] = whole / entered
    return predicted
