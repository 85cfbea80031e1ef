"""Parameters counted from settings are those that a model of these settings trains."""

from typing import Any

import pytest

from liftray.adapt import parameters
from liftray.backbone.dimensions import Dimensions
from tests.parts import tiny

CASES: dict[str, dict[str, Any]] = {
    **{
        f"{kind}-{place}": {"adapter__kind": kind, "adapter__location": place}
        for kind in ("bottleneck", "parallel_bottleneck", "compacter", "parallel_compacter")
        for place in ("output", "both")
    },
    **{
        f"{kind}-{place}": {"adapter__kind": kind, "adapter__lora_location": place}
        for kind in ("lora", "dora")
        for place in ("attention", "feed_forward", "both")
    },
    "ia3": {"adapter__kind": "ia3"},
    "prefix_tuning": {"adapter__kind": "prefix_tuning", "adapter__prefix_hidden": 8},
    "prefix_tuning-flat": {"adapter__kind": "prefix_tuning", "adapter__prefix_hidden": 0},
    "mam": {"adapter__kind": "mam", "adapter__prefix_hidden": 8},
    "unipelt": {"adapter__kind": "unipelt", "adapter__prefix_hidden": 8},
    "full": {"method": "full"},
    "features": {"method": "features", "head__kind": "conv", "task": "ss9"},
    "metric": {"method": "features", "head__kind": "metric", "task": "ss9"},
    "lstm": {"method": "features", "head__kind": "lstm"},
    "mixed": {"method": "features", "head__mix_blocks": True},
}
_NO_WIDTH = ("ia3", "prefix_tuning", "prefix_tuning-flat", "features", "full", "metric", "lstm", "mixed")


@pytest.mark.parametrize("family", tiny.FAMILIES)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("skip", [0, 2])
def test_counts_are_those_of_the_model(family: str, case: str, skip: int) -> None:
    width = {} if case in _NO_WIDTH else {"adapter__reduction_factor": 5}
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
