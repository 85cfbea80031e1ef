"""A frozen protein language model that can be run in parts: embedding, any run of blocks, final norm.

Invariant: for every k, finish(run_blocks(run_blocks(embed(x), 0, k), k, n)) is the family's own forward over each
window alone, to rounding, and the same bits whatever k. Blocks are called as modules, because adapters change the
modules in place and ZeRO-3 gathers a module's parameters when it is called. Only the attention is replaced, so that
batches can be packed. Flow: `model.load` -> [this] -> the cache (blocks below the cut) and the tagger (blocks above
it).
"""

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from liftray.backbone.packed import WindowLayout
from liftray.backbone.sources import ResolvedBackbone
from liftray.backbone.tokens import TokenTable
from liftray.errors import BackboneError


class Backbone(nn.Module, ABC):
    """One encoder with its tokens.

    All parameters start frozen and in eval mode. Every dropout rate of the encoder is zero, so train mode
    gives the same bits as eval mode; it still reaches the adapters, which have their own dropout.

    Attributes:
        hf: The transformers encoder, without pooler and task heads.
        resolved: Where it came from.
        family: `esm`, `t5` or `bert`.
        num_blocks: Transformer blocks n.
        width: Width D of the hidden states.
        tokens: How it encodes a chain.
        max_tokens: The longest window, in tokens, that it has positions for; None where positions are relative.
        first_block: Blocks below it, and the embedding, are not in memory.
        recompute: Whether a backward pass computes each block's activations again instead of keeping them.
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
        self.first_block = 0
        self.recompute = False
        self._was_bfloat16 = False
        self._use_packed_attention()
        self.requires_grad_(False)
        self.eval()

    @property
    @abstractmethod
    def blocks(self) -> nn.ModuleList:
        """The transformer blocks, from the embedding up."""

    def embed(self, tokens_T: Tensor, layout: WindowLayout) -> Tensor:
        """Do everything before block 0.

        Args:
            tokens_T: Token ids of packed windows.
            layout: Their borders.

        Returns:
            hidden_TD.

        Raises:
            BackboneError: A window is longer than the model has positions for.
        """
        if self.max_tokens is not None and layout.longest > self.max_tokens:
            raise BackboneError(
                f"{layout.longest} tokens in a row, and positions for {self.max_tokens} only",
                where=self.resolved.source,
                remedy=f"set data.max_length to {self.max_residues} or less",
            )
        hidden_TD: Tensor = self._embed(tokens_T[None], layout)[0]
        return hidden_TD.to(self._stream)

    def run_blocks(
        self,
        hidden_TD: Tensor,
        layout: WindowLayout,
        start: int,
        stop: int,
        around: AbstractContextManager[None] | None = None,
    ) -> Tensor:
        """Run blocks start..stop-1.

        Args:
            hidden_TD: The result of `embed` or of the blocks below `start`.
            layout: Borders of the packed windows.
            start: The first block to run.
            stop: The block to stop before.
            around: The context that the caller entered for these blocks, entered again where they are recomputed.

        Returns:
            hidden_TD, the input of block `stop`.

        Raises:
            ValueError: Block `start` is not in memory.
        """
        if start == stop:
            return hidden_TD
        if start < self.first_block:
            raise ValueError(
                f"block {start} is not in memory: the blocks below {self.first_block} were dropped"
            )
        hidden_1TD, shared = hidden_TD[None], self._shared(hidden_TD, layout)
        blocks: Any = self.blocks
        stream = self._stream
        for number in range(start, stop):
            if self.recompute and torch.is_grad_enabled():
                hidden_1TD = checkpoint(
                    self._run_block,
                    *(blocks[number], hidden_1TD, layout, shared),
                    use_reentrant=False,
                    context_fn=lambda: (nullcontext(), around or nullcontext()),
                )
            else:
                hidden_1TD = self._run_block(blocks[number], hidden_1TD, layout, shared)
            hidden_1TD = hidden_1TD.to(stream)
        return hidden_1TD[0]

    def run_output_adapter(self, number: int, hidden_TD: Tensor) -> Tensor:
        """Apply the bottleneck adapter behind a block to the block's frozen output.

        Such an adapter adds to its block's output a function of that output, `h + up(relu(down(h)))`, so nothing inside
        the block depends on what trains. Holds where no norm follows inside the block: not for BERT.

        Args:
            number: The block.
            hidden_TD: Its output with no adapter: the input of block `number + 1`.

        Returns:
            hidden_TD, its output with the adapter.
        """
        raise NotImplementedError(f"{self.family} has a norm behind its adapters")

    def autocast(self, device_type: str) -> torch.autocast:
        """The context of a forward pass: bfloat16 products where the weights are bfloat16."""
        return torch.autocast(device_type, torch.bfloat16, enabled=self.is_bfloat16)

    @property
    def is_bfloat16(self) -> bool:
        """Whether the frozen weights are bfloat16; of a backbone without any left, whether they were."""
        left = next((weight for weight in self.parameters() if not weight.requires_grad), None)
        return self._was_bfloat16 if left is None else left.dtype == torch.bfloat16

    @torch.no_grad()
    def run_frozen(
        self,
        tokens_T: Tensor,
        layout: WindowLayout,
        stop: int,
        start: int = 0,
        hidden_TD: Tensor | None = None,
    ) -> Tensor:
        """Hidden states at block `stop` without a gradient; constant for a backbone and a window.

        On a CPU each window is run alone. The last bits of a matrix product depend on its number of rows, and a stored
        state must have the same bits as in any later batch. This costs nothing, since nothing is padded. Under ZeRO-3
        windows run together: each call of a module is a collective, and ranks have different numbers of windows.

        Args:
            tokens_T: Token ids of packed windows; not read where `hidden_TD` is given.
            layout: Their borders.
            stop: Block whose input is wanted.
            start: Block whose input is given.
            hidden_TD: Hidden states at block `start`; None to begin with the tokens.

        Returns:
            hidden_TD at block `stop`.
        """
        input_TX = tokens_T if hidden_TD is None else hidden_TD
        partitioned = any(hasattr(weight, "ds_id") for weight in self.parameters())
        if input_TX.is_cuda or partitioned or len(layout.lengths) == 1:
            entry_TD = self.embed(input_TX, layout) if hidden_TD is None else input_TX
            return self.run_blocks(entry_TD, layout, start, stop)
        outs = []
        for window_LX in input_TX.split(layout.lengths):
            alone = WindowLayout.of((len(window_LX),))
            entry_LD = self.embed(window_LX, alone) if hidden_TD is None else window_LX
            outs.append(self.run_blocks(entry_LD, alone, start, stop))
        return torch.cat(outs)

    @abstractmethod
    def finish(self, hidden_TD: Tensor) -> Tensor:
        """Do everything after the last block: the final norm, where the family has one."""

    def forward(self, tokens_T: Tensor, layout: WindowLayout) -> Tensor:
        """Run the whole encoder; arguments as `embed`, result the last hidden_TD."""
        return self.finish(self.run_blocks(self.embed(tokens_T, layout), layout, 0, self.num_blocks))

    @property
    def max_residues(self) -> int | None:
        """The longest sequence it has positions for; None where positions are relative."""
        if self.max_tokens is None:
            return None
        return self.max_tokens - self.tokens.num_leading - self.tokens.num_trailing

    def above(self, cut: int) -> dict[str, nn.Parameter]:
        """The backbone's own parameters in the blocks from `cut` up and in the final norm, by name.

        The embedding is below every cut. So is what block 0 of T5 holds for all blocks, the relative position bias,
        unless the cut is 0.
        """
        blocks = list(self.blocks)
        parts = {id(parameter) for block in blocks[cut:] for parameter in block.parameters()}
        parts |= {id(parameter) for parameter in self._final_norm.parameters()}
        return {name: parameter for name, parameter in self.named_parameters() if id(parameter) in parts}

    def drop_below(self, cut: int) -> None:
        """Drop the embedding and the blocks below a cut, but not the adapters behind them.

        Training from a cache needs only the rest.
        """
        self._was_bfloat16 = self.is_bfloat16
        self.first_block = cut
        self._drop_embedding()
        for number in range(cut):
            self._drop_block(number)

    @property
    @abstractmethod
    def _final_norm(self) -> nn.Module: ...

    @abstractmethod
    def _use_packed_attention(self) -> None: ...

    @abstractmethod
    def _embed(self, tokens_1T: Tensor, layout: WindowLayout) -> Tensor: ...

    @abstractmethod
    def _drop_embedding(self) -> None: ...

    @abstractmethod
    def _drop_block(self, number: int) -> None: ...

    @property
    def _stream(self) -> torch.dtype:
        """Precision of the states between blocks, and in the cache: CUDA's autocast would make it float32 by norms."""
        return torch.bfloat16 if self.is_bfloat16 else torch.float32

    def _shared(self, hidden_TD: Tensor, layout: WindowLayout) -> Tensor | None:
        """What the blocks of one `run_blocks` share."""
        return None

    def _run_block(
        self, block: Any, hidden_1TD: Tensor, layout: WindowLayout, shared: Tensor | None
    ) -> Tensor:
        # The layout takes the place of the mask: the family's blocks pass it unread to their self-attention.
        out: Any = block(hidden_1TD, attention_mask=layout)
        hidden: Tensor = out[0] if isinstance(out, tuple) else out
        return hidden

    def _max_tokens(self) -> int | None:
        return None
