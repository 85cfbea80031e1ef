"""Attention over packed batches: several windows laid end to end, none of which sees another.

Invariant: what a token attends to is its own window, whatever stands beside it, and the window's trained prefix where
prefix tuning gives it one; positions count from the start of the window. One function, `attend`, chooses the kernel;
the families differ only in how they make queries, keys and values. Called by `encoder`.

2026-11-23: on a CPU the windows are attended one after the other. A block-diagonal mask costs the square of the batch;
rows padded to a common length cost as much as the loop where lengths agree, and more where they do not.

2026-11-23: a prefix has no position: its keys are not rotated, and T5's relative bias is zero on them while residues
keep theirs. The adapters library does otherwise with T5: with a prefix in block 0 it moves every residue's position by
the prefix's length, and with block 0 left out it drops the bias of all blocks, residues' included.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from types import MethodType
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from liftray.backbone import prefixes
from liftray.backbone.prefixes import Prefix


@dataclass(frozen=True, eq=False)
class Layout:
    """Where the windows of a packed batch begin and end (T tokens in B windows).

    Attributes:
        lengths: Tokens of each window, special tokens included.
        cu_lens: (B + 1,) int32 on the device, where each window begins.
    """

    lengths: tuple[int, ...]
    cu_lens: Tensor

    @classmethod
    def of(cls, lengths: tuple[int, ...], device: torch.device | str = "cpu") -> "Layout":
        """Lay out windows of these lengths."""
        starts = torch.tensor((0, *lengths)).cumsum(0).to(torch.int32)
        return cls(lengths, starts.to(device, non_blocking=True))

    @property
    def longest(self) -> int:
        """Tokens of the longest window."""
        return max(self.lengths)

    @cached_property
    def window_T(self) -> Tensor:
        """(T,) number of the window that each token stands in."""
        device, total = self.cu_lens.device, sum(self.lengths)
        counts = self.cu_lens.diff()
        # The size is told: to find it, the device would have to be waited for.
        return torch.repeat_interleave(
            torch.arange(len(self.lengths), device=device), counts, output_size=total
        )

    @cached_property
    def position_T(self) -> Tensor:
        """(T,) position of each token in its window, from 0."""
        count = torch.arange(sum(self.lengths), device=self.cu_lens.device)
        return count - self.cu_lens[self.window_T]

    @cached_property
    def mask_BL(self) -> Tensor:
        """True where `pad` puts a token."""
        place_L = torch.arange(self.longest, device=self.cu_lens.device)
        return place_L < self.cu_lens.diff()[:, None]

    def pad(self, packed: Tensor) -> Tensor:
        """Lay windows out as rows of equal length: (T, ...) -> (B, L, ...), zero where there is no token."""
        rows = packed.new_zeros(len(self.lengths), self.longest, *packed.shape[1:])
        return rows.index_put((self.window_T, self.position_T), packed)

    def unpad(self, rows: Tensor) -> Tensor:
        """Undo `pad`: (B, L, ...) -> (T, ...)."""
        return rows[self.window_T, self.position_T]

    def window_mean(self, packed_TX: Tensor) -> Tensor:
        """The mean of each window's tokens, in float32: (T, X) -> (B, X)."""
        sums_BX = packed_TX.new_zeros(len(self.lengths), packed_TX.shape[1], dtype=torch.float32)
        return sums_BX.index_add(0, self.window_T, packed_TX.float()) / self.cu_lens.diff()[:, None]

    def longer(self, by: int) -> "Layout":
        """The layout of windows that begin with so many more places."""
        window = torch.arange(len(self.cu_lens), dtype=torch.int32, device=self.cu_lens.device)
        return Layout(tuple(length + by for length in self.lengths), self.cu_lens + by * window)

    def join(self, before_BPX: Tensor, packed: Tensor) -> Tensor:
        """Put P rows before each window's own: (B, P, ...) and (T, ...) -> (T + B P, ...), laid out as `longer(P)`."""
        count, device = before_BPX.shape[1], packed.device
        window_B = torch.arange(len(self.lengths), device=device)
        place_BP = (self.cu_lens[:-1] + count * window_B)[:, None] + torch.arange(count, device=device)
        place_T = torch.arange(len(packed), device=device) + count * (self.window_T + 1)
        both = torch.cat((before_BPX.flatten(0, 1).to(packed.dtype), packed))
        return torch.empty_like(both).index_put((torch.cat((place_BP.flatten(), place_T)),), both)

    def residues(self, num_prefix: int, num_suffix: int) -> Tensor:
        """(T,) True where a residue stands: tokens less the special ones at both ends of each window."""
        left_T = self.cu_lens.diff()[self.window_T] - self.position_T
        return (self.position_T >= num_prefix) & (left_T > num_suffix)


