"""What torch keeps for the backward pass is what is counted, tensor by tensor.

Tolerance: 12 %. Left out on purpose: means and deviations of norms, indices, and what is a few words a token.
"""

from typing import Any

import pytest
import torch

from liftray.adapt import tagger as taggers
from liftray.adapt.tagger import Tagger, TaggerSettings
from liftray.backbone.dimensions import Dimensions
from liftray.backbone.model import from_config
from liftray.data.labels import IGNORE_INDEX
from liftray.sections.kinds import ADAPTERS, HEADS
from liftray.train import memory
from tests.parts import tiny

WIDTH, LENGTHS = 64, (200, 200, 200)
SIZES: dict[str, dict[str, Any]] = {
    "esm": {"hidden_size": WIDTH, "intermediate_size": 4 * WIDTH, "num_attention_heads": 4},
    "bert": {"hidden_size": WIDTH, "intermediate_size": 4 * WIDTH, "num_attention_heads": 4},
    "t5": {"d_model": WIDTH, "d_kv": 32, "d_ff": 6 * WIDTH, "num_heads": 4},
    "t5-gated": {
        **{"d_model": WIDTH, "d_kv": 32, "d_ff": 3 * WIDTH, "num_heads": 4},
        "feed_forward_proj": "gated-gelu",
    },
}
# Every kind and head of the tables, and variants of some.
_SHORT = {"adapter__prefix_hidden": 8}
CASES: dict[str, dict[str, Any]] = {
    **{
        kind: {"adapter__kind": kind, **(_SHORT if "prefix_hidden" in entry.reads else {})}
        for kind, entry in ADAPTERS.items()
    },
    "bottleneck-both": {"adapter__location": "both"},
    "lora-both": {"adapter__kind": "lora", "adapter__lora_location": "both"},
    "full": {"method": "full", "adapter__skip_layers": 1},
    "features": {"method": "features", "head__kind": "conv"},
    **{head: {"head__kind": head} for head in HEADS if head != "linear"},
    "mixed": {"head__mix_blocks": True},
}


def kept(model: Tagger, tokens_T: torch.Tensor, layout: Any) -> int:
    """Bytes of the distinct tensors that autograd holds after a forward pass, parameters and buffers aside."""
    own = {each.untyped_storage().data_ptr() for each in (*model.parameters(), *model.buffers())}
    found: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            found[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        logits_TC = model(tokens_T, layout)
        loss = torch.nn.functional.cross_entropy(
            logits_TC, torch.zeros(len(logits_TC), dtype=torch.long), ignore_index=IGNORE_INDEX
        )
    total = sum(found.values())
    loss.backward()
    return total


@pytest.mark.parametrize("shape", SIZES)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_counted_is_kept(shape: str, case: str, dtype: str) -> None:
    family = shape.partition("-")[0]
    backbone = from_config(family, {**tiny.CONFIGS[family], **SIZES[shape]}, dtype=dtype)
    has_width = "reduction_factor" in ADAPTERS[CASES[case].get("adapter__kind", "bottleneck")].reads
    chosen = {"adapter__reduction_factor": 8} if has_width else {}
    settings = tiny.settings(
        **chosen,
        **CASES[case],
        backbone__dtype=dtype,
        train__tokens_per_batch=sum(LENGTHS),
        data__max_length=max(LENGTHS),
    )
    model = taggers.build(backbone, TaggerSettings.of(settings), seed=0).train()
    tokens_T, layout = tiny.batch(backbone, ["A" * (length - 3) for length in LENGTHS])
    size = Dimensions.of(family, backbone.resolved.config)
    assert memory.training(settings, size, cached=False).activations == pytest.approx(
        kept(model, tokens_T, layout), rel=0.12
    )
