"""Parameters counted from settings are those that a model of these settings trains."""

from typing import Any

import pytest

from liftray.adapt import parameters
from liftray.backbone.dimensions import Dimensions
from liftray.sections.kinds import ADAPTERS, HEADS
from tests.parts import tiny

# Every kind and head of the tables at its defaults, and variants of some.
_SHORT = {"adapter__prefix_hidden": 8}
CASES: dict[str, dict[str, Any]] = {
    **{
        kind: {"adapter__kind": kind, **(_SHORT if "prefix_hidden" in entry.reads else {})}
        for kind, entry in ADAPTERS.items()
    },
    **{
        f"{kind}-both": {"adapter__kind": kind, "adapter__location": "both"}
        for kind, entry in ADAPTERS.items()
        if "location" in entry.reads
    },
    **{
        f"{kind}-{place}": {"adapter__kind": kind, "adapter__lora_location": place}
        for kind in ("lora", "dora")
        for place in ("feed_forward", "both")
    },
    "prefix_tuning-flat": {"adapter__kind": "prefix_tuning", "adapter__prefix_hidden": 0},
    "full": {"method": "full"},
    **{head: {"method": "features", "head__kind": head, "task": "ss9"} for head in HEADS},
    "mixed": {"method": "features", "head__mix_blocks": True},
}


@pytest.mark.parametrize("family", tiny.FAMILIES)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("skip", [0, 2])
def test_counts_are_those_of_the_model(family: str, case: str, skip: int) -> None:
    has_width = "reduction_factor" in ADAPTERS[CASES[case].get("adapter__kind", "ia3")].reads
    width = {"adapter__reduction_factor": 5} if has_width else {}
    settings = tiny.settings(**CASES[case], **width, adapter__skip_layers=skip)
    model = tiny.tagger(family, **CASES[case], **width, adapter__skip_layers=skip)
    size = Dimensions.of(family, model.backbone.resolved.config)
    adapter, head = settings.adapter, settings.head
    found = parameters.count(settings.method, adapter, head, settings.task, size, model.cut)
    counted = model.count()
    assert (found.total, found.adapter, found.head) == (
        counted["trained"],
        counted["adapter"],
        counted["head"],
    )
