"""The sizes of an encoder, counted from its architecture without loading or building it.

Invariant: `parameters` counts exactly what `model.from_config` makes for the same architecture. Pure arithmetic, no
torch. Flow: `architecture.check_config` -> [this] -> estimates of memory.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from liftray.backbone.families import family


@dataclass(frozen=True)
class Dimensions:
    """Sizes of one encoder.

    Attributes:
        family: `esm`, `t5` or `bert`.
        blocks: Transformer blocks n.
        width: Width D of the hidden states.
        inner: Width I of the attention's states: heads x width of a head.
        heads: Attention heads H.
        feed_forward: Width F of the feed-forward part.
        activation: Its activation; `gated-...` where it has a third matrix.
        rows: Rows of the embedding: tokens, and learned positions and token types where it has them.
        rotary: Whether queries and keys are rotated.
        buckets: Rows of T5's relative position bias, which block 0 holds for all; 0 for other families.
        embedding_norm: Whether a norm follows the embedding.
    """

    family: str
    blocks: int
    width: int
    inner: int
    heads: int
    feed_forward: int
    activation: str
    rows: int
    rotary: bool
    buckets: int
    embedding_norm: bool

    @classmethod
    def of(cls, family_name: str, config: Mapping[str, Any]) -> "Dimensions":
        """Read them from a checked architecture, every key of the family (see `architecture.check_config`).

        Args:
            family_name: `esm`, `t5` or `bert`.
            config: The architecture.
        """
        spec = family(family_name)
        is_t5, width, heads = family_name == "t5", config[spec.width_key], config[spec.heads_key]
        rotary = config.get("position_embedding_type") == "rotary"
        positions = 0 if is_t5 or rotary else config["max_position_embeddings"]
        return cls(
            family=family_name,
            blocks=config[spec.blocks_key],
            width=width,
            inner=heads * config["d_kv"] if is_t5 else width,
            heads=heads,
            feed_forward=config["d_ff" if is_t5 else "intermediate_size"],
            activation=config["feed_forward_proj"] if is_t5 else config.get("hidden_act", "gelu"),
            rows=config["vocab_size"] + positions + config.get("type_vocab_size", 0),
            rotary=rotary,
            buckets=config["relative_attention_num_buckets"] if is_t5 else 0,
            embedding_norm=family_name == "bert" or bool(config.get("emb_layer_norm_before")),
        )

    @property
    def embedding(self) -> int:
        """Parameters before block 0."""
        return self.rows * self.width + (2 * self.width if self.embedding_norm else 0)

    @property
    def position_bias(self) -> int:
        """Parameters of T5's relative position bias."""
        return self.buckets * self.heads

    @property
    def final_norm(self) -> int:
        """Parameters of the norm behind the last block."""
        return {"esm": 2, "t5": 1, "bert": 0}[self.family] * self.width

    @property
    def block(self) -> int:
        """Parameters of one block: `4 D I + 2 D F` (`3 D F` where gated), its norms and, but for T5, its biases."""
        matrices = 3 if self.activation.startswith("gated") else 2
        products = 4 * self.width * self.inner + matrices * self.width * self.feed_forward
        if self.family == "t5":
            return products + 2 * self.width
        return products + 3 * self.inner + self.width + self.feed_forward + self.width + 4 * self.width

    def parameters(self, first_block: int = 0) -> int:
        """Parameters of the whole encoder, or of the part of it above a cut.

        Args:
            first_block: Without the blocks below it and the embedding; T5's position bias is kept.
        """
        kept = (self.blocks - first_block) * self.block + self.position_bias + self.final_norm
        return kept if first_block else kept + self.embedding
