"""Domains of a search space: what is read, and what is refused in one line."""

from typing import Any

import pytest

from liftray.errors import ConfigError
from liftray.sections.domain import contains, parse


def test_a_list_is_a_choice_and_ranges_keep_their_ends() -> None:
    domains = parse(
        {
            "adapter.skip_layers": [2, 4],
            "train.lr": {"log_uniform": ["1e-4", 0.01]},
            "train.epochs": {"integer": [4, 12], "step": 4},
            "head.dropout": {"uniform": [0, 0.3]},
        }
    )
    assert domains["adapter.skip_layers"].listed() == (2, 4)
    assert domains["train.lr"].ends() == (1e-4, 0.01)
    assert domains["train.lr"].listed() is None
    assert domains["train.epochs"].listed() == (4, 8, 12)
    assert not domains["head.dropout"].is_log


def test_what_others_depend_on_comes_first() -> None:
    domains = parse(
        {
            "head.dropout": {"uniform": [0, 0.3], "when": {"head.kind": "linear"}},
            "head.kind": {"choice": ["linear", "conv"], "when": {"adapter.kind": ["lora"]}},
            "adapter.kind": ["bottleneck", "lora"],
        }
    )
    assert list(domains) == ["adapter.kind", "head.kind", "head.dropout"]
    assert domains["head.kind"].holds({"adapter.kind": "lora"})
    assert not domains["head.kind"].holds({"adapter.kind": "bottleneck"})
    assert not domains["head.dropout"].holds({"adapter.kind": "bottleneck"})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "has no values"),
        ({"choice": []}, "has no values"),
        (3, "wants a list"),
        ([1, 1], "value 1 twice"),
        ({"uniform": [1, 1]}, "range .* is empty"),
        ({"uniform": [1]}, r"wants \[low, high\]"),
        ({"log_uniform": [0, 1]}, "above 0"),
        ({"integer": [1, 2.5]}, "whole numbers"),
        ({"uniform": [0, "many"]}, "'many' is no number"),
        ({"uniform": [False, True]}, "no number"),
        ({"uniform": [0, float("inf")]}, "no number"),
        ({"gaussian": [0, 1]}, "not 'gaussian'"),
        ({"choice": [1], "grid": [1]}, "exactly one, not 2"),
        ({"uniform": [0, 1], "step": 2}, "`step`"),
        ({"choice": [1], "when": "lora"}, "wants a mapping"),
        ({"choice": [1], "when": {"adapter.kind": "lora"}}, "not in search.space"),
        ({"choice": [1], "when": {"train.lr": 1}}, "depends on itself"),
    ],
)
def test_what_is_no_domain_is_refused(given: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse({"train.lr": given})


def test_a_condition_that_never_holds_is_refused() -> None:
    with pytest.raises(ValueError, match=r"adapter\.kind='ia3', a value that it never has"):
        parse({"adapter.kind": ["lora"], "train.lr": {"choice": [1], "when": {"adapter.kind": "ia3"}}})


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ({"space": {"train.lr": {"uniform": [0.1, 0.2]}}}, "a grid cannot list train.lr"),
        ({"method": "pbt"}, "use method: tpe with scheduler: asha"),
        ({"scheduler": "pbt"}, "use method: tpe with scheduler: asha"),
        ({"method": "tpe", "space": {"train.seed": {"grid": [0, 1]}}}, "make train.seed a choice"),
        ({"method": "tpe", "scheduler": "hyperband"}, "use scheduler: asha"),
        ({"method": "nsga2", "objectives": ["q3"]}, "several search.objectives"),
        ({"method": "nsga2", "scheduler": "asha"}, "search.scheduler=none"),
        ({"objectives": ["parameters", "q3"]}, "first of search.objectives"),
        ({"max_cost": 3}, "needs search.cost_per_hour"),
        ({"space": {"adapter.skip_layer": [1]}}, "did you mean adapter.skip_layers"),
    ],
)
def test_a_method_that_does_not_fit_is_refused_with_the_config(search: dict[str, Any], message: str) -> None:
    from tests.parts import tiny

    with pytest.raises(ConfigError, match=message) as caught:
        tiny.settings(**{f"search__{key}": value for key, value in search.items()})
    assert "\n" not in str(caught.value)


def test_a_space_knows_what_it_could_have_proposed() -> None:
    domains = parse(
        {
            "adapter.kind": ["lora", "ia3"],
            "adapter.reduction_factor": {"integer": [4, 16], "step": 4, "when": {"adapter.kind": "lora"}},
            "train.lr": {"log_uniform": [1e-4, 1e-2]},
        }
    )
    fitting = {"adapter.kind": "lora", "adapter.reduction_factor": 8, "train.lr": 1e-3}
    assert contains(domains, fitting)
    assert contains(domains, {"adapter.kind": "ia3", "train.lr": 1e-2})
    for strange in (
        {"adapter.reduction_factor": 9},
        {"train.lr": 0.1},
        {"adapter.kind": "mam"},
        {"adapter.kind": "ia3"},
        {"train.seed": 1},
    ):
        assert not contains(domains, {**fitting, **strange})
    assert not contains(domains, {"adapter.kind": "lora", "train.lr": 1e-3})
