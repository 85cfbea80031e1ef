"""This rank's part of a parameter: all of it, or under ZeRO-3 one of equal, zero-padded parts.

Invariant: `whole(parameter, own(parameter, value))` is `value`, on every rank. Called by `engine` and `average`.
"""

from typing import Any

import torch
from torch import Tensor, nn


def held(parameter: Any) -> Tensor:
    """The tensor with this rank's numbers; writing to it changes the parameter."""
    part: Tensor = getattr(parameter, "ds_tensor", parameter).data
    return part


def own(parameter: Any, value: Tensor) -> Tensor:
    """This rank's part of a value of a parameter's shape."""
    if not _is_parted(parameter):
        return value
    import torch.distributed as dist

    size = parameter.ds_tensor.ds_numel
    flat = value.flatten()
    padded = nn.functional.pad(flat, (0, size * dist.get_world_size() - flat.numel()))
    return padded.narrow(0, size * dist.get_rank(), size)


def whole(parameter: Any, part: Tensor) -> Tensor:
    """Put the ranks' parts together; every rank must call it."""
    if not _is_parted(parameter):
        return part
    import torch.distributed as dist

    parts = [torch.empty_like(part) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, part.contiguous())
    return torch.cat(parts)[: parameter.ds_numel].view(parameter.ds_shape)


def put(parameter: Any, part: Tensor) -> None:
    """Set a parameter to the whole of the ranks' parts; every rank must call it."""
    held(parameter).copy_(part)
    # Small parameters also stay whole, and are not gathered again for a forward pass.
    if _is_parted(parameter) and parameter.ds_status.name == "AVAILABLE":
        parameter.data.copy_(whole(parameter, part))


def _is_parted(parameter: Any) -> bool:
    return hasattr(parameter, "ds_tensor")
