"""Typed settings of every stage, read from one YAML file and dotted overrides.

Invariant: a `Settings` object is valid as a whole; nothing downstream checks a key again. An unknown key or a bad
value raises ConfigError with the nearest valid ones. Flow: YAML and overrides -> [this] -> every job.
"""

import copy
import difflib
import hashlib
import json
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, Field, ValidationError, model_validator

from liftray import overridden, paths, settings_file
from liftray.errors import ConfigError
from liftray.redaction import REMEDY, credential
from liftray.sections import (
    AdapterSettings,
    BackboneSettings,
    CacheSettings,
    DataSettings,
    EvaluateSettings,
    HeadSettings,
    LossSettings,
    RegistrySettings,
    Result,
    RunSettings,
    ScalingSettings,
    SearchSettings,
    Section,
    StudySettings,
    TrackingSettings,
    TrainSettings,
    ZeroSettings,
    check_loss,
)
from liftray.sections.section import marked

__all__ = [
    "AdapterSettings",
    "BackboneSettings",
    "CacheSettings",
    "DataSettings",
    "EvaluateSettings",
    "HeadSettings",
    "LossSettings",
    "RegistrySettings",
    "RunSettings",
    "ScalingSettings",
    "SearchSettings",
    "Settings",
    "StudySettings",
    "TrackingSettings",
    "TrainSettings",
    "ZeroSettings",
    "keys",
    "load",
    "to_yaml",
]


