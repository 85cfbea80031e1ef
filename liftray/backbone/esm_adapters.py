"""Prefix tuning for ESM, which the `adapters` library (1.3) has for its own models only.

Invariant: a model prepared here takes every adapter method of the library's plugin interface. It also takes prefix
tuning and its unions (MAM, UniPELT). The library itself saves and loads them. Called by `adapt.kinds`.

It follows the pattern of the library's own models: a mixin that adds the layer, a module class that uses it, an entry
in the table of methods. It knows nothing of packed batches, so that it could be contributed there unchanged.
"""

from typing import Any

from adapters import AdapterModelInterface
from adapters import init as init_library
from adapters.methods import METHOD_INIT_MAPPING
from adapters.methods.prefix_tuning import PrefixTuningLayer, PrefixTuningPool
from torch import Tensor, nn
from transformers.models.esm.modeling_esm import EsmSelfAttention

from liftray.backbone.families import ADAPTER_INTERFACE

_METHOD = "prefix_tuning"


class EsmSelfAttentionAdaptersMixin:
    """Adds prefix tuning to ESM's self-attention; LoRA comes with the interface."""

    def init_adapters(self, model_config: Any, adapters_config: Any) -> None:
        """Add the layer, as the library requires of every module with this method."""
        self.prefix_tuning = PrefixTuningLayer("self_prefix", model_config, adapters_config)


class EsmSelfAttentionWithAdapters(EsmSelfAttentionAdaptersMixin, EsmSelfAttention):
    """ESM's self-attention over padded rows, with prefixes."""

    def forward(
        self, hidden_states: Tensor, attention_mask: Tensor | None = None, **_: Any
    ) -> tuple[Tensor, None]:
        """Attend; prefixes precede the keys after their rotation, since they have no position."""
        heads = (*hidden_states.shape[:-1], -1, self.attention_head_size)
        query, key, value = (
            project(hidden_states).view(heads).transpose(1, 2)
            for project in (self.query, self.key, self.value)
        )
        query = query * self.attention_head_size**-0.5
        if self.rotary_embeddings is not None:
            query, key = self.rotary_embeddings(query, key)
        # Masks here are added to the products, so what may be attended to is zero: an inverted mask.
        key, value, attention_mask = self.prefix_tuning(key, value, hidden_states, attention_mask)
        out = nn.functional.scaled_dot_product_attention(
            query, key, value, attn_mask=attention_mask, scale=self.scaling
        )
        return out.transpose(1, 2).flatten(2), None


def init_prefix_tuning(model: Any) -> None:
    """Add the pool of prefixes, and attention that uses it, to a model of the plugin interface."""
    base = model.base_model
    base.prefix_tuning = PrefixTuningPool(model.config, model.adapters_config)
    for _, _, attention in base.iter_attentions():
        attention.self.__class__ = EsmSelfAttentionWithAdapters


METHOD_INIT_MAPPING.setdefault(_METHOD, init_prefix_tuning)


def init(model: nn.Module) -> None:
    """Add the adapter methods that `ADAPTER_INTERFACE` names, and prefix tuning, to an `EsmModel`.

    Args:
        model: The encoder, without adapters.
    """
    interface: dict[str, Any] = dict(ADAPTER_INTERFACE["esm"] or {})
    interface["adapter_methods"] = [*interface["adapter_methods"], _METHOD]
    init_library(model, interface=AdapterModelInterface(**interface))
