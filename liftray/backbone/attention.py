"""Attention over packed batches: several windows laid end to end, none of which sees another.

Invariant: a token attends to its own window alone, and to the trained keys and values that prefix tuning puts in front
of that window. Positions count from the start of the window. One function, `attend`, chooses the kernel; the families
differ only in how they make queries, keys and values. Called by `encoder`.

2026-11-23: on a CPU the windows are attended one after the other. A block-diagonal mask costs the square of the batch;
rows padded to a common length cost as much as the loop where lengths agree, and more where they do not.

2026-11-23: keys of prefix tuning have no position: they are not rotated, and T5's relative bias is zero on them while
residues keep theirs. The adapters library differs for T5: with prefixes in block 0 it moves every residue's position by
their length, and with block 0 left out it drops the bias of all blocks, also for residues.
"""

from collections.abc import Callable
from functools import cache
from types import MethodType
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from liftray.backbone import prefix_tuning
from liftray.backbone.packed import WindowLayout
from liftray.backbone.prefix_tuning import TrainedKeys


def attend(
    query_THE: Tensor,
    key_THE: Tensor,
    value_THE: Tensor,
    layout: WindowLayout,
    scale: float,
    bias_HLL: Tensor | None = None,
    trained: TrainedKeys | None = None,
) -> Tensor:
    """Softmax attention within each window.

    Args:
        query_THE: Queries of H heads of E dimensions.
        key_THE: Keys.
        value_THE: Values.
        layout: The windows.
        scale: What the products are multiplied by.
        bias_HLL: Added to the products by position, as wide as the longest window; T5's relative position bias.
        trained: Keys and values of prefix tuning, in front of each window's own, for all its queries to attend to.

    Returns:
        out_TD with D = H * E.
    """
    keys = layout
    if trained is not None:
        length = trained.length
        keys, key_THE, value_THE = (
            layout.longer(length),
            layout.join(trained.key_BPHE, key_THE),
            layout.join(trained.value_BPHE, value_THE),
        )
        bias_HLL = None if bias_HLL is None else functional.pad(bias_HLL, (length, 0))
    if not query_THE.is_cuda:
        out_THE = window_by_window(query_THE, key_THE, value_THE, layout, keys, scale, bias_HLL)
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
        out_THE = in_rows(query_THE, key_THE, value_THE, layout, keys, scale, bias_HLL)
    return out_THE.flatten(1)


def takes_packed(head_size: int) -> bool:
    """Whether CUDA's kernel for packed batches, flash attention 2, takes heads of this size."""
    return head_size % 8 == 0 and head_size <= 256


@cache
def _has_packed_kernel() -> bool:
    """Whether this GPU has that kernel: from Ampere on."""
    return torch.cuda.get_device_capability() >= (8, 0)


def window_by_window(
    query_THE: Tensor,
    key_THE: Tensor,
    value_THE: Tensor,
    layout: WindowLayout,
    keys: WindowLayout,
    scale: float,
    bias: Tensor | None,
) -> Tensor:
    """Attention one window after the other, as on a CPU; out_THE. `keys` includes the keys of prefix tuning."""
    outs = []
    dtype = query_THE.dtype
    # In float32 whatever the model's precision: the backward pass of torch's bfloat16 kernel takes three times as long.
    query_THE, key_THE, value_THE = (tensor.float() for tensor in (query_THE, key_THE, value_THE))
    # `split`, whose backward joins the parts' gradients once; slices would each make a gradient of the whole.
    borders = (layout.lengths, keys.lengths, keys.lengths)
    tensors = (query_THE, key_THE, value_THE)
    parts = zip(
        *(tensor.split(lengths) for tensor, lengths in zip(tensors, borders, strict=True)), strict=True
    )
    for window in parts:
        query, key, value = (part.transpose(0, 1)[None] for part in window)
        mask = None if bias is None else bias[None, :, : query.shape[2], : key.shape[2]].float()
        # Out of autocast, which would make it bfloat16 again.
        with torch.autocast("cpu", enabled=False):
            out = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)
        outs.append(out[0].transpose(0, 1))
    return torch.cat(outs).to(dtype)


