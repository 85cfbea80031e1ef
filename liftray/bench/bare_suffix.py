"""The blocks above the cut of an ESM-2 encoder, written by hand: packed, with as few operations as possible.

Invariant: equal to the Hugging Face encoder with adapters of the `adapters` library in its blocks, up to rounding.
Tokens of all chains are rows of one matrix, so every product is one GEMM and no padding is computed; attention runs
chain by chain. Flow: hidden states at the cut -> [this] -> logits. Read by `bare`.

2026-11, Xeon with AMX, one thread, ESM-2 8M above block 4, residues/s. The entry `adapter` gains 1.4 in float32 and in
bfloat16. Attention: in float32 the fused kernel (10.2k against 7.4k by two products); in bfloat16 the fused kernel run
in float32 (16.9k in one run, against 14.8k by two products and 10.6k by the kernel for bfloat16). `torch.compile` of
all but attention gains nothing in either (9.5k, 15.0k): in float32 the products run at the processor's limit. float32
activations with bfloat16 products lose (6.9k).
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

Entry = Literal["cut", "adapter"]
Attention = Literal["fused", "products", "widened"]
Kind = Literal["bottleneck", "lora"]


class Suffix(nn.Module):
    """Blocks k..n of an `EsmModel` with adapters, final norm, dropout and a linear layer.

    Args:
        encoder: The `EsmModel`; its weights are copied, cast to `dtype`.
        cut: The lowest block k that has an adapter.
        kind: Adapter kind, as `adapters` has them: a bottleneck behind the feed-forward part, or LoRA on query and
            value.
        width: Of the bottleneck, or the rank.
        classes: Classes C.
        dropout: Before the linear layer.
        dtype: Of the frozen weights and all activations; what trains is float32.
        entry: Where the hidden states enter: `cut` before block k; `adapter`, for bottlenecks alone, behind it. Nothing
            inside block k depends on what trains, since its bottleneck reads the block's own output: the frozen
            encoder's state k + 1 holds all of block k.
        attention: `fused` (SDPA), `products` (two batched products and a softmax, each kept for backward) or `widened`
            (SDPA in float32 whatever the precision of all else).
    """

    def __init__(
        self,
        encoder: nn.Module,
        cut: int,
        *,
        kind: Kind,
        width: int,
        classes: int,
        dropout: float,
        dtype: torch.dtype,
        entry: Entry = "cut",
        attention: Attention = "fused",
    ) -> None:
        super().__init__()
        if entry != "cut" and kind != "bottleneck":
            raise ValueError("a LoRA changes the inside of its block: enter at the cut")
        esm: Any = encoder
        first = cut if entry == "cut" else cut + 1
        blocks = esm.encoder.layer
        hidden = int(esm.config.hidden_size)
        self.entry, self.kind = entry, kind
        self.blocks = nn.ModuleList(_Block(each, dtype, attention) for each in blocks[first:])
        make = Bottleneck if kind == "bottleneck" else Lora
        self.adapters = nn.ModuleList(make(hidden, width) for _ in range(cut, len(blocks)))
        self.norm = _Norm(esm.encoder.emb_layer_norm_after, dtype)
        self.dropout = dropout
        self.classify = nn.Linear(hidden, classes)

    def forward(self, hidden_TD: Tensor, lengths: Sequence[int], turn: tuple[Tensor, Tensor]) -> Tensor:
        """Give logits.

        Args:
            hidden_TD: Frozen hidden states where the suffix enters; all chains, one after another.
            lengths: Tokens of each chain; they sum to T.
            turn: From `rotary`.

        Returns:
            logits_TC in float32.
        """
        adapters = list(self.adapters)
        if self.entry == "adapter":
            hidden_TD = adapters.pop(0)(hidden_TD)
        for block, adapter in zip(self.blocks, adapters, strict=True):
            if self.kind == "bottleneck":
                hidden_TD = adapter(block(hidden_TD, lengths, turn))
            else:
                hidden_TD = block(hidden_TD, lengths, turn, adapter)
        hidden_TD = functional.dropout(self.norm(hidden_TD), self.dropout, self.training)
        return _linear(hidden_TD, self.classify).float()


class Bottleneck(nn.Module):
    """`h + up(relu(down(h)))` on a block's output h, initialised as BERT's layers (Pfeiffer et al. 2021)."""

    def __init__(self, hidden: int, width: int) -> None:
        super().__init__()
        self.down = nn.Linear(hidden, width)
        self.up = nn.Linear(width, hidden)
        for layer in (self.down, self.up):
            nn.init.normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)

    def forward(self, hidden_TD: Tensor) -> Tensor:
        """Give hidden_TD."""
        return hidden_TD + _linear(functional.relu(_linear(hidden_TD, self.down)), self.up)


class Lora(nn.Module):
    """What is added to query and value: `B A x`, B zero at first (Hu et al. 2022), scaling 1."""

    def __init__(self, hidden: int, rank: int) -> None:
        super().__init__()
        self.down = nn.Linear(hidden, 2 * rank, bias=False)
        self.query_up = nn.Linear(rank, hidden, bias=False)
        self.value_up = nn.Linear(rank, hidden, bias=False)
        nn.init.kaiming_uniform_(self.down.weight, a=5**0.5)
        nn.init.zeros_(self.query_up.weight)
        nn.init.zeros_(self.value_up.weight)

    def forward(self, x_TD: Tensor) -> tuple[Tensor, Tensor]:
        """Give what is added to query and value, each of x_TD's shape."""
        query_TR, value_TR = _linear(x_TD, self.down).chunk(2, dim=1)
        return _linear(query_TR, self.query_up), _linear(value_TR, self.value_up)


