"""Sections of training: data, epochs and batches, cache, ZeRO, workers."""

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from liftray import paths
from liftray.sections import names
from liftray.sections.section import (
    Operation,
    Resolved,
    Result,
    Section,
    Uses,
    unused_settings_stay_at_their_default,
)


class DataSettings(Section):
    """Which Parquet data sets to use, by name."""

    train: Resolved[dict[str, str]] = Field(
        default={}, description="training sets: name -> directory of a Parquet data set"
    )
    valid: Resolved[dict[str, str]] = Field(
        default={}, description="validation sets, which all selection uses: name -> directory"
    )
    test: Operation[dict[str, str]] = Field(
        default={}, description="test sets, scored once at the end: name -> directory"
    )
    max_length: Result[int] = Field(
        default=511,
        ge=16,
        description="a longer chain is cut into overlapping windows of at most this many residues",
    )

    @field_validator("train", "valid", "test")
    @classmethod
    def _are_places(cls, sets: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        # Test sets are scored next to `valid`, and several validation sets as `valid/NAME`.
        reserved = {"train": (), "valid": names.SCORES, "test": (*names.SPLITS, *names.SCORES)}
        names.check_set_names(sets, reserved=reserved[str(info.field_name)])
        if empty := [name for name, path in sets.items() if not path.strip()]:
            raise ValueError(f"the data set {empty[0]} has no directory")
        return {name: paths.place(path) for name, path in sets.items()}


class TrainSettings(Section):
    """Epochs, optimizer, batches and checkpoints."""

    epochs: Result[int] = Field(default=20, ge=1, description="most passes over the training chains")
    lr: Result[float] = Field(default=1e-3, gt=0, description="peak learning rate of AdamW")
    weight_decay: Result[float] = Field(
        default=1e-3, ge=0, description="weight decay of AdamW; none on norms and biases"
    )
    warmup_ratio: Result[float] = Field(
        default=0.05, ge=0, le=1, description="share of all steps in which the learning rate rises to lr"
    )
    schedule: Result[Literal["cosine", "linear", "constant"]] = Field(
        default="cosine", description="decay after warm-up"
    )
    grad_clip: Result[float] = Field(
        default=1.0, ge=0, description="largest norm of the global gradient; 0: no clipping"
    )
    tokens_per_batch: Result[int] = Field(
        default=2048,
        ge=64,
        description="most tokens of a micro-batch, special tokens included, padding too where a head pads",
    )
    micro_batches_per_step: Result[int] = Field(
        default=4,
        ge=1,
        description="micro-batches of a global step, if tokens_per_step is not set; workers beyond them are idle",
    )
    tokens_per_step: Result[int | None] = Field(
        default=None,
        ge=64,
        description="most tokens of a global step, which is split evenly over workers and accumulation; null: the step "
        "is micro_batches_per_step micro-batches",
    )
    patience: Result[int] = Field(
        default=5, ge=1, description="stop after this many epochs without a better validation score"
    )
    seed: Result[int] = Field(default=0, ge=0, description="seed of initial weights, order and dropout")
    start_from: Result[str] = Field(
        default="",
        description="bundle, runs:/ or models:/ URI whose trained weights are the initial ones; empty: random weights",
    )
    resume: Operation[bool] = Field(
        default=True, description="resume from the newest checkpoint in run.dir, if there is one"
    )
    checkpoint_steps: Operation[int] = Field(
        default=0,
        ge=0,
        description="also write a checkpoint every this many steps; 0: at the end of each epoch only",
    )
    keep_checkpoints: Operation[int] = Field(
        default=2, ge=1, description="newest checkpoints kept (each holds the best weights)"
    )
    max_failures: Operation[int] = Field(
        default=3, ge=0, description="how often lost workers are replaced before the run fails"
    )
    stop_grace_s: Operation[float] = Field(
        default=20.0,
        gt=0,
        description="seconds that workers have to stop with a checkpoint after SIGTERM or Ctrl-C; then they are ended",
    )
    recompute_activations: Operation[bool] = Field(
        default=False,
        description="compute the activations of the suffix again in the backward pass: less memory, more time",
    )
    average: Result[Literal["none", "ema"]] = Field(
        default="none",
        description="ema: validate and keep an exponential moving average of the trained weights over the steps",
    )
    average_decay: Result[float] = Field(
        default=0.999,
        gt=0,
        lt=1,
        description="ema: share of the average that remains at each step, less in the first steps",
    )

    _is_a_place = field_validator("start_from")(paths.place)

    @model_validator(mode="after")
    def _agrees(self) -> "TrainSettings":
        unused_settings_stay_at_their_default(self, self.average, _TRAIN_USES)
        default = type(self).model_fields["micro_batches_per_step"].default
        if self.tokens_per_step is not None and self.micro_batches_per_step != default:
            raise ValueError(
                "train.micro_batches_per_step would change nothing: train.tokens_per_step is set, and the step is "
                f"split over the workers; leave it at {default}"
            )
        return self


_TRAIN_USES: Uses = {"average_decay": (("ema",), "keeps no average")}


class CacheSettings(Section):
    """Storage of the hidden states that the frozen prefix computes."""

    enabled: Resolved[bool | Literal["auto"]] = Field(
        default="auto",
        description="store them once and read them in every epoch; auto: where reading is faster than computing",
    )
    dir: Operation[str] = Field(
        default="runs/cache",
        description="directory; shared by runs and searches, and by all nodes of a cluster",
    )
    dtype: Resolved[Literal["auto", "float32", "bfloat16", "int8"]] = Field(
        default="auto",
        description="number format; auto: that of backbone.dtype, which changes no bit of a float32 run",
    )
    max_gb: Operation[float] = Field(
        default=100.0,
        gt=0,
        description="largest size in 1e9 bytes; beyond it the least recently used entries are deleted",
    )

    _is_local = field_validator("dir")(paths.local)


class ZeroSettings(Section):
    """DeepSpeed ZeRO."""

    stage: Operation[Literal[0, 1, 2, 3]] = Field(
        default=2, description="ZeRO stage; 3 where the frozen weights do not fit into each worker's memory"
    )


class ScalingSettings(Section):
    """Ray Train workers."""

    num_workers: Operation[int] = Field(default=1, ge=1, description="training processes")
    use_gpu: Resolved[bool] = Field(
        default=False, description="one GPU per worker and NCCL; else CPUs and gloo"
    )
    cpus_per_worker: Operation[float] = Field(
        default=1.0, gt=0, description="CPUs that Ray reserves for each worker"
    )
    wait_s: Operation[float] = Field(
        default=600.0,
        ge=0,
        description="seconds that a job waits for a cluster that is still growing to have room for the workers",
    )
    gpu_memory_gb: Operation[float | None] = Field(
        default=None,
        gt=0,
        description="use_gpu: memory of a worker's GPU in 1e9 bytes, which the estimate is compared with; null: "
        "that of this machine's GPU",
    )
