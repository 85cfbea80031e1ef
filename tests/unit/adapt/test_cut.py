"""Where the frozen part of a backbone ends, by method, kind and family."""

import pytest

from liftray.adapt.cut import Cut
from liftray.sections import AdapterSettings

DEPTH = 6


@pytest.mark.parametrize(
    ("method", "kind", "family", "mixed", "skipped", "entry"),
    [
        ("adapter", "bottleneck", "esm", False, 2, 3),
        ("adapter", "bottleneck", "bert", False, 2, 2),
        ("adapter", "lora", "esm", False, 2, 2),
        ("adapter", "parallel_bottleneck", "t5", False, 2, 2),
        ("full", "bottleneck", "esm", False, 2, 2),
        ("features", "bottleneck", "esm", False, DEPTH, DEPTH),
        ("features", "bottleneck", "esm", True, 2, 3),
    ],
)
def test_the_cut_follows_from_method_kind_and_family(
    method: str, kind: str, family: str, mixed: bool, skipped: int, entry: int
) -> None:
    cut = Cut.of(method, AdapterSettings(kind=kind, skip_layers=2), family, DEPTH, mixed)  # type: ignore[arg-type]
    assert cut == Cut(skipped, entry, DEPTH)
    assert cut.enters_behind_block == (entry > skipped)
    assert cut.above == DEPTH - skipped


def test_a_frozen_backbone_needs_no_block_to_adapt() -> None:
    adapter = AdapterSettings(skip_layers=DEPTH + 7)
    assert Cut.of("features", adapter, "esm", DEPTH) == Cut(DEPTH, DEPTH, DEPTH)


def test_a_cut_below_the_first_block_has_no_prefix() -> None:
    assert not Cut(0, 0, DEPTH).has_prefix
    assert Cut(0, 1, DEPTH).has_prefix


@pytest.mark.parametrize("numbers", [(-1, 0, 6), (3, 2, 6), (2, 7, 6)])
def test_numbers_that_contradict_each_other_are_refused(numbers: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="no cut"):
        Cut(*numbers)
