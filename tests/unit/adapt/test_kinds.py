"""Adapters stand above the cut only, in the number of parameters that the width says."""

import pytest
import tiny

from liftray.adapt import kinds
from liftray.errors import ConfigError

_FACTOR = 4
_UNITS = tiny.WIDTH // _FACTOR
# Per block: down and up with their biases; LoRA: two matrices each on query and value.
_PER_BLOCK = {
    "bottleneck": 2 * tiny.WIDTH * _UNITS + _UNITS + tiny.WIDTH,
    "lora": 2 * 2 * tiny.WIDTH * _UNITS,
}


@pytest.mark.parametrize("family", tiny.FAMILIES)
@pytest.mark.parametrize("kind", ["bottleneck", "lora"])
@pytest.mark.parametrize("skip", [0, 1, tiny.BLOCKS - 1])
def test_each_block_above_the_cut_gets_one_adapter(family: str, kind: str, skip: int) -> None:
    model = tiny.tagger(
        family, adapter__kind=kind, adapter__skip_layers=skip, adapter__reduction_factor=_FACTOR
    )
    for number, block in enumerate(model.backbone.blocks):
        added = sum(parameter.numel() for parameter in block.parameters() if parameter.requires_grad)
        assert added == (_PER_BLOCK[kind] if number >= skip else 0)
    head = tiny.WIDTH * 3 + 3
    adapter = (tiny.BLOCKS - skip) * _PER_BLOCK[kind]
    plain = sum(parameter.numel() for parameter in tiny.backbone(family).parameters())
    assert model.count() == {"trained": adapter + head, "adapter": adapter, "head": head, "backbone": plain}


@pytest.mark.parametrize("kind", ["bottleneck", "lora"])
def test_a_factor_above_the_width_means_one_unit(kind: str) -> None:
    model = tiny.tagger(adapter__kind=kind, adapter__reduction_factor=10 * tiny.WIDTH, adapter__skip_layers=2)
    wanted = {"bottleneck": 2 * tiny.WIDTH + 1 + tiny.WIDTH, "lora": 4 * tiny.WIDTH}
    assert model.count()["adapter"] == wanted[kind]


@pytest.mark.parametrize("skip", [tiny.BLOCKS, tiny.BLOCKS + 7])
def test_a_cut_that_leaves_no_block_is_refused(skip: int) -> None:
    with pytest.raises(ConfigError, match="choose 0 to 2, or method=features"):
        tiny.tagger(adapter__skip_layers=skip)


def test_the_last_block_alone_may_be_adapted() -> None:
    kinds.check(tiny.settings(adapter__skip_layers=tiny.BLOCKS - 1).adapter, tiny.BLOCKS, "here")


def test_features_train_the_head_alone() -> None:
    model = tiny.tagger(method="features", adapter__skip_layers=tiny.BLOCKS + 7)
    assert model.entry == tiny.BLOCKS
    assert set(model.trained()) == {"head.classify.weight", "head.classify.bias"}
