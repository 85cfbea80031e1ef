"""The encoders of the three families: where each keeps its embedding, blocks, final norm and adapters.

Invariant: that of `encoder.Backbone`, which calls these; no other module knows how a family names its modules.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers.models.esm.modeling_esm import RotaryEmbedding

from liftray.backbone import attention
from liftray.backbone.encoder import Backbone
from liftray.backbone.packed import WindowLayout


class EsmBackbone(Backbone):
    """ESM-1b and ESM-2."""

    @property
    def blocks(self) -> nn.ModuleList:
        """The transformer blocks."""
        return self.hf.encoder.layer

    def finish(self, hidden_TD: Tensor) -> Tensor:
        """Apply the final norm."""
        return self._final_norm(hidden_TD)

    @property
    def _final_norm(self) -> nn.Module:
        return self.hf.encoder.emb_layer_norm_after

    def _use_packed_attention(self) -> None:
        blocks: Any = self.blocks
        attention.use_in([block.attention.self for block in blocks], attention.esm_forward)
        attention.use_in([block.intermediate for block in blocks], attention.esm_intermediate_forward)

    def _embed(self, tokens_1T: Tensor, layout: WindowLayout) -> Tensor:
        # Positions are numbered from pad_token_id + 1. Token dropout scales by the share of <mask> tokens, and there
        # are none, so one row of several windows gives the same.
        first = int(self.resolved.config["pad_token_id"]) + 1
        return self.hf.embeddings(input_ids=tokens_1T, position_ids=layout.position_T[None] + first)

    def run_output_adapter(self, number: int, hidden_TD: Tensor) -> Tensor:
        """Apply a block's bottleneck adapter; see `Backbone.run_output_adapter`."""
        hidden_1TD = hidden_TD[None]
        blocks: Any = self.blocks
        # The library's layer takes the output of the feed-forward part and what is added to it; only their sum matters.
        added_1TD = blocks[number].output_adapters(torch.zeros_like(hidden_1TD), hidden_1TD, None)
        return (hidden_1TD + added_1TD)[0]

    def _drop_embedding(self) -> None:
        self.hf.embeddings = nn.Identity()

    def _drop_block(self, number: int) -> None:
        block: Any = self.blocks[number]
        block.attention = block.intermediate = block.output = block.LayerNorm = nn.Identity()

    def _max_tokens(self) -> int | None:
        config = self.resolved.config
        if config["position_embedding_type"] == "rotary":
            return None
        # Positions are numbered from pad_token_id + 1.
        return int(config["max_position_embeddings"]) - int(config["pad_token_id"]) - 1

    def _apply(self, fn: Any, recurse: bool = True) -> "EsmBackbone":
        """Keep the rotary frequencies in float32 whatever dtype the model is cast to.

        In bfloat16 positions above 256 would collapse onto each other: DeepSpeed casts buffers as well.
        """
        rotaries = [module for module in self.hf.modules() if isinstance(module, RotaryEmbedding)]
        exact = [module.inv_freq for module in rotaries]
        super()._apply(fn, recurse)
        for module, inv_freq in zip(rotaries, exact, strict=True):
            module.inv_freq = inv_freq.to(module.inv_freq.device)
        return self


class T5Backbone(Backbone):
    """The encoder of ProtT5 and of models like Ankh."""

    @property
    def blocks(self) -> nn.ModuleList:
        """The transformer blocks."""
        return self.hf.encoder.block

    def finish(self, hidden_TD: Tensor) -> Tensor:
        """Apply the final norm."""
        return self.hf.encoder.dropout(self._final_norm(hidden_TD))

    @property
    def _final_norm(self) -> nn.Module:
        return self.hf.encoder.final_layer_norm

    def _use_packed_attention(self) -> None:
        blocks: Any = self.blocks
        attention.use_in([block.layer[0].SelfAttention for block in blocks], attention.t5_forward)

    def _shared(self, hidden_TD: Tensor, layout: WindowLayout) -> Tensor:
        """The relative position bias, as wide as the longest window.

        Only block 0 holds it and all blocks add it. It is computed here whatever block a run starts with: without it,
        a suffix would be wrong in silence.
        """
        blocks: Any = self.blocks
        bias_1HLL: Tensor = (
            blocks[0]
            .layer[0]
            .SelfAttention.compute_bias(layout.longest, layout.longest, device=hidden_TD.device)
        )
        return bias_1HLL[0].contiguous()

    def _run_block(
        self, block: Any, hidden_1TD: Tensor, layout: WindowLayout, shared: Tensor | None
    ) -> Tensor:
        hidden: Tensor = block(hidden_1TD, attention_mask=layout, position_bias=shared)[0]
        return hidden

    def run_output_adapter(self, number: int, hidden_TD: Tensor) -> Tensor:
        """Apply a block's bottleneck adapter; see `Backbone.run_output_adapter`."""
        hidden_1TD = hidden_TD[None]
        blocks: Any = self.blocks
        adapted_1TD: Tensor = (
            blocks[number].layer[-1].bottleneck_layer_forward(torch.zeros_like(hidden_1TD), hidden_1TD, None)
        )
        return adapted_1TD[0]

    def _embed(self, tokens_1T: Tensor, layout: WindowLayout) -> Tensor:
        return self.hf.encoder.dropout(self.hf.encoder.embed_tokens(tokens_1T))

    def _drop_embedding(self) -> None:
        self.hf.shared = self.hf.encoder.embed_tokens = nn.Identity()

    def _drop_block(self, number: int) -> None:
        attention, feed_forward = self.blocks[number].layer  # type: ignore[union-attr, misc]
        attention.layer_norm = feed_forward.layer_norm = feed_forward.DenseReluDense = nn.Identity()
        # The position bias of the attention, which only block 0 has, is kept.
        for name in ("q", "k", "v", "o"):
            setattr(attention.SelfAttention, name, nn.Identity())


class BertBackbone(Backbone):
    """ProtBERT."""

    @property
    def blocks(self) -> nn.ModuleList:
        """The transformer blocks."""
        return self.hf.encoder.layer

    def finish(self, hidden_TD: Tensor) -> Tensor:
        """Return the hidden state unchanged: BERT's blocks end in a norm of their own."""
        return hidden_TD

    @property
    def _final_norm(self) -> nn.Module:
        return nn.Identity()

    def _use_packed_attention(self) -> None:
        blocks: Any = self.blocks
        attention.use_in([block.attention.self for block in blocks], attention.bert_forward)

    def _embed(self, tokens_1T: Tensor, layout: WindowLayout) -> Tensor:
        return self.hf.embeddings(
            input_ids=tokens_1T,
            token_type_ids=torch.zeros_like(tokens_1T),
            position_ids=layout.position_T[None],
        )

    def _run_block(
        self, block: Any, hidden_1TD: Tensor, layout: WindowLayout, shared: Tensor | None
    ) -> Tensor:
        # In the place of the head mask: the adapters library reads the shape of the attention mask.
        hidden: Tensor = block(hidden_1TD, None, layout)[0]
        return hidden

    def _drop_embedding(self) -> None:
        self.hf.embeddings = nn.Identity()

    def _drop_block(self, number: int) -> None:
        self.blocks[number] = nn.Identity()

    def _max_tokens(self) -> int | None:
        return int(self.resolved.config["max_position_embeddings"])
