"""The estimate: counts first, then what this study's own runs took."""

import math

import pytest

from liftray.adapt.heads.conv import ConvHead
from liftray.adapt.heads.linear import LinearHead
from liftray.backbone.dimensions import Dimensions
from liftray.search.ledger import Trial
from liftray.study import estimate
from liftray.study.estimate import EpochResidues
from liftray.train.prepare import PreparedRun, prepare_run
from tests.parts import tiny

_SIZE = EpochResidues(train=1000, valid=100)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedRun:
    root = tmp_path_factory.mktemp("p")
    chains = tiny.dataset(root / "t", tiny.chains([40, 60]))
    return prepare_run(
        tiny.settings(
            data__train={"t": chains},
            data__valid={"t": chains},
            backbone__source=[tiny.write_backbone(root / "esm")],
            train__epochs=2,
        )
    )


@pytest.mark.parametrize(
    ("overrides", "cached", "train", "valid"),
    [
        # Of three blocks: those above the cut forward and back, those below forward unless they are stored.
        ({"method": "features"}, False, 3, 3),
        ({"method": "features"}, True, 0, 0),
        ({"method": "full"}, True, 15, 3),
        ({"method": "full", "adapter.skip_layers": 2}, False, 2 + 5, 3),
        ({"adapter.kind": "lora", "adapter.skip_layers": 1}, False, 1 + 6, 3),
        ({"adapter.kind": "lora", "adapter.skip_layers": 1}, True, 6, 2),
        # A bottleneck reads the output of its block: one block more is constant.
        ({"adapter.skip_layers": 1}, True, 3, 1),
    ],
)
def test_a_run_costs_its_blocks(
    prepared: PreparedRun, overrides: dict[str, object], cached: bool, train: int, valid: int
) -> None:
    one = prepared.with_settings(prepared.settings.replace(overrides))
    overhead = 0.3
    expected = 2 * (1000 * (train + overhead) + 100 * (valid + overhead))
    assert estimate.cost(one, _SIZE, cached) == pytest.approx(expected)


def test_a_larger_head_costs_its_share_of_a_block(prepared: PreparedRun) -> None:
    plain, larger = (
        estimate.cost(prepared.with_settings(prepared.settings.replace({"head.kind": kind})), _SIZE, True)
        for kind in ("linear", "conv")
    )
    size = Dimensions.of(prepared.backbone.family, prepared.backbone.config)
    own, linear = (head.parameter_count(size.width, 3) for head in (ConvHead, LinearHead))
    share = (own - linear) / size.block
    assert larger - plain == pytest.approx(2 * (1000 * 3 + 100) * share)


def test_seconds_are_cost_over_rate_and_a_start_a_run() -> None:
    assert estimate.seconds([600.0, 1200.0], 100.0, 1) == pytest.approx(6 + 12 + 2 * 6)
    assert estimate.seconds([600.0, 1200.0], 100.0, 2) == pytest.approx((6 + 12 + 2 * 6) / 2)


def test_the_time_left_follows_the_runs_that_ended() -> None:
    costs = {"a": 1000.0, "b": 3000.0, "c": 2000.0}
    assert estimate.left_s(costs, {}, 1) is None
    running = Trial(1, {}, "d", "running")
    assert estimate.left_s(costs, {"a": running}, 1) is None
    ended = Trial(1, {}, "d", "finished", seconds=16.0)  # six of them are its start: 100 a second
    assert estimate.left_s(costs, {"a": ended, "b": running}, 1) == pytest.approx(30 + 20 + 2 * 6)
    assert estimate.left_s(costs, {"a": ended, "b": running}, 2) == pytest.approx((30 + 20 + 2 * 6) / 2)
    every = {name: Trial(1, {}, "d", "finished", seconds=16.0) for name in costs}
    assert estimate.left_s(costs, every, 1) == 0


def test_the_rate_is_measured_on_the_backbone(prepared: PreparedRun) -> None:
    """Seconds are what it is for: finite, whatever the machine."""
    rate = estimate.measure(prepared)
    assert 0 < estimate.seconds([1e6], rate, 1) < math.inf
