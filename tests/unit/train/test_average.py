"""The average of weights is the one computed by hand, and lends itself to the model without a trace."""

import pytest
import torch
from torch import nn

from liftray.train.average import Average


def _moving(steps: int) -> tuple[nn.Linear, list[torch.Tensor]]:
    """A layer, and the weights that it has after each step, those of the start first."""
    torch.manual_seed(0)
    return nn.Linear(3, 2), list(torch.randn(steps + 1, 2, 3))


def _run(layer: nn.Linear, average: Average, course: list[torch.Tensor], first: int = 1) -> None:
    for step, weight in enumerate(course, start=first):
        layer.weight.data.copy_(weight)
        average.update(step)


def _average(layer: nn.Linear, course: list[torch.Tensor], decay: float) -> Average:
    layer.weight.data.copy_(course[0])
    return Average({"weight": layer.weight}, decay)


@pytest.mark.parametrize("decay", [0.5, 0.9, 0.999])
def test_it_is_the_recurrence_by_hand(decay: float) -> None:
    layer, course = _moving(30)
    average = _average(layer, course, decay)
    expected = course[0].double()
    for step, weight in enumerate(course[1:], start=1):
        share = min(decay, (1 + step) / (10 + step))
        expected = share * expected + (1 - share) * weight
    _run(layer, average, course[1:])
    torch.testing.assert_close(average.weights()["weight"], expected.float())


def test_the_weights_that_a_run_began_with_are_soon_forgotten() -> None:
    """After 100 steps of a decay of 0.999 a plain average would hold them with a share of 0.9."""
    layer, _ = _moving(0)
    average = _average(layer, [torch.ones(2, 3)], 0.999)
    _run(layer, average, [torch.zeros(2, 3)] * 100)
    assert 0 < average.weights()["weight"].max() < 1e-3


def test_a_resumed_average_goes_on_with_the_same_bits() -> None:
    layer, course = _moving(20)
    straight = _average(layer, course, 0.9)
    _run(layer, straight, course[1:])
    half = _average(layer, course, 0.9)
    _run(layer, half, course[1:11])
    resumed = Average({"weight": layer.weight}, 0.9, half.weights())
    _run(layer, resumed, course[11:], first=11)
    assert torch.equal(resumed.weights()["weight"], straight.weights()["weight"])


def test_applied_lends_the_average_and_gives_the_weights_back() -> None:
    layer, course = _moving(5)
    average = _average(layer, course, 0.9)
    _run(layer, average, course[1:])
    held = average.weights()["weight"]
    with average.applied():
        assert torch.equal(layer.weight, held)
    assert torch.equal(layer.weight, course[-1])
    with pytest.raises(RuntimeError, match="in between"), average.applied():
        raise RuntimeError("in between")
    assert torch.equal(layer.weight, course[-1])
    assert torch.equal(average.weights()["weight"], held)


def test_what_it_gives_does_not_move_with_it() -> None:
    layer, course = _moving(2)
    average = _average(layer, course, 0.9)
    before = average.weights()["weight"]
    kept = before.clone()
    _run(layer, average, course[1:])
    assert torch.equal(before, kept)
    assert not torch.equal(average.weights()["weight"], kept)
