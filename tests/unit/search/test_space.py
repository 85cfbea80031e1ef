"""The search space is checked before the first trial starts."""

import pytest
import tiny

from liftray.errors import ConfigError
from liftray.search import space


def test_a_grid_counts_all_combinations_and_random_its_draws() -> None:
    values = {"adapter.skip_layers": [0, 1], "adapter.reduction_factor": [4, 8, 16]}
    assert space.check(tiny.settings(search__space=values), 3, "tiny") == 6
    drawn = tiny.settings(search__space=values, search__method="random", search__num_trials=5)
    assert space.check(drawn, 3, "tiny") == 5


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({}, "search.space is empty"),
        ({"adapter.skip_layers": [0, 3]}, "leaves no block of 3"),
        ({"adapter.kind": ["bottleneck", "prefix"]}, "adapter.kind"),
    ],
)
def test_what_no_trial_could_run_is_refused(values: dict[str, list[object]], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        space.check(tiny.settings(search__space=values), 3, "tiny")


def test_a_trial_is_named_by_its_values_whatever_their_order() -> None:
    one = space.trial_name({"adapter.skip_layers": 2, "train.lr": 0.001})
    assert one == space.trial_name({"train.lr": 0.001, "adapter.skip_layers": 2})
    assert one != space.trial_name({"adapter.skip_layers": 2, "train.lr": 0.01})
    assert "/" not in space.trial_name({"backbone.source": ["hf:a/b@c"]})
