"""Hidden states as bytes: float32, bfloat16, or 8 bits with a scale for each token.

Invariant: decoding returns what was encoded: bit for bit where the number type is the tensor's own, within half a step
of the scale for int8. Flow: fill -> [this] -> store -> feed -> [this] -> suffix.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

_SCALE_BYTES = 4


def encode(hidden_TD: Tensor, stored: str) -> npt.NDArray[np.uint8]:
    """Turn hidden states into bytes.

    Args:
        hidden_TD: Hidden states of T tokens.
        stored: `float32`, `bfloat16` or `int8`.

    Returns:
        rows_TR of R bytes a token: 4 D, 2 D, or D and 4 for the scale.
    """
    hidden_TD = hidden_TD.detach().float().cpu()
    if stored == "float32":
        return hidden_TD.contiguous().view(torch.uint8).numpy()
    if stored == "bfloat16":
        return hidden_TD.bfloat16().contiguous().view(torch.uint8).numpy()
    # The smallest scale keeps a row of zeros from dividing by zero.
    scale_T1 = (hidden_TD.abs().amax(dim=1, keepdim=True) / 127).clamp_min(torch.finfo(torch.float32).tiny)
    whole_TD = (hidden_TD / scale_T1).round().to(torch.int8)
    return torch.cat((whole_TD.view(torch.uint8), scale_T1.view(torch.uint8)), dim=1).numpy()


def decode(rows_TR: Tensor, stored: str) -> Tensor:
    """Turn bytes back into hidden_TD, float32 or, where that is stored, bfloat16; on the device of the bytes."""
    if stored == "float32":
        return rows_TR.view(torch.float32)
    if stored == "bfloat16":
        return rows_TR.view(torch.bfloat16)
    scale_T1 = rows_TR[:, -_SCALE_BYTES:].contiguous().view(torch.float32)
    return rows_TR[:, :-_SCALE_BYTES].view(torch.int8).float() * scale_T1
