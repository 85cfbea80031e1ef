"""What the cut must gain, by counting: the predicted figure that every measured one stands beside.

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