def in_rows(
    query_THE: Tensor,
    key_THE: Tensor,
    value_THE: Tensor,
    layout: WindowLayout,
    keys: WindowLayout,
    scale: float,
    bias: Tensor | None,
) -> Tensor:
    """Attention over windows padded to rows of equal length, as on a GPU without a packed kernel; out_THE."""
    query = layout.pad(query_THE).transpose(1, 2)
    key, value = (keys.pad(tensor).transpose(1, 2) for tensor in (key_THE, value_THE))
    mask = keys.mask_BL[:, None, None, :]
    if bias is not None:
        mask = torch.where(mask, bias[None].to(query.dtype), torch.finfo(query.dtype).min)
    out = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scale)
    return layout.unpad(out.transpose(1, 2))


def use_in(modules: list[nn.Module], forward: Callable[..., Any]) -> None:
    """Replace the forward of a family's modules; adapters that wrap or replace their linear layers keep working.

    Args:
        modules: The family's own self-attention modules, for a forward that runs packed: their blocks pass them
            the layout in the place of a mask, without reading it. Or the intermediate modules of ESM.
        forward: One of the forwards below.
    """
    for module in modules:
        module.forward = MethodType(forward, module)


def esm_forward(self: Any, hidden_1TD: Tensor, attention_mask: WindowLayout, **_: Any) -> tuple[Tensor, None]:
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
    trained = prefix_tuning.trained_keys(self, hidden_1TD, layout)
    return attend(query_THE, key_THE, value_THE, layout, 1.0, trained=trained)[None], None


def esm_intermediate_forward(self: Any, hidden_1TD: Tensor) -> Tensor:
    """ESM's feed-forward part, first half; its own module writes GELU out as five operations over T x 4 D numbers."""
    return functional.gelu(self.dense(hidden_1TD))


def bert_forward(
    self: Any, hidden_1TD: Tensor, attention_mask: None, head_mask: WindowLayout, **_: Any
) -> tuple[Tensor, None]:
    """BERT: positions are in the embedding."""
    query_THE, key_THE, value_THE = (
        project(hidden_1TD)[0].unflatten(-1, (-1, self.attention_head_size))
        for project in (self.query, self.key, self.value)
    )
    trained = prefix_tuning.trained_keys(self, hidden_1TD, head_mask)
    out_TD = attend(query_THE, key_THE, value_THE, head_mask, self.attention_head_size**-0.5, trained=trained)
    return out_TD[None], None


def t5_forward(
    self: Any, hidden_1TD: Tensor, mask: WindowLayout, position_bias: Tensor, **_: Any
) -> tuple[Tensor, Tensor]:
    """T5: products are not scaled, and the relative position bias of block 0 is added in every block."""
    query_THE, key_THE, value_THE = (
        project(hidden_1TD)[0].unflatten(-1, (self.n_heads, self.key_value_proj_dim))
        for project in (self.q, self.k, self.v)
    )
    trained = prefix_tuning.trained_keys(self, hidden_1TD, mask)
    out_TD = attend(query_THE, key_THE, value_THE, mask, 1.0, position_bias, trained)
    return self.o(out_TD[None]), position_bias


def _rotation(inv_freq: Tensor, layout: WindowLayout) -> tuple[Tensor, Tensor]:
    """Cosines and sines in float32 whatever the model's precision: bfloat16 cannot count beyond 256."""
    angle_LQ = torch.arange(layout.longest, device=inv_freq.device).float()[:, None] * inv_freq.float()
    angle_LE = torch.cat((angle_LQ, angle_LQ), dim=-1)
    position_T = layout.position_T
    return angle_LE.cos()[position_T, None], angle_LE.sin()[position_T, None]


def _rotate(x_THE: Tensor, cos_T1E: Tensor, sin_T1E: Tensor) -> Tensor:
    """Rotate pairs of dimensions half a head apart (Su et al. 2021)."""
    low, high = x_THE.chunk(2, dim=-1)
    rotated_THE = torch.cat((-high, low), dim=-1)
    return (x_THE * cos_T1E + rotated_THE * sin_T1E).to(x_THE.dtype)