class _Norm(nn.Module):
    def __init__(self, norm: nn.LayerNorm, dtype: torch.dtype) -> None:
        super().__init__()
        self.eps = norm.eps
        self.register_buffer("weight", norm.weight.detach().to(dtype))
        self.register_buffer("bias", norm.bias.detach().to(dtype))

    def forward(self, x_TD: Tensor) -> Tensor:
        weight: Any = self.weight
        return functional.layer_norm(x_TD, weight.shape, weight, self.bias, self.eps)  # type: ignore[arg-type]


class _Block(nn.Module):
    """One frozen block: query, key and value in one product, the query's scaling inside its weights."""

    query_key_value: Tensor
    query_key_value_bias: Tensor
    out: Tensor
    out_bias: Tensor
    wide: Tensor
    wide_bias: Tensor
    narrow: Tensor
    narrow_bias: Tensor

    def __init__(self, layer: Any, dtype: torch.dtype, attention: Attention) -> None:
        super().__init__()
        own = layer.attention.self
        self.heads, self.head_width = own.num_attention_heads, own.attention_head_size
        self.scale = self.head_width**-0.5
        self.attend = {"fused": fused, "products": Products.apply, "widened": widened}[attention]
        self.norm_before_attention = _Norm(layer.attention.LayerNorm, dtype)
        self.norm_before_feed_forward = _Norm(layer.LayerNorm, dtype)
        for name, weights, biases in (
            (
                "query_key_value",
                [own.query.weight * self.scale, own.key.weight, own.value.weight],
                [own.query.bias * self.scale, own.key.bias, own.value.bias],
            ),
            ("out", [layer.attention.output.dense.weight], [layer.attention.output.dense.bias]),
            ("wide", [layer.intermediate.dense.weight], [layer.intermediate.dense.bias]),
            ("narrow", [layer.output.dense.weight], [layer.output.dense.bias]),
        ):
            self.register_buffer(name, torch.cat([each.detach() for each in weights]).to(dtype))
            self.register_buffer(f"{name}_bias", torch.cat([each.detach() for each in biases]).to(dtype))

    def forward(
        self, hidden_TD: Tensor, lengths: Sequence[int], turn: tuple[Tensor, Tensor], lora: Any = None
    ) -> Tensor:
        x_TD = self.norm_before_attention(hidden_TD)
        packed_T3D = functional.linear(x_TD, self.query_key_value, self.query_key_value_bias)
        if lora is not None:
            query_TD, value_TD = lora(x_TD)
            packed_T3D = packed_T3D + torch.cat(
                [query_TD * self.scale, torch.zeros_like(query_TD), value_TD], dim=1
            )
        parts_T3HE = packed_T3D.view(-1, 3, self.heads, self.head_width)
        turned_T2HE = _turn(parts_T3HE[:, :2], *turn)
        mixed_TD = self.attend(turned_T2HE[:, 0], turned_T2HE[:, 1], parts_T3HE[:, 2], tuple(lengths))
        hidden_TD = hidden_TD + functional.linear(mixed_TD, self.out, self.out_bias)
        x_TD = self.norm_before_feed_forward(hidden_TD)
        x_TF = functional.gelu(functional.linear(x_TD, self.wide, self.wide_bias))
        return hidden_TD + functional.linear(x_TF, self.narrow, self.narrow_bias)


