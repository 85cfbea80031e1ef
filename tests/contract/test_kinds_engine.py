"""N ranks == 1 rank and ZeRO 0 == 2 == 3 for kinds that read parameters from unusual places, and for full fine-tuning.

Parameters that all blocks share (compacter), that are read from outside their module (DoRA), are computed once per
forward pass (prefixes), are gated (UniPELT), or belong to the backbone (full): ZeRO-3 partitions parameters and could
fail on each. Tolerance: the same sums in another order, 1e-4 on the loss over 20 steps; 2e-3 in bfloat16.
"""

from pathlib import Path
from typing import Any

import pytest

from tests.parts import engine_ranks, tiny

pytestmark = pytest.mark.slow

_RUNS = {(1, 0), (2, 0), (2, 2), (2, 3)}  # (ranks, ZeRO stage)
_WIDE = {"adapter__reduction_factor": 8}
_CASES: dict[str, dict[str, Any]] = {
    "compacter": {"settings": {**_WIDE, "adapter__kind": "compacter", "adapter__location": "both"}},
    "dora": {
        "settings": {**_WIDE, "adapter__kind": "dora", "adapter__lora_location": "both"},
        "family": "t5",
    },
    "unipelt": {"settings": {**_WIDE, "adapter__kind": "unipelt", "train__recompute_activations": True}},
    "prefixes": {"settings": {"adapter__kind": "prefix_tuning", "adapter__prefix_hidden": 0}, "family": "t5"},
    "mam-bf16": {
        "settings": {**_WIDE, "adapter__kind": "mam"},
        "family": "bert",
        "dtype": "bfloat16",
        "close": 2e-3,
    },
    "full": {"settings": {"method": "full", "adapter__skip_layers": 0}, "family": "t5"},
    "full-bf16": {
        "settings": {"method": "full", "train__recompute_activations": True},
        "dtype": "bfloat16",
        "close": 2e-3,
    },
}


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All runs, once."""
    root = tmp_path_factory.mktemp("kinds")
    data = {
        "train": tiny.dataset(root / "t", tiny.chains(range(30, 150, 4), seed=6)),
        "valid": tiny.dataset(root / "v", tiny.chains([40], seed=7)),
    }
    for ranks in (1, 2):
        tasks: list[dict[str, Any]] = [
            {"do": "straight", "name": f"{case}-{number}-{stage}", "stage": stage, "part_all": True, **chosen}
            for case, chosen in _CASES.items()
            for number, stage in sorted(_RUNS)
            if number == ranks
        ]
        if ranks == 1:
            straight = {"from": "full-1-0", "stage": 0, **_CASES["full"]}
            tasks.append({"do": "resumed", "name": "full-resumed", **straight})
        engine_ranks.spawn(ranks, data, root, tasks)
    return root


@pytest.mark.parametrize("case", _CASES)
@pytest.mark.parametrize(("ranks", "stage"), sorted(_RUNS - {(1, 0)}))
def test_stages_and_ranks_take_the_same_steps(out: Path, case: str, ranks: int, stage: int) -> None:
    reference = engine_ranks.result(out, f"{case}-1-0")
    found = engine_ranks.result(out, f"{case}-{ranks}-{stage}")
    assert found["losses"] == pytest.approx(reference["losses"], abs=_CASES[case].get("close", 1e-4))
    assert found["weights"].keys() == reference["weights"].keys()
    assert found["frozen_same"]
    assert found["trained_dtypes"] == ["torch.float32"]
    assert found["frozen_dtypes"] == [f"torch.{_CASES[case].get('dtype', 'float32')}"]
    first, last = reference["losses"][:3], reference["losses"][-3:]
    assert sum(last) < 0.99 * sum(first), "nothing was learnt: the comparison shows little"


def test_a_resumed_full_run_is_the_uninterrupted_one(out: Path) -> None:
    straight, resumed = (engine_ranks.result(out, f"full-{name}") for name in ("1-0", "resumed"))
    assert resumed["losses"] == straight["losses"]
    assert resumed["weights"] == straight["weights"]
