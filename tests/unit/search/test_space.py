"""The search space: which trials there are, and that each could run before the first one starts."""

from typing import Any

import pytest

from liftray.config import Settings
from liftray.errors import ConfigError
from liftray.search import space
from tests.parts import tiny

_KIND = {"adapter.kind": ["bottleneck", "lora"]}


def _searching(values: dict[str, Any], method: str = "random", trials: int = 6, **others: Any) -> Settings:
    return tiny.settings(search__space=values, search__method=method, search__num_trials=trials, **others)


def _trials(settings: Settings) -> list[space.Overrides] | None:
    return space.trials(settings.search, settings.train.seed)


def test_a_grid_counts_all_combinations_and_random_its_draws() -> None:
    values = {"adapter.skip_layers": [0, 1], "adapter.reduction_factor": [4, 8, 16]}
    assert space.check(_searching(values, "grid"), 3, "tiny", 40) == 6
    assert space.check(_searching(values, trials=5), 3, "tiny", 40) == 5
    # Each once: more are requested than there are.
    drawn = _trials(_searching(values, trials=50))
    assert drawn is not None
    assert len({space.text(one) for one in drawn}) == len(drawn) == 6


def test_a_condition_leaves_its_key_out() -> None:
    values = {**_KIND, "adapter.reduction_factor": {"choice": [4, 8], "when": {"adapter.kind": "bottleneck"}}}
    assert _trials(_searching(values, "grid")) == [
        {"adapter.kind": "bottleneck", "adapter.reduction_factor": 4},
        {"adapter.kind": "bottleneck", "adapter.reduction_factor": 8},
        {"adapter.kind": "lora"},
    ]


def test_a_random_search_draws_inside_its_ranges_and_always_the_same() -> None:
    values = {
        "train.lr": {"log_uniform": [1e-4, 1e-2]},
        "head.dropout": {"uniform": [0.1, 0.3]},
        "adapter.reduction_factor": {"log_integer": [2, 8]},
        "train.epochs": {"integer": [4, 12], "step": 4},
    }
    settings = _searching(values, trials=200)
    drawn = _trials(settings)
    assert drawn == _trials(settings)
    assert drawn != _trials(settings.replace({"train.seed": 1}))
    assert drawn is not None
    assert all(1e-4 <= one["train.lr"] <= 1e-2 and 0.1 <= one["head.dropout"] <= 0.3 for one in drawn)
    assert {one["train.epochs"] for one in drawn} == {4, 8, 12}
    widths = [one["adapter.reduction_factor"] for one in drawn]
    assert (min(widths), max(widths)) == (2, 8)
    # In the logarithm: as many below the geometric mean, 1e-3, as above.
    assert 70 < sum(one["train.lr"] < 1e-3 for one in drawn) < 130


def test_a_grid_key_of_a_random_search_is_crossed_with_every_draw() -> None:
    drawn = _trials(
        _searching({"train.lr": {"uniform": [0.1, 0.2]}, "train.seed": {"grid": [0, 1]}}, trials=3)
    )
    assert drawn is not None
    assert [one["train.seed"] for one in drawn] == [0, 1] * 3
    assert [one["train.lr"] for one in drawn[::2]] == [one["train.lr"] for one in drawn[1::2]]


def test_corners_hold_the_ends_and_only_the_keys_asked_for() -> None:
    settings = _searching(
        {**_KIND, "adapter.skip_layers": {"integer": [0, 2]}, "train.lr": {"uniform": [0.1, 0.2]}}
    )
    assert len(space.corners(settings.search)) == 2 * 3 * 2
    assert {tuple(one) for one in space.corners(settings.search, "adapter.")} == {
        ("adapter.kind", "adapter.skip_layers")
    }


def test_a_large_space_is_checked_value_by_value() -> None:
    values = {
        f"train.{name}": list(range(1, 9))
        for name in ("epochs", "patience", "seed", "micro_batches_per_step")
    }
    values["adapter.skip_layers"] = [0, 1, 7]
    settings = tiny.settings(search__space=values, search__method="tpe", search__num_trials=3)
    with pytest.raises(ConfigError, match="leaves no block of 3"):
        space.check(settings, 3, "tiny", 40)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "search.space is empty"),
        ({"adapter.skip_layers": [0, 3]}, "leaves no block of 3"),
        ({"adapter.kind": ["bottleneck", "prefix"]}, "adapter.kind"),
        ({"train.lr": {"uniform": [-1, 1]}}, "train.lr"),
        ({"run.dir": ["a", "b"]}, "run.dir is the same for all trials"),
        ({"data.valid": [{"a": "b"}]}, "data.valid is the same for all trials"),
    ],
)
@pytest.mark.parametrize("method", ["random", "tpe"])
def test_what_no_trial_could_run_is_refused(values: dict[str, Any], message: str, method: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        space.check(_searching(values, method, trials=40), 3, "tiny", 40)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"search__scheduler": "asha", "train__epochs": 1}, "nothing to stop early"),
        (
            {"search__scheduler": "median", "train__epochs": 4, "search__grace_epochs": 4},
            "set train.epochs to 5",
        ),
        ({"search__objectives": ["q8"]}, "q8 is no score of task ss3"),
    ],
)
def test_a_search_with_settings_that_do_not_fit_is_refused(others: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        space.check(_searching({"adapter.skip_layers": [0, 1]}, **others), 3, "tiny", 40)


def test_a_trial_is_named_by_its_values_whatever_their_order() -> None:
    one = space.trial_name({"adapter.skip_layers": 2, "train.lr": 0.001})
    assert one == space.trial_name({"train.lr": 0.001, "adapter.skip_layers": 2})
    assert one != space.trial_name({"adapter.skip_layers": 2, "train.lr": 0.01})
    assert "/" not in space.trial_name({"backbone.source": ["hf:a/b@c"]})
