"""Sections of what a run leaves: tracking, registry, run directory, evaluation."""

from typing import Literal

from pydantic import Field, field_validator

from liftray import paths
from liftray.sections import names
from liftray.sections.section import Operation, Section


class TrackingSettings(Section):
    """MLflow tracking."""

    uri: Operation[str] = Field(default="sqlite:///mlflow.db", description="tracking and registry store")
    experiment: Operation[str] = Field(default="liftray", description="experiment that holds the runs")
    run_name: Operation[str | None] = Field(
        default=None, description="name of the run; null: made from the config"
    )

    @field_validator("experiment")
    @classmethod
    def _experiment_is_a_name(cls, value: str) -> str:
        names.check_text("the experiment's name", value, 500)
        if not value.strip():
            raise ValueError("an experiment has a name")
        return value

    @field_validator("run_name")
    @classmethod
    def _run_name_is_a_name(cls, value: str | None) -> str | None:
        names.check_text("the run's name", value or "", 250)
        return value


class RegistrySettings(Section):
    """The MLflow model registry."""

    name: Operation[str] = Field(
        default="liftray", description="registered model that gets a new version; empty: no version"
    )

    @field_validator("name")
    @classmethod
    def _is_a_name(cls, value: str) -> str:
        names.check_text("the model's name", value, 250)
        if value and not names.MODEL.fullmatch(value):
            raise ValueError(f"a model cannot be named {value!r}; use letters, digits, . _ - and blanks")
        return value


class RunSettings(Section):
    """The run directory and the cluster."""

    dir: Operation[str] = Field(
        default="runs/train", description="run directory: bundle, checkpoints, plots, summary.json"
    )
    ray_address: Operation[str | None] = Field(
        default=None,
        description="Ray cluster to join; null: RAY_ADDRESS, else a cluster of this job's own",
    )

    @field_validator("dir")
    @classmethod
    def _is_local(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("a run has a directory")
        return paths.local(value)


class EvaluateSettings(Section):
    """Scores, their intervals and baselines."""

    baselines: Operation[list[Literal["majority", "windowed_linear", "frozen"]]] = Field(
        default=["majority", "windowed_linear", "frozen"], description="baselines scored on the same sets"
    )
    resamples: Operation[int] = Field(
        default=2000, ge=100, description="bootstrap and permutation resamples over chains"
    )
    calibrate: Operation[bool] = Field(
        default=True, description="divide logits by the temperature that fits the validation sets best"
    )
