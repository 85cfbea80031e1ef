"""What a forward pass keeps for the backward pass, in bytes a token, counted operation by operation.

Invariant: pure arithmetic over sizes. What adapters and heads keep is counted by their kinds. Flow: sizes of a
backbone, sections -> [this] -> `estimate`.

The counts follow from what torch's operations save: a product with a frozen matrix nothing, one with a trained matrix
its input, a norm and an activation their input, attention its queries, keys, values and output (never the L x L scores,
Dao et al. 2022) and a row sum a head, dropout its mask, a product of two tensors both. So a block with frozen weights
keeps about `2 D + 4 I + F` numbers a token where Korthikanti et al. (2023, eq. 2) count 34 bytes x D for a trained one.
A tensor that two operations save counts once.
"""

from liftray.adapt import heads, kinds
from liftray.adapt.activation_bytes import FLOAT32, ActivationBytes, ForwardPass
from liftray.adapt.cut import Cut
from liftray.sections import AdapterSettings, HeadSettings

# Numbers of width F that an activation keeps; `gelu_new` is written out in transformers, and a gate keeps both factors.
_KEPT_BY_ACTIVATION = {"relu": 1, "gelu": 1, "silu": 1, "gelu_new": 4}
_KEPT_BY_ACTIVATION |= {"gated-relu": 2, "gated-silu": 3, "gated-gelu": 6}


def block(method: str, adapter: AdapterSettings, forward: ForwardPass, cut: Cut) -> ActivationBytes:
    """What one block above the cut keeps.

    Args:
        method: `adapter` or `full`.
        adapter: The adapter section.
        forward: Sizes, precision and device.
        cut: Where the frozen part ends.
    """
    kept = _attention(method, adapter, forward, cut) + _feed_forward(forward)
    if method == "full":
        return kept + _trained_products(forward)
    return kept + kinds.kind_of(adapter).activation_bytes(adapter, forward)


def lowest_block(adapter: AdapterSettings, forward: ForwardPass, cut: Cut) -> ActivationBytes:
    """What the lowest block with adapters keeps: nothing of what precedes its first adapter.

    Args:
        adapter: The adapter section.
        forward: Sizes, precision and device.
        cut: Where the frozen part ends.
    """
    kind = kinds.kind_of(adapter)
    kept, first = kind.activation_bytes(adapter, forward, lowest=True), kind.first_part(adapter)
    if first in ("attention", "feed_forward"):
        kept += _feed_forward(forward)
    if first == "attention":
        kept += _attention("adapter", adapter, forward, cut)
    return kept


def _attention(method: str, adapter: AdapterSettings, forward: ForwardPass, cut: Cut) -> ActivationBytes:
    """Of the attention of a frozen block and the norm in front of it or behind it."""
    size = forward.size
    kept = forward.norm * size.width + 4 * forward.attention * size.inner + FLOAT32 * size.heads
    if size.rotary:
        kept += 2 * FLOAT32 * size.inner // size.heads  # cosines and sines
    if size.family != "t5":
        return ActivationBytes(kept)
    # T5's position bias: laid out for each window, unless it is a view of the one bias in float32.
    prefix = kinds.kind_of(adapter).prefix_length(adapter) if method == "adapter" else 0
    row = size.heads * (forward.max_length + prefix)
    bias_trains = method == "full" and cut.skipped == 0
    if forward.device == "cpu" and bias_trains:
        kept += FLOAT32 * row  # no fused kernel makes its gradient: the scores are kept
    if forward.device == "cuda" or forward.hidden < FLOAT32:
        return ActivationBytes(kept + forward.attention * row)
    return ActivationBytes(kept, FLOAT32 * row * forward.max_length if prefix else 0.0)


def _feed_forward(forward: ForwardPass) -> ActivationBytes:
    """Of the feed-forward part of a frozen block and the norm in front of it or behind it."""
    size = forward.size
    wide = forward.hidden * _KEPT_BY_ACTIVATION[size.activation]
    if (
        forward.device == "cuda"
        and forward.hidden < FLOAT32
        and size.activation in ("gelu_new", "gated-gelu")
    ):
        wide += 8  # autocast computes its powers in float32, and what follows them
    return ActivationBytes(forward.norm * size.width + wide * size.feed_forward)


def _trained_products(forward: ForwardPass) -> ActivationBytes:
    """Inputs of the trained products that a frozen block does not keep: outputs of norms, attention, activation."""
    size = forward.size
    # Autocast makes a copy of a float32 norm's output for each of q, k and v.
    copied = forward.hidden < FLOAT32 and (forward.device == "cuda" or size.family == "t5")
    products = (4 if copied else 2) * size.width + size.inner
    if size.activation not in ("relu", "gated-relu"):  # whose output is what they keep
        products += size.feed_forward
    scaled = 2 * FLOAT32 * size.width if size.family == "t5" else 0  # by the trained weight of its norm
    return ActivationBytes(forward.hidden * products + scaled)


def head(method: str, settings: HeadSettings, above: int, forward: ForwardPass) -> ActivationBytes:
    """What the final norm and the head keep, a token or a place of a padded row.

    Args:
        method: `adapter`, `full` or `features`.
        settings: The head section.
        above: Blocks above the cut, which `mix_blocks` mixes.
        forward: Sizes, precision and device.
    """
    flows = method != "features"  # a gradient through dropout and norm to the blocks
    norm = forward.norm if flows and forward.size.family != "bert" else 0
    dropped = forward.mask if flows and settings.dropout else 0
    kept: float = (norm + dropped + forward.hidden) * forward.size.width
    if settings.mix_blocks:
        from liftray.adapt.heads.block_mix import BlockMix

        kept += BlockMix.activation_bytes(above, forward, norm)
    return ActivationBytes(kept + heads.head_class(settings).activation_bytes(forward))


def shared(forward: ForwardPass) -> ActivationBytes:
    """What all blocks share: T5's position bias, heads x window x window."""
    size = forward.size
    return ActivationBytes(0.0, FLOAT32 * size.heads * forward.max_length**2 if size.family == "t5" else 0.0)


def momentary(forward: ForwardPass, *, backward: bool) -> float:
    """Bytes a token needed for a moment inside a block: those of the feed-forward part or of attention, the larger.

    Args:
        forward: Sizes, precision and device.
        backward: Of a backward pass, which holds gradients in addition to what was kept; else of a forward pass that
            keeps nothing.
    """
    size = forward.size
    stream = (2 * forward.hidden + forward.norm) * size.width
    wide = 2 * forward.hidden
    if size.activation in ("gelu_new", "gated-gelu"):
        wide += 3 * (FLOAT32 if forward.device == "cuda" else forward.hidden)
    attention = (4 if backward else 8) * forward.attention * size.inner
    if size.family == "t5" and forward.device == "cuda":
        attention += 2 * forward.attention * size.heads * forward.max_length
    return stream + max(wide * size.feed_forward, attention)
