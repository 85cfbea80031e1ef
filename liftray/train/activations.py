"""What a forward pass keeps for the backward pass, in bytes a token, counted operation by operation.

Invariant: pure arithmetic over sizes, no torch. Flow: sizes of a backbone, settings -> [this] -> `memory`.

The counts follow from what torch's operations save: a product with a frozen matrix nothing, one with a trained matrix
its input, a norm and an activation their input, attention its queries, keys, values and output (never the L x L scores,
Dao et al. 2022) and a row sum a head, dropout its mask, a product of two tensors both. So a block with frozen weights
keeps about `2 D + 4 I + F` numbers a token where Korthikanti et al. (2023, eq. 2) count 34 bytes x D for a trained one.
A tensor that two operations save counts once.
"""

from dataclasses import dataclass
from typing import Literal

from liftray.adapt import sizes
from liftray.backbone.dimensions import Dimensions
from liftray.config import Settings

Device = Literal["cpu", "cuda"]

# Numbers of width F that an activation keeps; `gelu_new` is written out in transformers, and a gate keeps both factors.
_KEPT_BY_ACTIVATION = {"relu": 1, "gelu": 1, "silu": 1, "gelu_new": 4}
_KEPT_BY_ACTIVATION |= {"gated-relu": 2, "gated-silu": 3, "gated-gelu": 6}
_FLOAT32, _INT64 = 4, 8


@dataclass(frozen=True)
class Precision:
    """Bytes of a number, by where it stands.

    Attributes:
        hidden: Of hidden states and matrix products.
        attention: Of what attention keeps: on a CPU it runs in float32 whatever the model's precision.
        norm: Of a norm's input; autocast on a GPU makes float32 of it first, and T5's norm does so itself.
        mask: Of what dropout keeps: a factor on a CPU, a flag on a GPU.
    """

    hidden: int
    attention: int
    norm: int
    mask: int

    @classmethod
    def of(cls, settings: Settings, size: Dimensions, device: Device) -> "Precision":
        """Of a run."""
        half = settings.backbone.dtype == "bfloat16"
        hidden = 2 if half else _FLOAT32
        norm = _FLOAT32 if device == "cuda" else hidden
        if half and size.family == "t5":
            norm = hidden + _FLOAT32
        attention = hidden if device == "cuda" else _FLOAT32
        return cls(hidden, attention, norm, hidden if device == "cpu" else 1)


@dataclass(frozen=True)
class Kept:
    """What is kept.

    Attributes:
        token: Bytes a token.
        once: Bytes whatever the batch.
    """

    token: float = 0.0
    once: float = 0.0

    def __add__(self, other: "Kept") -> "Kept":
        return Kept(self.token + other.token, self.once + other.once)


def block(settings: Settings, size: Dimensions, device: Device) -> Kept:
    """What one block above the cut keeps.

    Args:
        settings: The run's settings.
        size: Sizes of the backbone.
        device: Where it trains.
    """
    kept = _attention(settings, size, device) + _feed_forward(settings, size, device)
    if settings.method == "full":
        return kept + _full(settings, size, device)
    return kept + adapter(settings, size, device)


def lowest(settings: Settings, size: Dimensions, device: Device) -> Kept:
    """What the lowest of the blocks with adapters keeps: nothing of what comes before its first adapter.

    Args:
        settings: The run's settings, `method` adapter.
        size: Sizes of the backbone.
        device: Where it trains.
    """
    chosen, precision = settings.adapter, Precision.of(settings, size, device)
    bottlenecks = ("bottleneck", "compacter", "parallel_bottleneck", "parallel_compacter")
    if chosen.kind in bottlenecks:
        behind_attention, behind_block = chosen.location != "output", chosen.location == "output"
    else:
        behind_attention = chosen.kind in ("lora", "dora") and chosen.lora_location == "feed_forward"
        behind_block = False
    kept = adapter(settings, size, device)
    if chosen.kind.startswith("parallel") and not _reads_apart(size, precision):
        kept += Kept(precision.hidden * size.width)  # no norm below keeps what it reads
    if behind_block:
        return kept
    kept += _feed_forward(settings, size, device)
    return kept if behind_attention else kept + _attention(settings, size, device)


