"""The runs of a study: each arm's tries with the first seed, then the other seeds with the values that it chose.

Invariant: the plan is a function of the settings alone, and each run is a valid config. Every arm has the same number
of tries. Values are chosen by validation scores. Flow: settings.study -> [this] -> estimate, study_job.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from liftray.adapt import kinds
from liftray.backbone.sources import ResolvedBackbone
from liftray.config import Settings, StudySettings, keys
from liftray.errors import ConfigError
from liftray.search.ledger import Trial
from liftray.search.space import FIXED, SCORES_OF, Overrides, trial_name
from liftray.study.claims import POOLED, VALIDATION

_SEED = "train.seed"
# Keys that arms cannot set, since their runs are compared on them.
_SHARED = (*FIXED, _SEED, "data.", "task", "study.")
# Keys that `description` covers.
_DESCRIBED = ("method", "adapter.")


@dataclass(frozen=True)
class Arm:
    """One method that is compared.

    Attributes:
        name: As in `study.arms`.
        overrides: Config keys and values of all its runs.
        tries: Values of the keys that are chosen, in the order of the config; one empty try where none is.
        text: The arm in words.
    """

    name: str
    overrides: Overrides
    tries: tuple[Overrides, ...]
    text: str

    def run(self, values: Mapping[str, object], seed: int) -> Overrides:
        """The overrides of one run."""
        return {**self.overrides, **values, _SEED: seed}


@dataclass(frozen=True)
class Plan:
    """All arms, and the settings common to their runs.

    Attributes:
        base: The settings of all runs, without those of the study.
        study: The settings of the study.
        arms: In the order of the config.
    """

    base: Settings
    study: StudySettings
    arms: tuple[Arm, ...]

    def tries(self) -> list[Overrides]:
        """The first step: every try of every arm with the first seed, each run once."""
        return unique([arm.run(values, self.study.seeds[0]) for arm in self.arms for values in arm.tries])

    def repeats(self, chosen: Mapping[str, Overrides]) -> list[Overrides]:
        """The second step: the other seeds with the values that were chosen, of the arms that have chosen."""
        return unique([run for arm in self.arms if arm.name in chosen for run in self.runs(arm, chosen)[1:]])

    def runs(self, arm: Arm, chosen: Mapping[str, Overrides]) -> list[Overrides]:
        """The final runs of an arm: the chosen values with each seed."""
        return [arm.run(chosen[arm.name], seed) for seed in self.study.seeds]

    def all_runs(self, chosen: Mapping[str, Overrides]) -> list[Overrides]:
        """All runs of the study; an arm that has not chosen yet counts with its first try."""
        firsts = {arm.name: arm.tries[0] for arm in self.arms}
        return unique([*self.tries(), *self.repeats({**firsts, **chosen})])

    def members(self, names: Sequence[str]) -> list[str]:
        """Arms by their names and those of groups, each once, in the order in which they are named."""
        arms = [arm for name in names for arm in self.study.groups.get(name, [name])]
        return list(dict.fromkeys(arms))


def unique(runs: Sequence[Overrides]) -> list[Overrides]:
    """Each run once: two arms may have some in common."""
    return list({trial_name(run): run for run in runs}.values())


def make(settings: Settings, backbone: ResolvedBackbone) -> Plan:
    """Read a study, and refuse arms that could not run or could not be compared fairly.

    Args:
        settings: The config.
        backbone: The backbone of the settings.

    Raises:
        ConfigError: There are no arms, an arm sets a key that it cannot set, an arm's values are no valid config or do
            not fit the backbone, arms have different numbers of tries, or the search section has a space or scheduler.
    """
    study = settings.study
    if not study.arms:
        raise ConfigError(
            "study.arms is empty", remedy="name methods, such as study.arms: {frozen: {method: features}}"
        )
    if settings.search.space or settings.search.scheduler != "none":
        raise ConfigError(
            "a study runs its arms to their ends and searches nothing",
            remedy="remove search.space and search.scheduler from the config",
        )
    _check_scores(settings.study, settings.task)
    taken = sorted({VALIDATION, POOLED} & settings.data.test.keys())
    if taken:
        raise ConfigError(f"data.test: a study uses the name {taken[0]!r} itself", remedy="rename the set")
    base = settings.replace(
        {
            **{f"study.{name}": getattr(StudySettings(), name) for name in StudySettings.model_fields},
            "search.objectives": [study.scores[0], "parameters"],
            "evaluate.baselines": [],
            "registry.name": "",
        }
    )
    for key in study.choose:
        _check_key(key, "study.choose")
    plan = Plan(base, study, tuple(_arm(name, base, study, backbone) for name in study.arms))
    for name, claim in study.claims.items():
        if set(plan.members(claim.arms)) & set(plan.members(claim.than)) or len(plan.members(claim.arms)) < (
            2 if claim.kind == "sweep" else 1
        ):
            raise ConfigError(
                f"study.claims.{name}: an arm is compared with itself",
                remedy="name arms under `than` that are not under `arms`, and two arms or more for a sweep",
            )
    return plan


def _arm(name: str, base: Settings, study: StudySettings, backbone: ResolvedBackbone) -> Arm:
    where = f"study.arms.{name}"
    settings = study.arms[name]
    for key in settings:
        _check_key(key, where)
    lists = {key: settings.get(key, values) for key, values in study.choose.items()}
    for key, values in lists.items():
        if not isinstance(values, list) or len(values) != len(study.choose[key]):
            raise ConfigError(
                f"{where}: {key} needs a list of {len(study.choose[key])} values, as many as study.choose has, so "
                "that each arm is tuned with the same care",
                remedy="or remove the key, so that the values of study.choose are tried",
            )
    overrides = {key: value for key, value in settings.items() if key not in lists}
    tries = [dict(zip(lists, values, strict=True)) for values in itertools.product(*lists.values())]
    for values in tries:
        try:
            ours = base.replace({**overrides, **values})
            if ours.method != "features" or ours.head.mix_blocks:
                kinds.check(ours.adapter, backbone.num_blocks, backbone.name, backbone.width)
        except ConfigError as error:
            at = where if error.where is None else f"{where}: {error.where}"
            raise ConfigError(error.what, where=at, remedy=error.remedy) from error
    text = description(base.replace(overrides), backbone)
    further = [f"{key} {value}" for key, value in overrides.items() if not key.startswith(_DESCRIBED)]
    return Arm(name, overrides, tuple(tries), ", ".join([text, *further]))


def _check_key(key: str, where: str) -> None:
    if key not in keys():
        raise ConfigError(f"{where}: unknown key {key}", remedy="liftray study --help lists the keys")
    if key.startswith(_SHARED):
        raise ConfigError(f"{where}: {key} is the same for all arms", remedy="set it outside study.arms")


def _check_scores(study: StudySettings, task: str) -> None:
    strange = [score for score in study.scores if score not in SCORES_OF[task]]
    if strange:
        raise ConfigError(
            f"study.scores: {strange[0]} is no score of task {task}",
            remedy=f"use {', '.join(SCORES_OF[task])}",
        )


def description(ours: Settings, backbone: ResolvedBackbone) -> str:
    """A method in words."""
    blocks, skipped = backbone.num_blocks, ours.adapter.skip_layers
    if ours.method == "features":
        return "frozen backbone, head only"
    where = f"the top {blocks - skipped} of {blocks} blocks" if skipped else f"all {blocks} blocks"
    if ours.method == "full":
        return f"full fine-tuning of {where}"
    adapter = ours.adapter
    width = kinds.width_as_built(adapter, backbone.width)
    return f"{adapter.kind}{'' if width is None else f' of width {width}'} in {where}"


def choose(plan: Plan, trials: Mapping[str, Trial]) -> dict[str, Overrides]:
    """The values of each arm: those of the try with the best validation score; among equals, the first listed.

    Args:
        plan: The study.
        trials: Those that finished, by name.

    Returns:
        Arm -> values; arms with a try that did not finish are left out.
    """
    score = f"valid/{plan.study.scores[0]}"
    chosen: dict[str, Overrides] = {}
    for arm in plan.arms:
        tried = [trials.get(trial_name(arm.run(values, plan.study.seeds[0]))) for values in arm.tries]
        scores = [one.metrics[score] for one in tried if one is not None]
        if len(scores) == len(tried):
            chosen[arm.name] = arm.tries[scores.index(max(scores))]
    return chosen
