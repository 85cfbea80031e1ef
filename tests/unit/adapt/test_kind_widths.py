"""The width that a report names is the width that is built, and only kinds with a width have one."""

from typing import Any

import pytest
from adapters.methods.lora import LoRA
from adapters.methods.modeling import Adapter
from hypothesis import given, settings
from hypothesis import strategies as st

from liftray import config
from liftray.adapt import kinds, model_adapters
from liftray.sections import AdapterSettings
from liftray.sections.kinds import ADAPTER_REASONS, ADAPTERS, HEAD_REASONS, HEADS, KindDeclaration
from tests.parts import tiny

_WITHOUT = {"ia3", "prefix_tuning"}


def _section(kind: str, factor: int, factors: int) -> AdapterSettings:
    reads = ADAPTERS[kind].reads
    wanted: dict[str, Any] = {"reduction_factor": factor, "hypercomplex_dim": factors, "prefix_hidden": 4}
    return AdapterSettings(kind=kind, **{name: value for name, value in wanted.items() if name in reads})


@pytest.mark.parametrize("kind", ADAPTERS)
@settings(max_examples=6, deadline=None)
@given(factor=st.integers(1, 2 * tiny.WIDTH), factors=st.sampled_from([1, 2, 4, 8]))
def test_the_width_is_that_of_the_modules_that_are_built(kind: str, factor: int, factors: int) -> None:
    section, backbone = _section(kind, factor, factors), tiny.backbone()
    model_adapters.attach(backbone, section)
    built = {module.down_sample for module in backbone.hf.modules() if isinstance(module, Adapter)}
    built |= {module.r for module in backbone.hf.modules() if isinstance(module, LoRA)}
    width = kinds.width_as_built(section, backbone.width)
    assert built == (set() if width is None else {width})
    assert (width is None) == (kind in _WITHOUT)


@pytest.mark.parametrize("kind", ["compacter", "parallel_compacter"])
@given(multiple=st.integers(1, 400), factor=st.integers(1, 300), factors=st.sampled_from([1, 2, 4, 5, 8, 16]))
def test_a_compacter_has_a_multiple_of_its_dimension(
    kind: str, multiple: int, factor: int, factors: int
) -> None:
    model_width = multiple * factors
    width = kinds.width_as_built(_section(kind, factor, factors), model_width)
    assert width is not None
    assert width % factors == 0
    # The nearest multiple below the quotient, but at least one.
    assert width == factors or width <= model_width // factor < width + factors


@pytest.mark.parametrize(
    ("table", "reasons", "section"),
    [(ADAPTERS, ADAPTER_REASONS, "adapter"), (HEADS, HEAD_REASONS, "head")],
)
def test_every_setting_of_a_section_is_read_by_all_kinds_or_by_those_that_say_so(
    table: dict[str, KindDeclaration], reasons: dict[str, str], section: str
) -> None:
    read = {name for entry in table.values() for name in entry.reads}
    assert read == set(reasons)
    assert {f"{section}.{name}" for name in read} < set(config.keys())


@pytest.mark.parametrize("kind", ADAPTERS)
def test_the_help_and_the_sections_know_every_kind_of_the_table(kind: str) -> None:
    assert kind in config.keys()["adapter.kind"][0].split(" | ")
    assert AdapterSettings(kind=kind).kind == kind
