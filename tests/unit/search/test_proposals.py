"""What is tried next, also after an interruption."""

import sys
from typing import Any

import pytest

from liftray.config import Settings
from liftray.errors import ConfigError
from liftray.search.proposals import Listed, Optimized, require
from tests.parts import tiny

_SPACE = {
    "adapter.kind": ["bottleneck", "lora"],
    "adapter.reduction_factor": {"log_integer": [2, 32], "when": {"adapter.kind": "bottleneck"}},
    "train.lr": {"log_uniform": [1e-4, 1e-2]},
}


def _settings(method: str, trials: int, space: dict[str, Any] | None = None) -> Settings:
    return tiny.settings(search__space=space or _SPACE, search__method=method, search__num_trials=trials)


def _optimized(settings: Settings, *args: Any, **kwargs: Any) -> Optimized:
    return Optimized(settings.search, settings.train.seed, *args, **kwargs)


def _all(source: Optimized) -> list[dict[str, Any]]:
    result = []
    while (one := source.propose()) is not None:
        result.append(one)
        source.learn(one, [one.get("train.lr", 0.5), 10.0])
    return result


def test_a_list_is_proposed_in_order_and_once() -> None:
    source = Listed([{"a": 1}, {"a": 2}])
    assert [source.propose(), source.propose(), source.propose()] == [{"a": 1}, {"a": 2}, None]


@pytest.mark.parametrize("method", ["tpe", "nsga2"])
def test_optuna_proposes_different_valid_trials(method: str) -> None:
    result = _all(_optimized(_settings(method, 8), [True, False]))
    assert len(result) == 8
    assert len({str(sorted(one.items())) for one in result}) == 8
    for one in result:
        assert ("adapter.reduction_factor" in one) == (one["adapter.kind"] == "bottleneck")
        assert 1e-4 <= one["train.lr"] <= 1e-2


@pytest.mark.parametrize("method", ["tpe", "nsga2"])
def test_a_search_resumes_what_began_and_repeats_nothing(method: str) -> None:
    begun = {"adapter.kind": "lora", "train.lr": 0.005}
    ended = {"adapter.kind": "bottleneck", "adapter.reduction_factor": 4, "train.lr": 0.001}
    result = _all(_optimized(_settings(method, 4), [True, False], [begun], [(ended, [0.7, 100.0])]))
    assert result[0] == begun
    assert len(result) == 3
    assert ended not in result


def test_trials_of_an_earlier_search_are_learnt_from_and_not_counted() -> None:
    known = {"adapter.kind": "lora", "train.lr": 0.005}
    result = _all(_optimized(_settings("tpe", 3), [True], earlier=[(known, [0.7])]))
    assert len(result) == 3
    unknowing = _all(_optimized(_settings("tpe", 3), [True]))
    assert result != unknowing


def test_a_space_that_is_used_up_ends_the_search() -> None:
    result = _all(_optimized(_settings("tpe", 50, {"adapter.kind": ["bottleneck", "lora"]}), [True]))
    assert sorted(one["adapter.kind"] for one in result) == ["bottleneck", "lora"]


def test_a_failed_trial_is_reported_and_the_search_continues() -> None:
    source = _optimized(_settings("tpe", 2), [True])
    one = source.propose()
    assert one is not None
    source.learn(one, None)
    other = source.propose()
    assert other is not None
    assert other != one


def test_without_optuna_the_search_is_refused_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)  # what Python itself does for a module that is not there
    require("random")
    with pytest.raises(ConfigError, match="pip install 'liftray\\[optuna\\]'"):
        require("tpe")