def rotary(lengths: Sequence[int], head_width: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Cosines and sines of packed positions (Su et al. 2021), computed in float32.

    Args:
        lengths: Tokens of each chain.
        head_width: Width of a head.
        dtype: Of the result.

    Returns:
        cos_T11E, sin_T11E.
    """
    frequencies = 1.0 / 10000 ** (torch.arange(0, head_width, 2).float() / head_width)
    places_T = torch.cat([torch.arange(length) for length in lengths]).float()
    angles_TE = torch.outer(places_T, frequencies).repeat(1, 2)
    return angles_TE.cos().to(dtype)[:, None, None], angles_TE.sin().to(dtype)[:, None, None]


def fused(query_THE: Tensor, key_THE: Tensor, value_THE: Tensor, lengths: tuple[int, ...]) -> Tensor:
    """Attention by SDPA, chain by chain; the query is scaled already.

    Returns:
        mixed_TD.
    """
    mixed = []
    for part in zip(*(each.split(lengths) for each in (query_THE, key_THE, value_THE)), strict=True):
        query, key, value = (each.transpose(0, 1)[None] for each in part)
        mixed.append(functional.scaled_dot_product_attention(query, key, value, scale=1.0))
    return torch.cat([each[0].transpose(0, 1) for each in mixed]).flatten(1)


def widened(query_THE: Tensor, key_THE: Tensor, value_THE: Tensor, lengths: tuple[int, ...]) -> Tensor:
    """The same in float32: on a CPU the bfloat16 kernel is slower.

    Returns:
        mixed_TD in the precision of the query.
    """
    return fused(query_THE.float(), key_THE.float(), value_THE.float(), lengths).to(query_THE.dtype)


class Products(torch.autograd.Function):
    """The same by batched products; one node of the graph for all chains, written into one output."""

    @staticmethod
    def forward(
        ctx: Any, query_THE: Tensor, key_THE: Tensor, value_THE: Tensor, lengths: tuple[int, ...]
    ) -> Tensor:
        """Give mixed_TD, as `fused`."""
        mixed_THE = torch.empty(query_THE.shape, dtype=query_THE.dtype)
        query_HTE, key_HTE, value_HTE = (each.transpose(0, 1) for each in (query_THE, key_THE, value_THE))
        weights = []
        for part in _slices(lengths):
            scores_HLL = torch.bmm(query_HTE[:, part], key_HTE[:, part].transpose(1, 2))
            weights.append(torch.softmax(scores_HLL, dim=-1))
            mixed_THE[part] = torch.bmm(weights[-1], value_HTE[:, part]).transpose(0, 1)
        ctx.save_for_backward(query_HTE, key_HTE, value_HTE, *weights)
        ctx.lengths = lengths
        return mixed_THE.flatten(1)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        """Give the gradients of query, key and value."""
        query_HTE, key_HTE, value_HTE, *weights = ctx.saved_tensors
        heads, tokens, width = query_HTE.shape
        grad_HTE = grads[0].view(tokens, heads, width).transpose(0, 1)
        query_THE, key_THE, value_THE = (
            torch.empty(tokens, heads, width, dtype=grad_HTE.dtype) for _ in range(3)
        )
        for part, weights_HLL in zip(_slices(ctx.lengths), weights, strict=True):
            mixed_HLE = grad_HTE[:, part]
            value_THE[part] = torch.bmm(weights_HLL.transpose(1, 2), mixed_HLE).transpose(0, 1)
            scores_HLL = torch._softmax_backward_data(
                torch.bmm(mixed_HLE, value_HTE[:, part].transpose(1, 2)), weights_HLL, -1, weights_HLL.dtype
            )
            query_THE[part] = torch.bmm(scores_HLL, key_HTE[:, part]).transpose(0, 1)
            key_THE[part] = torch.bmm(scores_HLL.transpose(1, 2), query_HTE[:, part]).transpose(0, 1)
        return query_THE, key_THE, value_THE, None


def _slices(lengths: Sequence[int]) -> list[slice]:
    ends = torch.tensor([0, *lengths]).cumsum(0).tolist()
    return [slice(start, stop) for start, stop in pairwise(ends)]


def _turn(x_T2HE: Tensor, cos_T11E: Tensor, sin_T11E: Tensor) -> Tensor:
    left, right = x_T2HE.chunk(2, dim=-1)
    return x_T2HE * cos_T11E + torch.cat((-right, left), dim=-1) * sin_T11E


def _linear(x: Tensor, layer: nn.Linear) -> Tensor:
    """A float32 layer that trains, applied in the precision of the activations."""
    bias = None if layer.bias is None else layer.bias.to(x.dtype)
    return functional.linear(x, layer.weight.to(x.dtype), bias)
