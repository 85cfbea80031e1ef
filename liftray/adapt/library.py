"""The `adapters` library's modules on packed batches and under ZeRO-3.

Invariant: on one window, without ZeRO, a changed module computes what the library's own does. Called by
`model_adapters` on a model with adapters.

Gates (UniPELT, Mao et al. 2022): the library computes them as the mean over a row. In a packed batch a row holds all
windows end to end, and the padding where rows are padded. Here the mean is over a window. Gates of prefixes are in
`backbone.prefix_tuning`. ZeRO-3 gathers a module's parameters only while the module is called, so what the library
reads outside the call is returned by a call here.
"""

from collections.abc import Callable
from types import MethodType
from typing import Any

import torch
from adapters.context import ForwardContext
from adapters.loading import AdapterLoader
from adapters.methods.lora import LoRA, LoRALinear
from adapters.methods.modeling import Adapter
from adapters.methods.prefix_tuning import PrefixTuning, PrefixTuningLayer
from torch import Tensor, nn

from liftray.backbone.packed import WindowLayout


class CompacterParameters(nn.ParameterDict):
    """Parameters that all compacters of a model share; a call gives tensors that outlive ZeRO-3's gathering."""

    __call__ = nn.Module.__call__

    def forward(self) -> dict[str, Tensor]:
        """The parameters' values by name, in the graph of their gradients."""
        return {name: parameter.clone() for name, parameter in self.items()}


class CompacterLoader(AdapterLoader):
    """Saves an adapter with the parameters that its compacters share.

    The library looks for a dot in front of their name, which is missing where the encoder is the whole model.
    """

    def filter_func(self, adapter_name: str) -> Callable[[str], bool]:
        """Whether a tensor, by its name, belongs to the adapter."""
        inside = super().filter_func(adapter_name)
        return lambda name: inside(f".{name}")


def share_prefixes_once(hf: nn.Module) -> None:
    """Unregister the pool of all prefixes from each block's prefix layer, which keeps it as a plain attribute.

    Otherwise a parameter would have one name for each block, and could not be saved after the first block is dropped.
    """
    for layer in hf.modules():
        if isinstance(layer, PrefixTuningLayer):
            layer.__dict__["pool"] = layer._modules.pop("pool")


def use_packed_forwards(hf: Any) -> None:
    """Replace the forwards of a model's adapters by those of this module, where the library's do not run packed."""
    for module in hf.modules():
        if isinstance(module, LoRA) and module.use_gating:
            module.forward = MethodType(_gated_lora, module)
        elif isinstance(module, LoRA) and module.use_dora:
            module.forward = MethodType(_dora_parts, module)
        elif isinstance(module, Adapter) and module.use_gating:
            module.forward = MethodType(_gated_bottleneck, module)
        elif isinstance(module, PrefixTuning):
            module.forward = MethodType(_prefix, module)
        elif isinstance(module, LoRALinear) and module.loras:
            module.register_forward_hook(_in_autocast_dtype)
            if any(lora.use_dora for lora in module.loras.values()):
                module.forward = MethodType(_dora, module)
    for shared in hf.shared_parameters.values():
        shared.__class__ = CompacterParameters


def set_exact_magnitudes(hf: nn.Module) -> None:
    """Initialise DoRA with the weights' norms in float32, as `_dora` computes them."""
    for module in hf.modules():
        if isinstance(module, LoRALinear):
            for lora in module.loras.values():
                if lora.use_dora:
                    lora.m.weight.data = _norms(module.weight.detach(), lora.delta_w.detach())[:, None]


def forward_context(hf: Any, hidden_1TD: Tensor, layout: WindowLayout) -> Any:
    """The library's context of a forward pass over a packed batch; it may be entered more than once."""
    context: Any = ForwardContext(hf, hidden_1TD)
    context.layout = layout
    context.shared_parameters = {name: shared() for name, shared in context.shared_parameters.items()}
    return context


def _in_autocast_dtype(layer: nn.Module, inputs: tuple[Tensor], out_1TD: Tensor) -> Tensor:
    """Convert the result to autocast's precision: the float32 factors of IA3 and DoRA make it float32."""
    device = out_1TD.device.type
    return out_1TD.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else out_1TD


def _dora(self: Any, input_states: Tensor) -> Tensor:
    """`LoRALinear.forward` of DoRA, with the norm in float32 whatever the model's precision.

    In bfloat16 the model would not begin at the frozen one on some devices, and small changes of direction would be
    lost to rounding.
    """
    plain_1TD = nn.Linear.forward(self, input_states)
    setup = self.get_active_setup()
    if setup is None:
        return plain_1TD
    (name,) = setup.flatten()
    lora = self.loras[name]
    added_1TD, change_VI = lora(None, input_states)
    with torch.autocast(input_states.device.type, enabled=False):
        # A call of the module gathers the magnitudes; with the input one it returns them.
        scale_V = lora.m(input_states.new_ones(1, dtype=torch.float32)) / _norms(self.weight, change_VI)
    return scale_V * (plain_1TD + added_1TD)


def _dora_parts(self: Any, hidden_states: None, layer_input: Tensor) -> tuple[Tensor, Tensor]:
    """`LoRA.forward`, and the change of the weight that it amounts to."""
    added_1TD = self.lora_dropout(layer_input) @ self.lora_A.T @ self.lora_B.T
    with torch.autocast(layer_input.device.type, enabled=False):
        return added_1TD * self.scaling, self.delta_w


def _norms(weight_VI: Tensor, change_VI: Tensor) -> Tensor:
    """Norm of each row of the adapted weight (Liu et al. 2024), in float32."""
    return torch.linalg.norm(weight_VI.float() + change_VI.float(), dim=1)


def _prefix(self: Any, batch_size: int) -> tuple[Tensor, ...]:
    """`PrefixTuning.forward` with its indices made on the device: otherwise the copy would wait for the device."""
    with self.wte.weight.device:
        return PrefixTuning.forward(self, batch_size)


def _gated_lora(self: Any, hidden_states: None, layer_input: Tensor) -> tuple[Tensor, None]:
    """`LoRA.forward` with a gate, which takes the place of the scaling."""
    added_1TD = self.lora_dropout(layer_input) @ self.lora_A.T @ self.lora_B.T
    return added_1TD * _gate(self.gate, layer_input), None


def _gated_bottleneck(
    self: Any, x: Tensor, residual_input: Tensor, output_gating: bool | None = False
) -> tuple[Tensor, Tensor, Tensor]:
    """`Adapter.forward` with a gate and without norms of its own."""
    down_1TU = self.adapter_down(x)
    up_1TD = self.adapter_up(down_1TU) * self.scaling
    return self.dropout(up_1TD) * _gate(self.gate, x) + residual_input, down_1TU, up_1TD


def _gate(gate: nn.Module, x_1TD: Tensor) -> Tensor:
    """The gate of each token's window: (1, T, 1)."""
    layout: WindowLayout = ForwardContext.get_context().layout
    gate_B1 = layout.window_mean(torch.sigmoid(gate(x_1TD))[0])
    return gate_B1.to(x_1TD.dtype)[layout.window_T][None]
