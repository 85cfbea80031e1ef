"""How many parameters train, counted from the settings without building a model.

Invariant: `trained` is what `Tagger.count` gives for the same settings and backbone. Pure arithmetic, no torch. Read by
estimates of memory.
"""

from dataclasses import dataclass

from liftray.backbone.dimensions import Dimensions
from liftray.config import Settings
from liftray.data.labels import STATES
from liftray.sections import AdapterSettings

# Channels of the convolutional head: of its units, behind its wide convolution, of its embedding.
UNIT, WIDE, EMBEDDED = 1024, 96, 32
LSTM_UNITS = 256  # of each direction of the LSTM head


@dataclass(frozen=True)
class Trained:
    """Parameters that train.

    Attributes:
        adapter: In adapters.
        backbone: In the backbone's own blocks and final norm (`full`).
        head: In the head.
        largest: In the largest tensor.
    """

    adapter: int
    backbone: int
    head: int
    largest: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.adapter + self.backbone + self.head


def trained(settings: Settings, size: Dimensions) -> Trained:
    """Count the parameters that train under these settings."""
    skipped = settings.adapter.skip_layers
    blocks = size.blocks - skipped
    own = 0
    if settings.method == "full":
        own = blocks * size.block + size.final_norm + (size.position_bias if skipped == 0 else 0)
    adapter = adapters(settings.adapter, size) if settings.method == "adapter" else 0
    biggest = size.width * max(size.inner, size.feed_forward) if own else 0
    count = {"linear": linear_head, "conv": convolutional_head, "metric": metric_head, "lstm": lstm_head}
    # A mix of blocks has a weight for each, and a factor.
    head = count[settings.head.kind](settings, size) + (blocks + 1 if settings.head.mix_blocks else 0)
    return Trained(adapter, own, head, max(biggest, adapter // max(blocks, 1), head // 4))


def linear_head(settings: Settings, size: Dimensions) -> int:
    """Of the linear head: a weight a hidden unit and class, and a bias a class."""
    return (size.width + 1) * len(STATES[settings.task])


def convolutional_head(settings: Settings, size: Dimensions) -> int:
    """Of the paper's head."""

    def unit(channels: int) -> int:
        near = UNIT // 2
        return (channels + 1) * UNIT + (3 * near + 1) * near + UNIT

    embedding = (9 * UNIT + 1) * WIDE + (WIDE + 1) * EMBEDDED
    return unit(size.width) + unit(UNIT) + embedding + (EMBEDDED + 1) * len(STATES[settings.task])


def metric_head(settings: Settings, size: Dimensions) -> int:
    """Of its metric-learning form: a centroid where that has a classifier's row and bias."""
    return convolutional_head(settings, size) - len(STATES[settings.task])


def lstm_head(settings: Settings, size: Dimensions) -> int:
    """Of the LSTM head: four gates a unit and direction, each with two biases, and a linear layer on both."""
    direction = 4 * LSTM_UNITS * (size.width + LSTM_UNITS + 2)
    return 2 * direction + (2 * LSTM_UNITS + 1) * len(STATES[settings.task])


def bottleneck_units(settings: AdapterSettings, size: Dimensions) -> int:
    """Units u of a bottleneck, or rank of a LoRA: width / reduction factor, at least one."""
    units = max(1, size.width // settings.reduction_factor)
    if settings.kind in ("compacter", "parallel_compacter"):
        factors = settings.hypercomplex_dim
        return max(1, units // factors) * factors
    return units


def places(settings: AdapterSettings) -> int:
    """Bottlenecks in a block."""
    return 2 if settings.location == "both" else 1


def adapters(settings: AdapterSettings, size: Dimensions) -> int:
    """Of all adapters; kinds and sources as in `kinds.library_config`."""
    kind, blocks = settings.kind, size.blocks - settings.skip_layers
    units, width, inner = bottleneck_units(settings, size), size.width, size.inner
    bottleneck = 2 * width * units + units + width
    if kind in ("bottleneck", "parallel_bottleneck"):
        return blocks * places(settings) * bottleneck
    if kind in ("compacter", "parallel_compacter"):
        # Rank-one factors of both matrices, their biases, and for the whole model the rules that mix them.
        return blocks * places(settings) * 3 * (width + units) + settings.hypercomplex_dim**3
    if kind in ("lora", "dora"):
        matrices = lora_matrices(settings, size)
        ranks = sum(units * (given + made) for given, made in matrices)
        return blocks * (ranks + (sum(made for _, made in matrices) if kind == "dora" else 0))
    if kind == "ia3":
        return blocks * (2 * inner + size.feed_forward)
    prefixes = _prefixes(settings, size, blocks)
    if kind == "prefix_tuning":
        return prefixes
    if kind == "mam":
        return prefixes + blocks * bottleneck
    assert kind == "unipelt", kind
    # Gates: of the prefix, of the bottleneck, of the two LoRAs.
    gates = 4 * (width + 1)
    return prefixes + blocks * (bottleneck + 2 * units * (width + inner) + gates)


def lora_matrices(settings: AdapterSettings, size: Dimensions) -> list[tuple[int, int]]:
    """Widths (given, made) of the layers of a block that a LoRA or DoRA is on."""
    where = settings.lora_location
    attention = 2 * [(size.width, size.inner)]
    feed_forward = [(size.width, size.feed_forward), (size.feed_forward, size.width)]
    return [*(attention if where != "feed_forward" else []), *(feed_forward if where != "attention" else [])]


def _prefixes(settings: AdapterSettings, size: Dimensions, blocks: int) -> int:
    made = blocks * 2 * size.inner
    if settings.prefix_hidden == 0:
        return settings.prefix_length * made
    hidden = settings.prefix_hidden
    return settings.prefix_length * size.width + (size.width + 1) * hidden + (hidden + 1) * made