def _attention(settings: Settings, size: Dimensions, device: Device) -> Kept:
    """Of the attention of a frozen block and the norm before or behind it."""
    precision = Precision.of(settings, size, device)
    kept = precision.norm * size.width + 4 * precision.attention * size.inner + _FLOAT32 * size.heads
    if size.rotary:
        kept += 2 * _FLOAT32 * size.inner // size.heads  # cosines and sines
    if size.family != "t5":
        return Kept(kept)
    # T5's position bias: laid out for each window, unless it is a view of the one bias in float32.
    prefix = settings.adapter.prefix_length if _has_prefix(settings) else 0
    row = size.heads * (settings.data.max_length + prefix)
    if device == "cpu" and _bias_trains(settings):
        kept += _FLOAT32 * row  # no fused kernel makes its gradient: the scores are kept
    if device == "cuda" or precision.hidden < _FLOAT32:
        return Kept(kept + precision.attention * row)
    return Kept(kept, _FLOAT32 * row * settings.data.max_length if prefix else 0.0)


def _feed_forward(settings: Settings, size: Dimensions, device: Device) -> Kept:
    """Of the feed-forward part of a frozen block and the norm before or behind it."""
    precision = Precision.of(settings, size, device)
    wide = precision.hidden * _KEPT_BY_ACTIVATION[size.activation]
    if device == "cuda" and precision.hidden < _FLOAT32 and size.activation in ("gelu_new", "gated-gelu"):
        wide += 8  # autocast computes its powers in float32, and what follows them
    return Kept(precision.norm * size.width + wide * size.feed_forward)


def _has_prefix(settings: Settings) -> bool:
    return settings.method == "adapter" and settings.adapter.kind in ("prefix_tuning", "mam", "unipelt")


def _bias_trains(settings: Settings) -> bool:
    return settings.method == "full" and settings.adapter.skip_layers == 0


def _full(settings: Settings, size: Dimensions, device: Device) -> Kept:
    """Inputs of the trained products beside what is kept anyway: both norms' outputs, attention's, the activation's."""
    precision = Precision.of(settings, size, device)
    # Autocast makes a copy of a float32 norm's output for each of q, k and v.
    copied = precision.hidden < _FLOAT32 and (device == "cuda" or size.family == "t5")
    products = (4 if copied else 2) * size.width + size.inner
    if size.activation not in ("relu", "gated-relu"):  # whose output is what they keep
        products += size.feed_forward
    scaled = 2 * _FLOAT32 * size.width if size.family == "t5" else 0  # by the trained weight of its norm
    return Kept(precision.hidden * products + scaled)


def adapter(settings: Settings, size: Dimensions, device: Device) -> Kept:
    """What the adapters of one block keep."""
    chosen, precision = settings.adapter, Precision.of(settings, size, device)
    units = sizes.bottleneck_units(chosen, size)
    # What a bottleneck reads, and its units; in BERT it stands between two uses of the norm.
    read = size.width + units + (size.width if size.family == "bert" else 0)
    beside = size.width + units if _reads_apart(size, precision) else units
    once = 0.0
    if chosen.kind in ("bottleneck", "compacter"):
        numbers = float(sizes.places(chosen) * read)
    elif chosen.kind in ("parallel_bottleneck", "parallel_compacter"):
        numbers = float(sizes.places(chosen) * beside)
    elif chosen.kind in ("lora", "dora"):
        numbers, once = _lora(settings, size, device)
    elif chosen.kind == "ia3":
        numbers = 2 * size.inner + size.feed_forward
    else:
        # Each window's prefix before its keys and values, and the places where they go.
        longer = precision.attention * 2 * size.inner * chosen.prefix_length / settings.data.max_length
        numbers = (longer + 2 * _INT64) / precision.hidden
        if chosen.kind == "mam":
            numbers += beside
        if chosen.kind == "unipelt":  # and what the gates of its bottleneck and its two LoRAs scale
            numbers += read + size.width + (size.width + 2 * units) + 2 * size.inner
    return Kept(precision.hidden * numbers, once)


def _reads_apart(size: Dimensions, precision: Precision) -> bool:
    """Whether what a parallel adapter reads is kept for it alone, not as the input of a norm as well."""
    return size.family == "bert" or precision.norm != precision.hidden


