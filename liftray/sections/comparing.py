"""Sections of comparisons: searches and studies."""

import re
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from liftray import paths
from liftray.sections import domain
from liftray.sections.section import Operation, Section


class SearchSettings(Section):
    """The Ray Tune search of `tune`."""

    space: Operation[dict[str, list[Any] | dict[str, Any]]] = Field(
        default={},
        description="config key -> values, or {grid|uniform|log_uniform|integer|log_integer: [..], when: {KEY: VALUE}}",
    )
    method: Operation[Literal["grid", "random", "tpe", "nsga2"]] = Field(
        default="grid",
        description="grid: all combinations; random: num_trials random ones; tpe, nsga2: Optuna's proposals "
        "(nsga2: for all objectives)",
    )
    scheduler: Operation[Literal["none", "asha", "hyperband", "median"]] = Field(
        default="none", description="rule that stops poor trials early"
    )
    grace_epochs: Operation[int] = Field(
        default=1, ge=1, description="epochs before which no trial is stopped"
    )
    halving: Operation[int] = Field(
        default=3, ge=2, description="asha, hyperband: one trial of this many continues at each rung"
    )
    objectives: Operation[
        list[Literal["q3", "q8", "q9", "parameters", "seconds_per_epoch", "peak_memory"]]
    ] = Field(
        default=["q3", "parameters"],
        min_length=1,
        description="what trials are compared on; the first is a validation score and chooses the best",
    )
    margin: Operation[float] = Field(
        default=0.005,
        gt=0,
        lt=1,
        description="loss of score, a fraction, up to which a smaller adapter is preferred",
    )
    num_trials: Operation[int] = Field(
        default=6, ge=1, description="trials of a search with another method than grid"
    )
    start_from: Operation[str] = Field(
        default="",
        description="run.dir of an earlier search whose trials tpe or nsga2 starts from; empty: none",
    )
    max_hours: Operation[float | None] = Field(
        default=None, gt=0, description="hours after which no trial continues; null: no limit"
    )
    max_cost: Operation[float | None] = Field(
        default=None, gt=0, description="most that hours x cost_per_hour may reach; null: no limit"
    )
    cost_per_hour: Operation[float] = Field(
        default=0.0, ge=0, description="cost of the machines per hour, in any currency"
    )
    max_concurrent: Operation[int] = Field(default=1, ge=1, description="trials that run at the same time")
    in_process: Operation[bool | Literal["auto"]] = Field(
        default="auto",
        description="train in the trial's own process, which starts faster; auto: with one worker and no GPU",
    )

    _is_local = field_validator("start_from")(paths.local)

    @field_validator("method", "scheduler", mode="before")
    @classmethod
    def _population_based_training_is_not_offered(cls, value: object) -> object:
        if value in ("pbt", "pb2"):
            raise ValueError(
                f"{value} copies weights between trials, which Ray Tune cannot do for Ray Train runs; "
                "use method: tpe with scheduler: asha"
            )
        return value

    @model_validator(mode="after")
    def _agrees(self) -> "SearchSettings":
        domains = domain.parse(self.space)
        wide = [key for key, one in domains.items() if one.listed() is None]
        if self.method == "grid" and wide:
            raise ValueError(f"a grid cannot list {wide[0]}; give its values, or set search.method=random")
        crossed = [key for key, one in domains.items() if one.kind == "grid"]
        if self.method in ("tpe", "nsga2") and crossed:
            raise ValueError(f"{self.method} proposes values itself; make {crossed[0]} a choice, not a grid")
        if self.start_from and self.method not in ("tpe", "nsga2"):
            raise ValueError(f"method {self.method} learns nothing from search.start_from; use tpe or nsga2")
        if self.method == "nsga2" and len(self.objectives) < 2:
            raise ValueError(
                "nsga2 compares trials on several search.objectives; name two, or use method: tpe"
            )
        if self.method == "nsga2" and self.scheduler != "none":
            raise ValueError("nsga2 needs whole trials; set search.scheduler=none")
        if self.method == "tpe" and self.scheduler == "hyperband":
            raise ValueError(
                "hyperband needs all trials at once, and tpe proposes one by one; use scheduler: asha"
            )
        if not self.objectives[0].startswith("q"):
            raise ValueError("the first of search.objectives chooses the best: q3, q8 or q9")
        if self.max_cost is not None and not self.cost_per_hour:
            raise ValueError("search.max_cost needs search.cost_per_hour")
        return self


