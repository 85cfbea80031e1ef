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
CASES: dict[str, dict[str, Any]] = {
    "bottleneck": {},
    "bottleneck-both": {"adapter__location": "both"},
    "parallel_bottleneck": {"adapter__kind": "parallel_bottleneck"},
    "compacter": {"adapter__kind": "compacter", "adapter__reduction_factor": 16},
    "lora": {"adapter__kind": "lora"},
    "lora-both": {"adapter__kind": "lora", "adapter__lora_location": "both"},
    "dora": {"adapter__kind": "dora"},
    "ia3": {"adapter__kind": "ia3"},
    "mam": {"adapter__kind": "mam", "adapter__prefix_hidden": 8},
    "unipelt": {"adapter__kind": "unipelt", "adapter__prefix_hidden": 8},
    "full": {"method": "full", "adapter__skip_layers": 1},
    "features": {"method": "features", "head__kind": "conv"},
    "conv": {"head__kind": "conv"},
    "metric": {"head__kind": "metric"},
    "lstm": {"head__kind": "lstm"},
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
    chosen = (
        {"adapter__reduction_factor": 8}
        if case.startswith(("bottleneck", "parallel", "lora", "conv"))
        else {}
    )
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
