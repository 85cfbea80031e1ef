"""Prefix tuning (Li & Liang 2021) over packed batches: trained keys and values in front of each window's own.

Invariant: these keys and values depend on the trained parameters and, where they are gated, on that window alone.
`attention` calls this module; the parameters are in the `adapters` library's own layer and context.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from liftray.backbone.packed import WindowLayout


@dataclass(frozen=True, eq=False)
class TrainedKeys:
    """Trained keys and values in front of those of B windows.

    Attributes:
        key_BPHE: P keys of H heads of E dimensions.
        value_BPHE: Their values.
    """

    key_BPHE: Tensor
    value_BPHE: Tensor

    @property
    def length(self) -> int:
        """P."""
        return self.key_BPHE.shape[1]


def trained_keys(attention: Any, hidden_1TD: Tensor, layout: WindowLayout) -> TrainedKeys | None:
    """The active prefix tuning of a self-attention module.

    The library computes the keys and values of all blocks once a forward pass, for one row (its `ForwardContext`).
    This function repeats them for each window. The gate of UniPELT (Mao et al. 2022) is the mean over the tokens of a
    row; here, of a window.

    Args:
        attention: The family's self-attention module; without a `prefix_tuning` layer it has none.
        hidden_1TD: What queries, keys and values are made of.
        layout: The windows.

    Returns:
        The keys and values; None where prefix tuning is not active in this block.
    """
    layer = getattr(attention, "prefix_tuning", None)
    setup = None if layer is None else layer.get_active_setup()
    if layer is None or setup is None:
        return None
    from adapters.context import ForwardContext

    (name,) = setup.flatten()
    states: Any = ForwardContext.get_context().prefix_states[name][layer.location_key]
    key_BPHE, value_BPHE = (state_1HPE.transpose(1, 2) for state_1HPE in states[layer.prefixes[name]])
    if name in layer.prefix_gates:
        gate_BG = layout.window_mean(torch.sigmoid(layer.prefix_gates[name](hidden_1TD))[0])
        # One gate for both, or one each.
        key_BPHE = key_BPHE * gate_BG[:, 0, None, None, None]
        value_BPHE = value_BPHE * gate_BG[:, -1, None, None, None]
    windows = len(layout.lengths)
    return TrainedKeys(*(tensor.expand(windows, -1, -1, -1) for tensor in (key_BPHE, value_BPHE)))
