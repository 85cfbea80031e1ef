"""Only blocks above the cut have adapters, with the parameters that the settings imply; bad settings are refused."""

from collections.abc import Callable
from typing import Any

import pytest

from liftray import config
from liftray.adapt import kinds
from liftray.errors import ConfigError
from tests.parts import tiny

_FACTOR, _FEED_FORWARD = 4, 64
_UNITS, _PREFIX = tiny.WIDTH // _FACTOR, 3
_BOTTLENECK = 2 * tiny.WIDTH * _UNITS + _UNITS + tiny.WIDTH
_LORA = 2 * 2 * tiny.WIDTH * _UNITS
_FEED_FORWARD_LORA = 2 * (tiny.WIDTH + _FEED_FORWARD) * _UNITS
# Down and up as sums of products of 4 x 4 x 4 with rank-one factors of a quarter of the sizes, and biases.
_COMPACTER = 2 * (tiny.WIDTH + _UNITS) + _UNITS + tiny.WIDTH
_FLAT = 2 * _PREFIX * tiny.WIDTH
_GATE = tiny.WIDTH + 1
_WIDE = {"adapter__reduction_factor": _FACTOR}
_SHORT = {"adapter__prefix_length": _PREFIX, "adapter__prefix_hidden": 0}
# Settings, parameters in each block above the cut, and parameters that all blocks share, given the number of those.
_SIZES: dict[str, tuple[dict[str, Any], int, Callable[[int], int]]] = {
    "bottleneck": (_WIDE, _BOTTLENECK, lambda n: 0),
    "bottleneck both": ({**_WIDE, "adapter__location": "both"}, 2 * _BOTTLENECK, lambda n: 0),
    "parallel_bottleneck": (_WIDE, _BOTTLENECK, lambda n: 0),
    "compacter": (_WIDE, _COMPACTER, lambda n: 64),
    "parallel_compacter both": ({**_WIDE, "adapter__location": "both"}, 2 * _COMPACTER, lambda n: 64),
    "lora": (_WIDE, _LORA, lambda n: 0),
    "lora both": ({**_WIDE, "adapter__lora_location": "both"}, _LORA + _FEED_FORWARD_LORA, lambda n: 0),
    "dora": (_WIDE, _LORA + 2 * tiny.WIDTH, lambda n: 0),
    "ia3": ({}, 2 * tiny.WIDTH + _FEED_FORWARD, lambda n: 0),
    "prefix_tuning": (_SHORT, 0, lambda n: n * _FLAT),
    "prefix_tuning network": (
        {**_SHORT, "adapter__prefix_hidden": 5},
        0,
        lambda n: _PREFIX * tiny.WIDTH + (tiny.WIDTH + 1) * 5 + 6 * n * 2 * tiny.WIDTH,
    ),
    "mam": ({**_WIDE, **_SHORT}, _BOTTLENECK, lambda n: n * _FLAT),
    "unipelt": ({**_WIDE, **_SHORT}, _BOTTLENECK + _LORA + 4 * _GATE, lambda n: n * _FLAT),
}


@pytest.mark.parametrize("family", tiny.FAMILIES)
@pytest.mark.parametrize("case", _SIZES)
@pytest.mark.parametrize("skip", [0, 1, tiny.BLOCKS - 1])
def test_each_block_above_the_cut_gets_its_adapters(family: str, case: str, skip: int) -> None:
    settings, per_block, shared = _SIZES[case]
    model = tiny.tagger(family, adapter__kind=case.split()[0], adapter__skip_layers=skip, **settings)
    for number, block in enumerate(model.backbone.blocks):
        added = sum(parameter.numel() for parameter in block.parameters() if parameter.requires_grad)
        assert added == (per_block if number >= skip else 0)
    head, above = tiny.WIDTH * 3 + 3, tiny.BLOCKS - skip
    adapter = above * per_block + shared(above)
    plain = sum(parameter.numel() for parameter in tiny.backbone(family).parameters())
    assert model.count() == {"trained": adapter + head, "adapter": adapter, "head": head, "backbone": plain}


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        ("bottleneck", 2 * tiny.WIDTH + 1 + tiny.WIDTH),
        ("lora", 4 * tiny.WIDTH),
        ("compacter", 2 * (tiny.WIDTH + 4) + 4 + tiny.WIDTH + 64),
    ],
)
def test_a_factor_above_the_width_means_the_least_width(kind: str, wanted: int) -> None:
    model = tiny.tagger(adapter__kind=kind, adapter__reduction_factor=10 * tiny.WIDTH, adapter__skip_layers=2)
    assert model.count()["adapter"] == wanted