class ClaimSettings(Section):
    """One claim of a study and the arms that it is about; a group's name means all its arms."""

    says: Operation[str] = Field(min_length=1, description="the claim, in a sentence")
    kind: Operation[Literal["better", "better_by", "not_worse", "sweep"]] = Field(
        description="better: the best of `arms` on validation data scores higher than each of `than`; better_by: "
        "higher by more than `margin`; not_worse: lower by at most `margin`; sweep: the last of "
        "`arms` that loses at most `margin` to the one that is best on validation data"
    )
    arms: Operation[list[str]] = Field(min_length=1, description="arms that the claim is about")
    than: Operation[list[str]] = Field(
        default=[], description="arms that they are compared with; not for a sweep"
    )
    margin: Operation[float | None] = Field(
        default=None,
        gt=0,
        lt=1,
        description="difference of score, a fraction; for all kinds but better",
    )
    note: Operation[str] = Field(default="", description="a remark for the reader of the report")

    @model_validator(mode="after")
    def _is_whole(self) -> "ClaimSettings":
        if self.kind == "sweep" and self.than:
            raise ValueError("a sweep compares its `arms` among themselves: it names nothing under `than`")
        if self.kind != "sweep" and not self.than:
            raise ValueError(
                f"a claim of kind {self.kind} names under `than` what its arms are compared with"
            )
        if (self.margin is None) != (self.kind == "better"):
            raise ValueError(
                "`margin` belongs to the kinds better_by, not_worse and sweep, and all three need it"
            )
        return self


class StudySettings(Section):
    """The comparison of methods of `study`."""

    arms: Operation[dict[str, dict[str, Any]]] = Field(
        default={}, description="name -> config keys and values of one method in the comparison"
    )
    groups: Operation[dict[str, list[str]]] = Field(
        default={}, description="name -> arms that the report shows together; an arm may be in several"
    )
    seeds: Operation[list[int]] = Field(
        default=[0, 1, 2],
        min_length=1,
        description="train.seed of each arm's runs; `choose` uses the first",
    )
    choose: Operation[dict[str, list[Any]]] = Field(
        default={},
        description="config key -> values that each arm tries; the best on validation data is kept. An arm may list as "
        "many other values for the key",
    )
    scores: Operation[list[Literal["q3", "q8", "q9"]]] = Field(
        default=["q3"],
        min_length=1,
        description="what arms are compared on; the first chooses values and decides claims",
    )
    claims: Operation[dict[str, ClaimSettings]] = Field(
        default={}, description="name -> claim that the report answers"
    )
    train_chains: Operation[int] = Field(
        default=0,
        ge=0,
        description="number of training chains, the first in the order of their digests; 0: all",
    )
    valid_chains: Operation[int] = Field(
        default=0,
        ge=0,
        description="number of validation chains that choose values and epochs, in the same order; the others "
        "become test sets NAME_held_out. 0: all choose",
    )

    @model_validator(mode="after")
    def _names_its_arms(self) -> "StudySettings":
        for name in self.arms:
            # MLflow names metrics by them.
            if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_. -]*", name):
                raise ValueError(
                    f"study.arms: {name!r} has other characters than letters, digits, spaces and _ . -"
                )
        for name, members in self.groups.items():
            if name in self.arms:
                raise ValueError(f"study.groups: {name} is also an arm; give the group another name")
            _known(f"study.groups.{name}", members, self.arms)
        for name, claim in self.claims.items():
            _known(f"study.claims.{name}", [*claim.arms, *claim.than], {**self.arms, **self.groups})
        if len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise ValueError("study.seeds must be different whole numbers from 0")
        if len(set(self.scores)) < len(self.scores):
            raise ValueError("study.scores names a score twice")
        return self


def _known(where: str, names: list[str], arms: dict[str, Any]) -> None:
    strange = [name for name in names if name not in arms]
    if strange:
        raise ValueError(f"{where}: no arm {strange[0]!r}; there are {', '.join(arms) or 'none'}")