def attend(
    query_THE: Tensor,
    key_THE: Tensor,
    value_THE: Tensor,
    layout: Layout,
    scale: float,
    bias_HLL: Tensor | None = None,
    prefix: Prefix | None = None,
) -> Tensor:
    """Softmax attention within each window.

    Args:
        query_THE: Queries of H heads of E dimensions.
        key_THE: Keys.
        value_THE: Values.
        layout: The windows.
        scale: What the products are multiplied by.
        bias_HLL: Added to the products by position, as wide as the longest window; T5's relative position bias.
        prefix: Keys and values that stand before each window's own, for all its queries to attend to.

    Returns:
        out_TD with D = H * E.
    """
    keys = layout
    if prefix is not None:
        length = prefix.length
        keys, key_THE, value_THE = (
            layout.longer(length),
            layout.join(prefix.key_BPHE, key_THE),
            layout.join(prefix.value_BPHE, value_THE),
        )
        bias_HLL = None if bias_HLL is None else functional.pad(bias_HLL, (length, 0))
    if not query_THE.is_cuda:
        out_THE = _window_by_window(query_THE, key_THE, value_THE, layout, keys, scale, bias_HLL)
    elif (
        bias_HLL is None
        and query_THE.dtype in (torch.bfloat16, torch.float16)
        and takes_packed(query_THE.shape[-1])
        and _has_packed_kernel()
    ):
        from torch.nn.attention.varlen import varlen_attn

        borders = (layout.cu_lens, keys.cu_lens, layout.longest, keys.longest)
        out_THE = cast(Tensor, varlen_attn(query_THE, key_THE, value_THE, *borders, scale=scale))
    else:
        out_THE = _in_rows(query_THE, key_THE, value_THE, layout, keys, scale, bias_HLL)
    return out_THE.flatten(1)


def takes_packed(head_size: int) -> bool:
    """Whether CUDA's kernel for packed batches, flash attention 2, takes heads of this size."""
    return head_size % 8 == 0 and head_size <= 256


@cache
def _has_packed_kernel() -> bool:
    """Whether this GPU has that kernel: from Ampere on."""
    return torch.cuda.get_device_capability() >= (8, 0)


def _window_by_window(
    query_THE: Tensor,
    key_THE: Tensor,
    value_THE: Tensor,
    layout: Layout,
    keys: Layout,
    scale: float,
    bias: Tensor | None,
) -> Tensor:
    outs = []
    dtype = query_THE.dtype
    # In float32 whatever the model's precision: torch's kernel for bfloat16 takes three times as long backward.
    query_THE, key_THE, value_THE = (tensor.float() for tensor in (query_THE, key_THE, value_THE))
    # `split`, whose backward joins the parts' gradients once; slices would each make a gradient of the whole.
    borders = (layout.lengths, keys.lengths, keys.lengths)
    given = (query_THE, key_THE, value_THE)
    parts = zip(*(tensor.split(lengths) for tensor, lengths in zip(given, borders, strict=True)), strict=True)
    for window in parts:
        query, key, value = (part.transpose(0, 1)[None] for part in window)
        mask = None if bias is None else bias[None, :, : query.shape[2], : key.shape[2]].float()
        # Out of autocast, which would make it bfloat16 again.
        with torch.autocast("cpu", enabled=False):
            out = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)
        outs.append(out[0].transpose(0, 1))
    return torch.cat(outs).to(dtype)


def _in_rows(
    query_THE: Tensor,
    key_THE: Tensor,
    value_THE: Tensor,
    layout: Layout,
    keys: Layout,
    scale: float,
    bias: Tensor | None,
) -> Tensor:
    query = layout.pad(query_THE).transpose(1, 2)
    key, value = (keys.pad(tensor).transpose(1, 2) for tensor in (key_THE, value_THE))
    mask = keys.mask_BL[:, None, None, :]
    if bias is not None:
        mask = torch.where(mask, bias[None].to(query.dtype), torch.finfo(query.dtype).min)
    out = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)
    return layout.unpad(out.transpose(1, 2))


