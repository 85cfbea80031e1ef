"""The limits of the gates: typed, read from a YAML file such as `configs/gates.yaml`, with safe defaults.

Invariant: an unknown key or a bad value is refused before anything is judged; the file may leave out any key.
Flow: promote --gates FILE -> [this] -> gates, replay, hook.
"""

import difflib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from liftray.documents import read_yaml
from liftray.errors import ConfigError


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class Primary(_Part):
    """The one set and score that decide."""

    set: str = Field(default="valid", description="`valid` pools all validation sets; else a set's name")
    score: Literal["q3", "q8", "q9"] | None = Field(default=None, description="null: Q3, Q8 or Q9 by task")
    equal_within: float = Field(
        default=0.0, ge=0, le=1, description="a loss of at most this counts as equal, which is enough"
    )
    significant: bool = Field(
        default=False, description="demand a gain: the whole 95 % interval must be above zero"
    )


class SetLimits(_Part):
    """Where the candidate must not be worse."""

    names: list[str] = Field(
        default=[], description="empty: every set that both were scored on and that is not leaky"
    )
    margin: float = Field(
        default=0.01, ge=0, le=1, description="largest loss that the 95 % interval may reach"
    )
    margins: dict[str, float] = Field(default={}, description="set -> its own margin")


class Floors(_Part):
    """What no champion may fall below, on the primary set."""

    sov99: float | None = Field(default=0.3, ge=0, le=1, description="SOV'99; null for no limit")
    f1: dict[str, float] = Field(
        default={"H": 0.3, "E": 0.2}, description="state -> F1; states that the set lacks are skipped"
    )


class Calibration(_Part):
    """How honest the probabilities are."""

    max_ece: float | None = Field(
        default=0.1,
        ge=0,
        le=1,
        description="expected calibration error on validation data; null for no limit",
    )


class Leakage(_Part):
    """Sets that training has seen."""

    allow_unknown: bool = Field(default=False, description="take the primary set with leakage not measured")


class Replay(_Part):
    """Loading the bundle in a fresh process, and predicting the validation chains again."""

    required: bool = Field(default=True, description="false: promote what was never loaded again")
    data: dict[str, str] = Field(
        default={}, description="validation set -> its path, if not where training read it"
    )
    timeout_s: float = Field(default=3600, gt=0, description="patience with the fresh process")


class Budgets(_Part):
    """What the model may cost who serves it."""

    max_bundle_mb: float | None = Field(
        default=512, gt=0, description="size of the bundle; null for no limit"
    )
    max_latency_s: float | None = Field(
        default=30,
        gt=0,
        description="one chain of up to 512 residues, alone, on this machine; null for no limit",
    )


class Licence(_Part):
    """The terms that the model comes under."""

    required: bool = Field(default=True, description="refuse a backbone of unknown licence")
    backbone: str | None = Field(
        default=None, description="its licence, where the bundle records none; the promoter vouches for it"
    )


class Hook(_Part):
    """What is called after a promotion. A hook that fails undoes nothing."""

    command: list[str] = Field(default=[], description="program and arguments; it reads JSON on its stdin")
    webhook: str | None = Field(default=None, description="http(s) address that is sent the JSON")
    webhook_env: str | None = Field(
        default=None, description="environment variable with the address, where the address is a secret"
    )
    timeout_s: float = Field(default=30, gt=0, le=600, description="patience with the hook")


class LedgerAnchors(_Part):
    """What holds the ledger in place from outside the store; see docs/explanation/promotion.md."""

    key_file: str | None = Field(
        default=None,
        description="file with a secret of 32 bytes or more that signs entries; null: LIFTRAY_LEDGER_KEY_FILE",
    )
    signed_from: int = Field(
        default=1,
        ge=1,
        description="first entry that must be signed: later than 1 where older ones had no key",
    )
    witness: str | None = Field(
        default=None,
        description="file outside the store that gets the hash of each entry; null: LIFTRAY_LEDGER_WITNESS",
    )


class Policy(_Part):
    """All that the gates ask."""

    primary: Primary = Primary()
    sets: SetLimits = SetLimits()
    floors: Floors = Floors()
    calibration: Calibration = Calibration()
    leakage: Leakage = Leakage()
    replay: Replay = Replay()
    budgets: Budgets = Budgets()
    licence: Licence = Licence()
    hook: Hook = Hook()
    ledger: LedgerAnchors = LedgerAnchors()

    def margin(self, name: str) -> float:
        """The non-inferiority margin of a set."""
        return self.sets.margins.get(name, self.sets.margin)

    def named(self) -> set[str]:
        """Sets that the policy itself names; what is wrong with them is a reason to refuse."""
        return {self.primary.set, *self.sets.names}


def load(path: str | Path | None) -> Policy:
    """Read a policy.

    Args:
        path: YAML file; None gives the defaults.

    Raises:
        ConfigError: It is missing, no YAML mapping, or has an unknown key or a bad value.
    """
    if path is None:
        return Policy()
    tree = read_yaml(path, remedy="give --gates a file like configs/gates.yaml")
    try:
        return Policy.model_validate({} if tree is None else tree)
    except ValidationError as error:
        raise ConfigError(_problem(error), where=str(path), remedy=_remedy(error)) from error


def _problem(error: ValidationError) -> str:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        return f"unknown key {key}"
    return f"{key}: {first['msg']}" if key else "gates are a mapping of sections"


def _remedy(error: ValidationError) -> str:
    first = error.errors()[0]
    *parents, last = [str(part) for part in first["loc"]] or [""]
    model: Any = Policy
    for name in parents:
        field = model.model_fields.get(name)
        if (
            field is None
            or not isinstance(field.annotation, type)
            or not issubclass(field.annotation, BaseModel)
        ):
            break
        model = field.annotation
    names = list(model.model_fields)
    if first["type"] == "extra_forbidden" and (near := difflib.get_close_matches(last, names, n=1)):
        return f"did you mean {'.'.join([*parents, near[0]])}?"
    return f"valid: {', '.join(names)}"
