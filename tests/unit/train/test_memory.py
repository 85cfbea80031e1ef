"""The estimate changes in the right direction with every setting, and is reported or refused in time."""

from typing import Any

import pytest

from liftray.backbone.architecture import check_config
from liftray.backbone.dimensions import Dimensions
from liftray.bench.shapes import shape
from liftray.errors import ConfigError
from liftray.train import memory
from liftray.train.memory import Memory
from tests.parts import tiny


def _size(name: str = "esm2_650m") -> Dimensions:
    found = shape(name)
    return Dimensions.of(*check_config({"model_type": found.family, **found.config}, name))


def _estimate(name: str = "esm2_650m", cached: bool = False, **overrides: Any) -> Memory:
    return memory.training(tiny.settings(**overrides), _size(name), cached=cached)


def test_parts_are_counted_where_they_can_be() -> None:
    found = _estimate(zero__stage=0, adapter__skip_layers=22, backbone__dtype="bfloat16")
    frozen = _size().parameters()
    trained = 11 * (2 * 1280 * 20 + 20 + 1280) + 1281 * 3
    assert found.weights == 2 * frozen + 4 * trained
    assert (found.gradients, found.optimizer) == (4 * trained, 8 * trained)
    assert found.total == found.resident + found.activations + found.workspace


def test_a_full_cache_leaves_out_what_is_below_the_cut() -> None:
    whole, above = (_estimate(cached=cached, adapter__skip_layers=22) for cached in (False, True))
    per_block = 4 * _size().block
    # The bottleneck reads what block 22 gives, so that block is not needed either.
    assert whole.weights - above.weights == 23 * per_block + 4 * _size().embedding
    # The state where training enters comes with the batch.
    assert above.activations - whole.activations == 4 * 1280 * 2048


def test_full_fine_tuning_takes_sixteen_bytes_a_parameter() -> None:
    found = _estimate(method="full", zero__stage=0)
    trained = _size().parameters() - _size().embedding
    assert found.resident == pytest.approx(16 * trained, rel=0.01)


@pytest.mark.parametrize(
    ("less", "than"),
    [
        ({"train__tokens_per_batch": 1024}, {"train__tokens_per_batch": 2048}),
        ({"train__recompute_activations": True}, {}),
        ({"backbone__dtype": "bfloat16"}, {}),
        ({"adapter__skip_layers": 20}, {"adapter__skip_layers": 4}),
        ({"method": "features"}, {}),
        ({}, {"method": "full"}),
        ({}, {"head__kind": "conv"}),
        ({"zero__stage": 2, "scaling__num_workers": 4}, {"zero__stage": 0, "scaling__num_workers": 4}),
    ],
)
def test_a_setting_that_saves_memory_lowers_the_estimate(less: dict[str, Any], than: dict[str, Any]) -> None:
    both = {"method": "full"} if "zero__stage" in less else {}
    assert _estimate(**{**both, **less}).total < _estimate(**{**both, **than}).total


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_zero_divides_its_share(stage: int) -> None:
    alone, shared = (
        _estimate(method="full", zero__stage=stage, scaling__num_workers=workers) for workers in (1, 8)
    )
    assert shared.optimizer == pytest.approx(alone.optimizer / 8, rel=1e-6)
    assert (shared.weights < alone.weights) == (stage == 3)


def test_zero_3_loads_the_whole_model_before_it_divides_it() -> None:
    options = {"scaling__num_workers": 8, "backbone__dtype": "bfloat16", "train__tokens_per_batch": 1024}
    found = _estimate("esm2_15b", zero__stage=3, **options)
    assert found.total > 2 * _size("esm2_15b").parameters()


def _report(capsys: pytest.CaptureFixture[str], **overrides: Any) -> list[str]:
    memory.report(tiny.settings(**overrides), tiny.backbone().resolved)
    return capsys.readouterr().err.splitlines()


def test_the_estimate_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    (line,) = _report(capsys, adapter__skip_layers=1)
    assert line.startswith("memory: a worker is estimated to need 0.")
    assert "activations" in line
    assert "where the cache is used" in line
    (line,) = _report(capsys, adapter__skip_layers=1, cache__enabled=False)
    assert "cache" not in line


def test_a_gpu_too_small_for_the_batch_is_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    options = {"scaling__use_gpu": True, "scaling__gpu_memory_gb": 0.5}
    estimated, warned = _report(capsys, **options)
    assert "its GPU has 0.5 GB" in warned
    assert "train.tokens_per_batch" in warned
    assert "train.recompute_activations=true" in warned
    assert _report(capsys, **{**options, "scaling__gpu_memory_gb": 16}) == [estimated]


def test_a_gpu_too_small_for_the_weights_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    options = {"scaling__use_gpu": True, "scaling__gpu_memory_gb": 1e-6, "scaling__num_workers": 2}
    with pytest.raises(ConfigError, match=r"weights, gradients and optimizer need .*zero\.stage=3") as caught:
        _report(capsys, **options)
    assert "tokens_per_batch" not in str(caught.value)
    assert "bfloat16" in str(caught.value)
    assert "cache" not in str(caught.value)
    assert "set scaling.gpu_memory_gb higher" in str(caught.value)


def test_a_gpu_that_is_slightly_too_small_is_not_refused(capsys: pytest.CaptureFixture[str]) -> None:
    options = {"scaling__use_gpu": True, "cache__enabled": False}
    size = Dimensions.of("esm", tiny.backbone().resolved.config)
    resident = memory.training(tiny.settings(**options), size, cached=False).resident
    assert len(_report(capsys, **options, scaling__gpu_memory_gb=resident / 1.05e9)) == 2
    with pytest.raises(ConfigError):
        _report(capsys, **options, scaling__gpu_memory_gb=resident / 1.2e9)


def test_full_fine_tuning_of_a_large_model_sums_gradients_in_buckets() -> None:
    options = {"method": "full", "zero__stage": 2, "scaling__num_workers": 8}
    found = _estimate("esm2_3b", **options)
    trained = (found.weights - 4 * _size("esm2_3b").embedding) // 4
    assert found.gradients == pytest.approx(4 * memory.LARGEST_BUCKET + 4 * trained / 8, rel=1e-6)


def test_the_limit_of_a_cluster_elsewhere_is_unknown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "head:6379")
    assert len(_report(capsys, scaling__use_gpu=True)) == 1