def use_in(modules: list[nn.Module], forward: Callable[..., Any]) -> None:
    """Give modules of a family another forward; adapters that wrap or replace their linear layers keep working.

    Args:
        modules: The family's own self-attention modules, for a forward that runs packed: their blocks hand them the
            layout in the place of a mask, which they pass on unread. Or the intermediate modules of ESM.
        forward: One of the forwards below.
    """
    for module in modules:
        module.forward = MethodType(forward, module)


def esm_forward(self: Any, hidden_1TD: Tensor, attention_mask: Layout, **_: Any) -> tuple[Tensor, None]:
    """ESM: the query is scaled before the rotation, as in training; ESM-1b has no rotation."""
    layout = attention_mask
    query_THE, key_THE, value_THE = (
        project(hidden_1TD)[0].unflatten(-1, (-1, self.attention_head_size))
        for project in (self.query, self.key, self.value)
    )
    query_THE = query_THE * self.attention_head_size**-0.5
    if self.rotary_embeddings is not None:
        cos_T1E, sin_T1E = _rotation(self.rotary_embeddings.inv_freq, layout)
        query_THE = _rotate(query_THE, cos_T1E, sin_T1E)
        key_THE = _rotate(key_THE, cos_T1E, sin_T1E)
    prefix = prefixes.of(self, hidden_1TD, layout)
    return attend(query_THE, key_THE, value_THE, layout, 1.0, prefix=prefix)[None], None


def esm_intermediate_forward(self: Any, hidden_1TD: Tensor) -> Tensor:
    """ESM's feed-forward part, first half; its own module writes GELU out as five operations over T x 4 D numbers."""
    return functional.gelu(self.dense(hidden_1TD))


def bert_forward(
    self: Any, hidden_1TD: Tensor, attention_mask: None, head_mask: Layout, **_: Any
) -> tuple[Tensor, None]:
    """BERT: positions are in the embedding."""
    query_THE, key_THE, value_THE = (
        project(hidden_1TD)[0].unflatten(-1, (-1, self.attention_head_size))
        for project in (self.query, self.key, self.value)
    )
    prefix = prefixes.of(self, hidden_1TD, head_mask)
    out_TD = attend(query_THE, key_THE, value_THE, head_mask, self.attention_head_size**-0.5, prefix=prefix)
    return out_TD[None], None


def t5_forward(
    self: Any, hidden_1TD: Tensor, mask: Layout, position_bias: Tensor, **_: Any
) -> tuple[Tensor, Tensor]:
    """T5: products are not scaled, and the relative position bias of block 0 is added in every block."""
    query_THE, key_THE, value_THE = (
        project(hidden_1TD)[0].unflatten(-1, (self.n_heads, self.key_value_proj_dim))
        for project in (self.q, self.k, self.v)
    )
    prefix = prefixes.of(self, hidden_1TD, mask)
    out_TD = attend(query_THE, key_THE, value_THE, mask, 1.0, position_bias, prefix)
    return self.o(out_TD[None]), position_bias


def _rotation(inv_freq: Tensor, layout: Layout) -> tuple[Tensor, Tensor]:
    """Cosines and sines in float32 whatever the model's precision: bfloat16 cannot count beyond 256."""
    angle_LF = torch.arange(layout.longest, device=inv_freq.device).float()[:, None] * inv_freq.float()
    angle_LE = torch.cat((angle_LF, angle_LF), dim=-1)
    position_T = layout.position_T
    return angle_LE.cos()[position_T, None], angle_LE.sin()[position_T, None]


def _rotate(x_THE: Tensor, cos_T1E: Tensor, sin_T1E: Tensor) -> Tensor:
    """Rotate pairs of dimensions half a head apart (Su et al. 2021)."""
    low, high = x_THE.chunk(2, dim=-1)
    turned_THE = torch.cat((-high, low), dim=-1)
    return (x_THE * cos_T1E + turned_THE * sin_T1E).to(x_THE.dtype)