@pytest.mark.parametrize("kind", ["bottleneck", "parallel_bottleneck", "lora"])
@pytest.mark.parametrize("width", [1, 7, 320, 480, 1024, 1280, 2560, 5120])
def test_the_width_is_the_floor_of_the_quotient(kind: str, width: int) -> None:
    for factor in range(1, 200):
        chosen = tiny.settings(adapter__kind=kind, adapter__reduction_factor=factor).adapter
        made = kinds.kind_of(chosen).library_config(chosen, width)
        units = made.r if kind == "lora" else int(width // made.reduction_factor)
        assert units == max(1, width // factor)


@pytest.mark.parametrize(
    ("kind", "setting", "value", "reason"),
    [
        ("ia3", "reduction_factor", 8, "ia3 has no bottleneck and no rank"),
        ("prefix_tuning", "reduction_factor", 8, "prefix_tuning has no bottleneck and no rank"),
        ("lora", "location", "both", "lora has its own places"),
        ("mam", "location", "both", "mam has its own places"),
        ("bottleneck", "lora_location", "both", "bottleneck has its own places"),
        ("bottleneck", "parallel_scale", 1.0, "bottleneck has no parallel adapter"),
        ("dora", "prefix_length", 3, "dora has no prefix"),
        ("compacter", "prefix_hidden", 0, "compacter has no prefix"),
        ("unipelt", "hypercomplex_dim", 2, "unipelt has no Kronecker products"),
    ],
)
def test_a_setting_that_the_kind_does_not_use_is_refused(
    kind: str, setting: str, value: Any, reason: str
) -> None:
    with pytest.raises(ConfigError, match=f"{setting}={value} would change nothing: {reason}") as caught:
        config.load(None, [f"adapter.kind={kind}", f"adapter.{setting}={value}"])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["compacter", "parallel_compacter"])
def test_a_dimension_that_does_not_divide_the_width_is_refused(kind: str) -> None:
    with pytest.raises(ConfigError, match="hypercomplex_dim=3 does not divide the width 32") as caught:
        tiny.tagger(adapter__kind=kind, adapter__hypercomplex_dim=3)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("chosen", "behind"),
    [
        ({"adapter__kind": "bottleneck"}, {"esm", "t5"}),
        ({"adapter__kind": "compacter"}, {"esm", "t5"}),
        ({"adapter__kind": "bottleneck", "adapter__location": "both"}, set()),
        ({"adapter__kind": "compacter", "adapter__location": "attention"}, set()),
        ({"adapter__kind": "parallel_bottleneck"}, set()),
        ({"adapter__kind": "parallel_compacter"}, set()),
        ({"adapter__kind": "lora", "adapter__lora_location": "feed_forward"}, set()),
        ({"adapter__kind": "mam"}, set()),
        ({"adapter__kind": "unipelt"}, set()),
        ({"method": "full"}, set()),
    ],
)
@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_training_enters_behind_block_k_where_the_adapter_reads_its_output(
    family: str, chosen: dict[str, Any], behind: set[str]
) -> None:
    assert tiny.tagger(family, adapter__skip_layers=1, **chosen).cut.entry == 1 + (family in behind)


@pytest.mark.parametrize("skip", [tiny.BLOCKS, tiny.BLOCKS + 7])
@pytest.mark.parametrize("method", ["adapter", "full"])
def test_a_cut_that_leaves_no_block_is_refused(method: str, skip: int) -> None:
    with pytest.raises(ConfigError, match="choose 0 to 2, or method=features"):
        tiny.tagger(method=method, adapter__skip_layers=skip)


def test_the_last_block_alone_may_be_adapted() -> None:
    kinds.check(tiny.settings(adapter__skip_layers=tiny.BLOCKS - 1).adapter, tiny.BLOCKS, "here")


def test_features_train_the_head_alone() -> None:
    model = tiny.tagger(method="features", adapter__skip_layers=tiny.BLOCKS + 7)
    assert model.cut.entry == tiny.BLOCKS
    assert set(model.trained()) == {"head.classify.weight", "head.classify.bias"}
