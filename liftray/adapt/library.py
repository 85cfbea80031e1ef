"""What the `adapters` library's own modules need before they run on packed batches and under ZeRO-3.

Invariant: on one window, without ZeRO, a fitted module computes what the library's own does. Called by `kinds` on a
model whose adapters are in place.

Gates (UniPELT, Mao et al. 2022): the library opens them by the mean over a row, in which all windows of a packed batch
lie end to end (and, where rows are padded, the padding): here by the mean over a window. Those of prefixes are in
`backbone.prefix_tuning`. ZeRO-3 gathers a module's parameters while the module is called: what the library reads from
outside the call is given to it in another way.
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


class Shared(nn.ParameterDict):
    """What all compacters of a model share; called, it gives tensors that stay when ZeRO-3 takes the parameters."""

    __call__ = nn.Module.__call__

    def forward(self) -> dict[str, Tensor]:
        """The parameters' values by name, with their gradients' way back."""
        return {name: parameter.clone() for name, parameter in self.items()}


class Loader(AdapterLoader):
    """The library's saving of an adapter, with what its compacters share: it looks for a dot before that name, and
    where the encoder is the whole model there is none.
    """

    def filter_func(self, adapter_name: str) -> Callable[[str], bool]:
        """Whether a tensor, by its name, belongs to the adapter."""
        inside = super().filter_func(adapter_name)
        return lambda name: inside(f".{name}")


def share_prefixes_once(hf: nn.Module) -> None:
    """Take the pool of all prefixes out of the parts of each block's prefix layer, which still finds it.

    A parameter would have as many names as blocks, the first of which goes where that block is dropped, and could not
    be saved.
    """
    for layer in hf.modules():
        if isinstance(layer, PrefixTuningLayer):
            layer.__dict__["pool"] = layer._modules.pop("pool")


def fit(hf: Any) -> None:
    """Fit the adapters of a model."""
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
            module.register_forward_hook(_as_the_plain_layer)
            if any(lora.use_dora for lora in module.loras.values()):
                module.forward = MethodType(_dora, module)
    for shared in hf.shared_parameters.values():
        shared.__class__ = Shared


def exact_magnitudes(hf: nn.Module) -> None:
    """Begin DoRA with the weights' norms in float32, as `_dora` takes them."""
    for module in hf.modules():
        if isinstance(module, LoRALinear):
            for lora in module.loras.values():
                if lora.use_dora:
                    lora.m.weight.data = _norms(module.weight.detach(), lora.delta_w.detach())[:, None]


def context(hf: Any, hidden_1TD: Tensor, layout: WindowLayout) -> Any:
    """The library's context of a forward pass over a packed batch; may be entered more than once."""
    made: Any = ForwardContext(hf, hidden_1TD)
    made.layout = layout
    made.shared_parameters = {name: shared() for name, shared in made.shared_parameters.items()}
    return made


def _as_the_plain_layer(layer: nn.Module, given: tuple[Tensor], out_1TD: Tensor) -> Tensor:
    """Under autocast in its precision again: IA3's and DoRA's float32 factors make float32 of the product."""
    kind = out_1TD.device.type
    return out_1TD.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else out_1TD


def _dora(self: Any, input_states: Tensor) -> Tensor:
    """`LoRALinear.forward` of DoRA, with the norm in float32 whatever the model's precision.

    In the weights' own precision a bfloat16 model would begin beside the frozen one on some devices, and small
    changes of direction would be rounded away.
    """
    plain_1TD = nn.Linear.forward(self, input_states)
    setup = self.get_active_setup()
    if setup is None:
        return plain_1TD
    (name,) = setup.flatten()
    lora = self.loras[name]
    added_1TD, change_OI = lora(None, input_states)
    with torch.autocast(input_states.device.type, enabled=False):
        # Multiplied with one, which gathers it: what the magnitudes are when their module is called.
        scale_O = lora.m(input_states.new_ones(1, dtype=torch.float32)) / _norms(self.weight, change_OI)
    return scale_O * (plain_1TD + added_1TD)


def _dora_parts(self: Any, hidden_states: None, layer_input: Tensor) -> tuple[Tensor, Tensor]:
    """`LoRA.forward` with the change of the weight that it stands for."""
    added_1TD = self.lora_dropout(layer_input) @ self.lora_A.T @ self.lora_B.T
    with torch.autocast(layer_input.device.type, enabled=False):
        return added_1TD * self.scaling, self.delta_w


def _norms(weight_OI: Tensor, change_OI: Tensor) -> Tensor:
    """Of each row of the adapted weight (Liu et al. 2024), in float32."""
    return torch.linalg.norm(weight_OI.float() + change_OI.float(), dim=1)


def _prefix(self: Any, batch_size: int) -> tuple[Tensor, ...]:
    """`PrefixTuning.forward` with its indices made on the device: made elsewhere, they would have it waited for."""
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
