"""A frozen protein language model that can be run in parts: embedding, any run of blocks, final norm.

Invariant: for every k, finish(run_blocks(run_blocks(embed(x), 0, k), k, n)) has the very bits of the family's
own forward. Blocks are called as modules with the arguments their own encoder would give, so adapters that
change the modules in place, and ZeRO-3, which gathers a module's parameters when it is called, both keep
working. Flow: `model.load` -> [this] -> the cache (blocks below the cut) and the tagger (blocks above it).
"""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import nn
from transformers.modeling_attn_mask_utils import _prepare_4d_attention_mask_for_sdpa
from transformers.models.esm.modeling_esm import RotaryEmbedding

from liftray.backbone.sources import ResolvedBackbone
from liftray.backbone.tokens import TokenTable
from liftray.errors import BackboneError


class Backbone(nn.Module, ABC):
    """One encoder with its tokens.

    All parameters start frozen and in eval mode. Every dropout rate of the encoder is zero, so train mode
    gives the same bits as eval mode; it still reaches the adapters, whose own dropout is theirs.

    Attributes:
        hf: The transformers encoder, without pooler and task heads.
        resolved: Where it came from.
        family: `esm`, `t5` or `bert`.
        num_blocks: Transformer blocks n.
        width: Width D of the hidden states.
        tokens: How it writes a sequence.
        max_tokens: The longest token row it has positions for; None where positions are relative.
    """

    hf: Any

    def __init__(self, hf: nn.Module, resolved: ResolvedBackbone) -> None:
        super().__init__()
        self.hf = hf
        self.resolved = resolved
        self.family: str = resolved.family
        self.num_blocks: int = resolved.num_blocks
        self.width: int = resolved.width
        self.tokens: TokenTable = resolved.tokens
        self.max_tokens: int | None = self._max_tokens()
        self.requires_grad_(False)
        self.eval()

    @property
    @abstractmethod
    def blocks(self) -> nn.ModuleList:
        """The transformer blocks, from the embedding up."""

    def embed(self, tokens_BL: torch.Tensor, mask_BL: torch.Tensor) -> torch.Tensor:
        """Do everything before block 0.

        Args:
            tokens_BL: Token ids, padded.
            mask_BL: 1 at tokens, 0 at padding, which stands at the end of a row.

        Returns:
            hidden_BLD.

        Raises:
            BackboneError: The rows are longer than the model has positions for.
        """
        if self.max_tokens is not None and tokens_BL.shape[1] > self.max_tokens:
            raise BackboneError(
                f"{tokens_BL.shape[1]} tokens in a row, and positions for {self.max_tokens} only",
                where=self.resolved.source,
                remedy=f"set data.max_length to {self.max_residues} or less",
            )
        hidden_BLD: torch.Tensor = self._embed(tokens_BL, mask_BL)
        return hidden_BLD

    @abstractmethod
    def run_blocks(
        self, hidden_BLD: torch.Tensor, mask_BL: torch.Tensor, start: int, stop: int
    ) -> torch.Tensor:
        """Run blocks start..stop-1.

        Args:
            hidden_BLD: What `embed` or the blocks below `start` gave.
            mask_BL: 1 at tokens, 0 at padding.
            start: The first block to run.
            stop: The block to stop before.

        Returns:
            hidden_BLD, the input of block `stop`.
        """

    @abstractmethod
    def finish(self, hidden_BLD: torch.Tensor) -> torch.Tensor:
        """Do everything after the last block: the final norm, where the family has one."""

    def forward(self, tokens_BL: torch.Tensor, mask_BL: torch.Tensor) -> torch.Tensor:
        """Run the whole encoder; arguments as `embed`, result the last hidden_BLD."""
        return self.finish(self.run_blocks(self.embed(tokens_BL, mask_BL), mask_BL, 0, self.num_blocks))

    @property
    def max_residues(self) -> int | None:
        """The longest sequence it has positions for; None where positions are relative."""
        if self.max_tokens is None:
            return None
        return self.max_tokens - self.tokens.num_prefix - self.tokens.num_suffix

    @abstractmethod
    def _embed(self, tokens_BL: torch.Tensor, mask_BL: torch.Tensor) -> torch.Tensor: ...

    def _max_tokens(self) -> int | None:
        return None


