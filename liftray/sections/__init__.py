"""The sections of a config: each setting with its type, bounds, default and meaning.

Invariant: nothing else can be set; `--help`, the errors and the documentation of the keys are made from these classes.
Flow: [this] -> config.
"""

from liftray.sections.comparing import ClaimSettings, SearchSettings, StudySettings
from liftray.sections.model import (
    AdapterSettings,
    BackboneSettings,
    HeadSettings,
    LossSettings,
    MultitaskSettings,
    check_loss,
)
from liftray.sections.outputs import EvaluateSettings, RegistrySettings, RunSettings, TrackingSettings
from liftray.sections.section import Effect, Operation, Resolved, Result, Section
from liftray.sections.training import (
    CacheSettings,
    DataSettings,
    ScalingSettings,
    TrainSettings,
    ZeroSettings,
)

__all__ = [
    "AdapterSettings",
    "BackboneSettings",
    "CacheSettings",
    "ClaimSettings",
    "DataSettings",
    "Effect",
    "EvaluateSettings",
    "HeadSettings",
    "LossSettings",
    "MultitaskSettings",
    "Operation",
    "RegistrySettings",
    "Resolved",
    "Result",
    "RunSettings",
    "ScalingSettings",
    "SearchSettings",
    "Section",
    "StudySettings",
    "TrackingSettings",
    "TrainSettings",
    "ZeroSettings",
    "check_loss",
]
