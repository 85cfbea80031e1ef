"""N ranks == 1 rank, ZeRO 0 == 2 == 3 and resumed == straight for heads, losses, mixed blocks and averaged weights.

Each case has a risk of its own: a parameter of the head itself (centroids); an LSTM, whose weights torch packs into one
buffer; a mix that is called from outside its head; class weights and margins, which every rank must count alike; the
average of weights that ZeRO-3 partitions. test_engine tests what does not depend on the head.
Tolerances: the same sums in another order, 1e-4 on the loss over 20 steps; a resumed run does the same operations:
none.
"""

from pathlib import Path
from typing import Any

import pytest
import torch

from liftray.adapt import tagger as taggers
from liftray.adapt.tagger import TaggerSettings
from tests.parts import engine_ranks, tiny

pytestmark = pytest.mark.slow

_AVERAGE = {"task": "ss9", "train__average": "ema", "train__average_decay": 0.9}
_METRIC: dict[str, Any] = {
    "settings": {
        **{"adapter__reduction_factor": 8, "head__kind": "metric", "head__mix_blocks": True},
        **{"loss__kind": "ldam", "loss__class_weights": "inverse_sqrt"},
        **{"loss__multitask__ss8": 0.5, "loss__multitask__ss3": 0.5, **_AVERAGE},
        # Cosines times 18 with class weights: at a tenth of the usual rate, rounding does not grow past the tolerance
        # on any processor.
        "train__lr": 1e-4,
    }
}
_LSTM: dict[str, Any] = {
    "settings": {"adapter__kind": "lora", "adapter__reduction_factor": 8, "head__kind": "lstm", **_AVERAGE},
    "family": "t5",
}
_CASES = {"metric": _METRIC, "lstm": _LSTM}
# Case, and the ranks and ZeRO stage of a run; ZeRO-3 takes all parameters apart but in `whole`.
spread = pytest.mark.parametrize(
    ("case", "run"), [("metric", "2-3"), ("lstm", "2-2"), ("lstm", "2-3"), ("lstm", "whole")]
)
taken_apart = pytest.mark.parametrize("case", _CASES)


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All runs, once: two ranks first, then one rank, which also resumes from a checkpoint of two ranks."""
    root = tmp_path_factory.mktemp("heads")
    data = {
        "train": tiny.dataset(root / "t", tiny.chains(range(30, 150, 4), seed=6, alphabet="ss9"), "ss9"),
        "valid": tiny.dataset(root / "v", tiny.chains([40], seed=7, alphabet="ss9"), "ss9"),
    }
    # First, since `part_all` stays: without it ZeRO-3 leaves small parameters whole.
    tasks: list[dict[str, Any]] = [{"do": "straight", "name": "lstm-whole", "stage": 3, **_LSTM}]
    tasks.append({"do": "straight", "name": "lstm-2-2", "stage": 2, **_LSTM})
    for case, order in _CASES.items():
        name, parted = f"{case}-2-3", {"stage": 3, "part_all": True, **order}
        tasks.append({"do": "straight", "name": name, **parted})
        tasks.append({"do": "resumed", "name": f"{name}-resumed", "from": name, **parted})
    engine_ranks.spawn(2, data, root, tasks)
    plain = {name: value for name, value in _LSTM["settings"].items() if "average" not in name}
    tasks = [{"do": "straight", "name": f"{case}-1-0", "stage": 0, **order} for case, order in _CASES.items()]
    tasks.append({"do": "resumed", "name": "crossed", "from": "metric-2-3", "stage": 0, **_METRIC})
    tasks.append({"do": "straight", "name": "lstm-plain", "stage": 0, **_LSTM, "settings": plain})
    engine_ranks.spawn(1, data, root, tasks)
    return root


def _flat(values: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.cat([values[name].flatten() for name in sorted(values)])


def _logits(found: dict[str, Any]) -> torch.Tensor:
    return torch.tensor([found["probes"][step] for step in ("4", "8", "12", "16", "20")])


@spread
def test_stages_and_ranks_take_the_same_steps(out: Path, case: str, run: str) -> None:
    reference, found = (engine_ranks.result(out, f"{case}-{name}") for name in ("1-0", run))
    assert found["losses"] == pytest.approx(reference["losses"], abs=1e-4)
    assert found["frozen_same"]
    first, last = reference["losses"][:3], reference["losses"][-3:]
    assert sum(last) < 0.99 * sum(first), "nothing was learnt: the comparison shows little"


@spread
def test_stages_and_ranks_have_the_same_average(out: Path, case: str, run: str) -> None:
    """Adam divides by the root of small numbers, so single weights, and logits at a single residue, may differ more
    than losses do: in all, 1 % of the way between average and weights, and 0.1 % of what training changed in the
    logits.
    """
    average, weights = (
        _flat(engine_ranks.tensors(out, f"{case}-1-0", kind)) for kind in ("average", "weights")
    )
    found = _flat(engine_ranks.tensors(out, f"{case}-{run}", "average"))
    assert (found - average).norm() < 0.01 * (average - weights).norm()
    ours, reference = (_logits(engine_ranks.result(out, f"{case}-{name}")) for name in (run, "1-0"))
    learnt = (reference[-1] - reference[0]).norm()
    assert (ours - reference).norm(dim=1).max() < 1e-3 * learnt


@taken_apart
def test_a_resumed_run_is_the_uninterrupted_one(out: Path, case: str) -> None:
    straight, resumed = (engine_ranks.result(out, f"{case}-2-3{suffix}") for suffix in ("", "-resumed"))
    for name in ("losses", "weights", "average"):
        assert resumed[name] == straight[name]
    assert resumed["probes"] == {name: straight["probes"][name] for name in ("12", "16", "20")}


def test_two_ranks_under_zero3_resume_as_one_rank_under_zero0(out: Path) -> None:
    crossed, straight = (engine_ranks.result(out, name) for name in ("crossed", "metric-2-3"))
    assert crossed["losses"] == pytest.approx(straight["losses"], abs=1e-4)
    last = [torch.tensor(found["probes"]["20"]) for found in (crossed, straight)]
    torch.testing.assert_close(*last, atol=1e-3, rtol=1e-3)


def test_averaging_does_not_change_training(out: Path) -> None:
    averaged, plain = (engine_ranks.result(out, f"lstm-{name}") for name in ("1-0", "plain"))
    assert averaged["losses"] == plain["losses"]
    assert averaged["weights"] == plain["weights"]
    assert plain["average"] == plain["probes"] == {}


@spread
@torch.no_grad()
def test_validation_uses_the_average(out: Path, case: str, run: str) -> None:
    """A single-process model with the averaged weights has the logits of the last probe, up to rounding."""
    order = _CASES[case]
    chosen = tiny.settings(**{"adapter__skip_layers": 1, **order["settings"]})
    model = taggers.build(tiny.backbone(order.get("family", "esm")), TaggerSettings.of(chosen), seed=9).eval()
    average = engine_ranks.tensors(out, f"{case}-{run}", "average")
    for name, parameter in model.trained().items():
        parameter.copy_(average[name])
    logits_TC = model(*tiny.batch(model.backbone, engine_ranks.PROBED))
    probed = torch.tensor(engine_ranks.result(out, f"{case}-{run}")["probes"]["20"])
    torch.testing.assert_close(probed.view_as(logits_TC), logits_TC, atol=1e-4, rtol=1e-4)