class EsmBackbone(Backbone):
    """ESM-1b and ESM-2."""

    @property
    def blocks(self) -> nn.ModuleList:
        """The transformer blocks."""
        return self.hf.encoder.layer

    def run_blocks(
        self, hidden_BLD: torch.Tensor, mask_BL: torch.Tensor, start: int, stop: int
    ) -> torch.Tensor:
        """Run blocks start..stop-1; see `Backbone.run_blocks`."""
        blocks = self.blocks
        self._fill_rotary_tables(hidden_BLD, start, stop)
        mask_B11L = self.hf.get_extended_attention_mask(mask_BL, tuple(mask_BL.shape), dtype=hidden_BLD.dtype)
        for number in range(start, stop):
            hidden_BLD = blocks[number](hidden_BLD, attention_mask=mask_B11L)
        return hidden_BLD

    def finish(self, hidden_BLD: torch.Tensor) -> torch.Tensor:
        """Apply the final norm."""
        return self.hf.encoder.emb_layer_norm_after(hidden_BLD)

    def _embed(self, tokens_BL: torch.Tensor, mask_BL: torch.Tensor) -> torch.Tensor:
        # As EsmModel calls it: without the mask, which would only zero the padding's rows. Token dropout
        # scales by the share of <mask> tokens, and these rows have none, so the residues' bits are the same
        # either way.
        return self.hf.embeddings(input_ids=tokens_BL)

    def _max_tokens(self) -> int | None:
        config = self.resolved.config
        if config["position_embedding_type"] == "rotary":
            return None
        # Positions are numbered from pad_token_id + 1.
        return int(config["max_position_embeddings"]) - int(config["pad_token_id"]) - 1

    def _fill_rotary_tables(self, hidden_BLD: torch.Tensor, start: int, stop: int) -> None:
        """Make the cosine tables that each block caches outside of inference mode.

        A table made in inference mode would be met again by a training step on rows of the same length, whose
        backward must not use such tensors.
        """
        # A compiled graph keeps no such tables, and cannot ask for the mode.
        if torch.compiler.is_compiling() or not torch.is_inference_mode_enabled():
            return
        blocks: Any = self.blocks
        with torch.inference_mode(False):
            for number in range(start, stop):
                rotary = blocks[number].attention.self.rotary_embeddings
                if rotary is not None:
                    rotary._update_cos_sin_tables(hidden_BLD, seq_dimension=1)

    def _apply(self, fn: Any, recurse: bool = True) -> "EsmBackbone":
        """Keep the rotary frequencies in float32 whatever dtype the model is cast to.

        In bfloat16 positions above 256 would collapse onto each other: DeepSpeed casts buffers as well.
        """
        rotaries = [module for module in self.hf.modules() if isinstance(module, RotaryEmbedding)]
        exact = [module.inv_freq for module in rotaries]
        super()._apply(fn, recurse)
        for module, inv_freq in zip(rotaries, exact, strict=True):
            module._seq_len_cached = None
            module.inv_freq = inv_freq.to(module.inv_freq.device)
        return self


class T5Backbone(Backbone):
    """The encoder of ProtT5 and of models like Ankh."""

    @property
    def blocks(self) -> nn.ModuleList:
        """The transformer blocks."""
        return self.hf.encoder.block

    def run_blocks(
        self, hidden_BLD: torch.Tensor, mask_BL: torch.Tensor, start: int, stop: int
    ) -> torch.Tensor:
        """Run blocks start..stop-1; see `Backbone.run_blocks`.

        Only block 0 holds the relative position bias that all blocks add: it is made here whatever `start`
        is, since a suffix run without it would be silently wrong.
        """
        length = hidden_BLD.shape[1]
        position_L = torch.arange(length, device=hidden_BLD.device)
        mask_B11L = (1.0 - mask_BL[:, None, None, :].to(hidden_BLD.dtype)) * torch.finfo(hidden_BLD.dtype).min
        blocks: Any = self.blocks
        bias_1HLL = (
            blocks[0]
            .layer[0]
            .SelfAttention.compute_bias(length, length, device=hidden_BLD.device, cache_position=position_L)
        )
        bias_BHLL = bias_1HLL + mask_B11L
        for number in range(start, stop):
            hidden_BLD, bias_BHLL = blocks[number](
                hidden_BLD, mask_B11L, bias_BHLL, None, None, None, cache_position=position_L
            )[:2]
        return hidden_BLD

    def finish(self, hidden_BLD: torch.Tensor) -> torch.Tensor:
        """Apply the final norm."""
        return self.hf.encoder.dropout(self.hf.encoder.final_layer_norm(hidden_BLD))

    def _embed(self, tokens_BL: torch.Tensor, mask_BL: torch.Tensor) -> torch.Tensor:
        return self.hf.encoder.dropout(self.hf.encoder.embed_tokens(tokens_BL))


class BertBackbone(Backbone):
    """ProtBERT."""

    @property
    def blocks(self) -> nn.ModuleList:
        """The transformer blocks."""
        return self.hf.encoder.layer

    def run_blocks(
        self, hidden_BLD: torch.Tensor, mask_BL: torch.Tensor, start: int, stop: int
    ) -> torch.Tensor:
        """Run blocks start..stop-1; see `Backbone.run_blocks`."""
        if self.hf.attn_implementation == "sdpa":
            mask = _prepare_4d_attention_mask_for_sdpa(mask_BL, hidden_BLD.dtype, tgt_len=hidden_BLD.shape[1])
        else:
            mask = self.hf.get_extended_attention_mask(mask_BL, tuple(mask_BL.shape), dtype=hidden_BLD.dtype)
        blocks = self.blocks
        for number in range(start, stop):
            hidden_BLD = blocks[number](hidden_BLD, mask, None, None)[0]
        return hidden_BLD

    def finish(self, hidden_BLD: torch.Tensor) -> torch.Tensor:
        """Give the hidden state back: BERT's blocks end in a norm of their own."""
        return hidden_BLD

    def _embed(self, tokens_BL: torch.Tensor, mask_BL: torch.Tensor) -> torch.Tensor:
        return self.hf.embeddings(input_ids=tokens_BL)

    def _max_tokens(self) -> int | None:
        return int(self.resolved.config["max_position_embeddings"])