def _lora(settings: Settings, size: Dimensions, device: Device) -> tuple[float, float]:
    chosen, precision = settings.adapter, Precision.of(settings, size, device)
    matrices = sizes.lora_matrices(chosen, size)
    numbers = float(sum(sizes.bottleneck_units(chosen, size) for _ in matrices))
    if chosen.lora_location != "feed_forward":
        # A copy for each where autocast has to make it.
        copies = 2 if precision.hidden < _FLOAT32 and device == "cuda" and size.family != "t5" else 1
        numbers += copies * size.width
    if chosen.lora_location != "attention":
        numbers += size.width + (0 if size.activation in ("relu", "gated-relu") else size.feed_forward)
    if chosen.kind == "lora":
        return numbers, 0.0
    # DoRA: its layers' results before they are scaled, and each changed weight, whose norms are taken.
    changed = sum(given * made for given, made in matrices)
    return numbers + sum(made for _, made in matrices), float(_FLOAT32 * changed)


def head(settings: Settings, size: Dimensions, device: Device) -> Kept:
    """What the final norm and the head keep, a token or a place of a padded row."""
    precision = Precision.of(settings, size, device)
    flows = settings.method != "features"  # a gradient through dropout and norm to what lies below
    norm = precision.norm if flows and size.family != "bert" else 0
    dropped = precision.mask if flows and settings.head.dropout else 0
    read = (norm + dropped + precision.hidden) * size.width
    if settings.head.mix_blocks:
        # Each block's finished output in float32, and what the norms of all but the last keep.
        blocks = size.blocks - settings.adapter.skip_layers
        read += (blocks * _FLOAT32 + (blocks - 1) * norm) * size.width
    if settings.head.kind == "lstm":
        return Kept(read + _lstm(size, device))
    return Kept(read if settings.head.kind == "linear" else read + _convolutions(precision))


def _lstm(size: Dimensions, device: Device) -> int:
    """What the LSTM head keeps a place beside its input, in float32: of each direction rows, gates and outputs.

    On a CPU 17 numbers a unit, step by step (measured); in cuDNN's reserve about 7.
    """
    return 2 * _FLOAT32 * (size.width + (7 if device == "cuda" else 17) * sizes.LSTM_UNITS)


def _convolutions(precision: Precision) -> int:
    """What the convolutional head keeps a place beside its input.

    Of both units the half that goes through the width-3 convolution, the activation's input, the float32 norm's input
    (on a CPU its result as well) and dropout; the input of the second unit and of the last convolution; and the few
    numbers behind that.
    """
    on_gpu = precision.mask == 1
    normed = _FLOAT32 if on_gpu else 2 * _FLOAT32
    unit = precision.hidden * 3 // 2 + normed + (1 if on_gpu else _FLOAT32)
    behind = precision.hidden * (2 * sizes.WIDE + sizes.EMBEDDED)
    return 2 * (unit + precision.hidden) * sizes.UNIT + behind


def shared(settings: Settings, size: Dimensions) -> int:
    """Bytes of what all blocks share: T5's position bias, heads x window x window."""
    return _FLOAT32 * size.heads * settings.data.max_length**2 if size.family == "t5" else 0


def passing(settings: Settings, size: Dimensions, device: Device, *, backward: bool) -> float:
    """Bytes a token that are needed for a moment inside a block: the feed-forward part's or attention's, as is more.

    Args:
        settings: The run's settings.
        size: Sizes of the backbone.
        device: Where it runs.
        backward: Of a backward pass, whose gradients stand beside what was kept; else of a forward pass that keeps
            nothing.
    """
    precision = Precision.of(settings, size, device)
    stream = (2 * precision.hidden + precision.norm) * size.width
    wide = 2 * precision.hidden
    if size.activation in ("gelu_new", "gated-gelu"):
        wide += 3 * (_FLOAT32 if device == "cuda" else precision.hidden)
    attention = (4 if backward else 8) * precision.attention * size.inner
    if size.family == "t5" and device == "cuda":
        attention += 2 * precision.attention * size.heads * settings.data.max_length
    return stream + max(wide * size.feed_forward, attention)