class Settings(Section):
    """All settings of a run."""

    data: DataSettings = DataSettings()
    task: Result[Literal["ss3", "ss8", "ss9"]] = Field(
        default="ss3", description="alphabet that is predicted"
    )
    ss3_map: Result[Literal["dssp", "lift"]] = Field(
        default="dssp", description="9 to 3 states: P is coil (dssp) or helix (lift)"
    )
    backbone: BackboneSettings = BackboneSettings()
    method: Result[Literal["adapter", "full", "features"]] = Field(
        default="adapter",
        description="adapter: train adapters and head; full: train the blocks above the lowest "
        "adapter.skip_layers, the final norm and the head, never the embedding; features: train the "
        "head alone",
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
    study: StudySettings = StudySettings()

    @model_validator(mode="after")
    def _holds_no_credential(self) -> "Settings":
        # Settings reach the run directory, MLflow, reports and workers: none of these is a place for secrets.
        _refuse_credentials({key: value for key, _, value in marked(self)}, None)
        return self

    @model_validator(mode="after")
    def _loss_agrees(self) -> "Settings":
        check_loss(self.task, self.head, self.loss)
        return self

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
        """A copy with dotted keys set, validated again.

        Raises:
            ConfigError: A key is unknown or a value bad.
        """
        tree = self.model_dump()
        for key, value in overrides.items():
            _set(tree, key, value, None)
        _refuse_credentials(tree, None)
        try:
            return Settings.model_validate(tree)
        except ValidationError as error:
            raise _invalid(error, None) from error


def load(
    config: str | Path | Mapping[str, Any] | None,
    overrides: Sequence[str] | Mapping[str, Any] = (),
    *,
    base_anywhere: bool = False,
) -> Settings:
    """Read a YAML config and apply overrides.

    A file may begin with `base: FILE`, a file in the same folder or below. A key that the file lacks has the base's
    value. A base has no base of its own.

    Args:
        config: The YAML file, or a mapping of its content; None starts from the defaults.
        overrides: `KEY=VALUE` texts such as `adapter.skip_layers=4`; or a mapping from dotted key to value. The value
            of a key that takes text is that text, unless it is in quotes; other values are read as YAML.
        base_anywhere: Whether the base may be outside the file's folder.

    Returns:
        The validated settings.

    Raises:
        ConfigError: The file or its base is missing or no YAML mapping, a key is unknown or a value bad, or the base
            has a base.
    """
    tree: dict[str, Any] = {}
    where = None
    if isinstance(config, Mapping):
        tree, where = copy.deepcopy(dict(config)), "the config"
        _check_keys(tree, where)
    elif config is not None:
        path = Path(paths.local(config))
        tree, where = settings_file.read(path, _check_keys, keys(), base_anywhere=base_anywhere)
    source = "the overrides" if isinstance(overrides, Mapping) else overridden.WHERE
    given = dict(overrides) if isinstance(overrides, Mapping) else parse_overrides(overrides)
    changed = copy.deepcopy(tree)
    for key, value in given.items():
        _set(changed, key, value, source)
    # Before validation, whose errors hold parts of the values.
    _refuse_credentials(tree, where)
    _refuse_credentials(changed, source)
    try:
        return Settings.model_validate(changed)
    except ValidationError as error:
        raise _invalid(error, source if _overrides_at_fault(error, tree, given) else where) from error


def parse_overrides(overrides: Sequence[str]) -> dict[str, Any]:
    """Dotted key -> value of `KEY=VALUE` texts.

    Raises:
        ConfigError: A text has another form.
    """
    return overridden.parse(overrides, {key: kind for key, (kind, _, _) in keys().items()}, _SETS)


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


_UNBROKEN = 60


def _type_name(kind: Any) -> str:
    origin, args = get_origin(kind), get_args(kind)
    if origin is Literal:
        joined = "|".join(str(arg).lower() if isinstance(arg, bool) else str(arg) for arg in args)
        # A long list must be able to break between two values.
        return joined if len(joined) <= _UNBROKEN else joined.replace("|", " | ")
    if origin in (Union, types.UnionType):
        return "|".join(_type_name(arg) for arg in args)
    if origin is not None:
        inner = ", ".join(_type_name(arg) for arg in args)
        return f"{origin.__name__}[{inner}]"
    if kind is type(None):
        return "null"
    return getattr(kind, "__name__", str(kind))


def _refuse_credentials(value: Any, where: str | None, key: str = "", seen: set[int] | None = None) -> None:
    """Refuse a credential in any text of a tree, names included; the error names the key and not the value."""
    seen = set() if seen is None else seen
    if id(value) in seen:  # YAML's aliases may name a part a million times
        return
    if isinstance(value, Mapping | list | tuple):
        seen.add(id(value))
    if isinstance(value, BaseModel):
        value = value.model_dump()
    if isinstance(value, str) and (kind := credential(value)):
        raise ConfigError(f"{key or 'a key'} holds {kind}", where=where, remedy=REMEDY)
    if isinstance(value, Mapping):
        for name, inner in value.items():
            _refuse_credentials(name, where, key, seen)
            _refuse_credentials(inner, where, f"{key}.{name}".removeprefix("."), seen)
    elif isinstance(value, list | tuple):
        for inner in value:
            _refuse_credentials(inner, where, key, seen)


# Usual names of keys that have another name here; used for hints only.
_SYNONYMS = {
    "adapter.width": "adapter.reduction_factor",
    "train.learning_rate": "train.lr",
    "train.batch_size": "train.tokens_per_batch",
    "train.num_epochs": "train.epochs",
    "model.source": "backbone.source",
}
# Keys whose values are mappings with names of the user's choice: what follows their dots is not a config key.
_SETS = ("data.train", "data.valid", "data.test")
_OPEN = (
    *_SETS, "search.space", "study.arms", "study.choose", "study.claims",
    "study.groups",
)  # fmt: skip


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
            raise ConfigError(_unknown(key), where=where)


def _unknown(key: str) -> str:
    near = difflib.get_close_matches(key, [*keys(), *_SYNONYMS], n=1, cutoff=0.6)
    section = key.rpartition(".")[0]
    hint = f"did you mean {_SYNONYMS.get(near[0], near[0])}?" if near else _section_keys(section)
    return f"unknown key {key}; {hint}"


def _section_keys(section: str) -> str:
    inside = [key for key in keys() if key.startswith(f"{section}.")] if section else []
    names = inside or sorted({key.partition(".")[0] for key in keys()})
    return f"valid: {', '.join(names)}"


def _set(tree: dict[str, Any], key: str, value: Any, where: str | None) -> None:
    opened = next((name for name in _OPEN if key.startswith(f"{name}.")), None)
    if opened is None and key not in keys():
        raise ConfigError(_unknown(key), where=where)
    path = [*opened.split("."), key[len(opened) + 1 :]] if opened else key.split(".")
    for name in path[:-1]:
        tree = tree.setdefault(name, {})
    tree[path[-1]] = value


def _get(tree: Mapping[str, Any], key: str) -> Any:
    for name in key.split("."):
        tree = tree[name]
    return tree


def _overrides_at_fault(error: ValidationError, tree: Mapping[str, Any], given: Mapping[str, Any]) -> bool:
    """Whether an override is to blame: it set the invalid key, or the file is valid without the overrides."""
    key = _key_of(error)
    if any(f"{key}.".startswith(f"{name}.") for name in given):
        return True
    try:
        Settings.model_validate(tree)
    except ValidationError:
        return False
    return True


def _key_of(error: ValidationError) -> str:
    return ".".join(str(part) for part in error.errors()[0]["loc"])


def _invalid(error: ValidationError, where: str | None) -> ConfigError:
    """The first fault that a validation found."""
    first, key = error.errors()[0], _key_of(error)
    known = keys().get(key)
    remedy = f"{key} is {known[0]}, default {known[1]!r}: {known[2]}" if known else None
    given = f" (given: {first['input']!r})" if known else ""
    problem = first["msg"].removeprefix("Value error, ") + given
    return ConfigError(f"{key}: {problem}" if key else problem, where=where, remedy=remedy)
