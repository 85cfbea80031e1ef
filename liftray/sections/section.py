"""The base of all config sections, and the mark that each setting carries: whether it changes a run's result.

Invariant: an unknown key is an error, and a section does not change after validation. A field without exactly one mark
is an error when its module is imported. `sections.digest` is derived from the marks.
"""

from collections.abc import Iterator
from enum import Enum
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict
from pydantic.fields import FieldInfo

T = TypeVar("T")


class Effect(Enum):
    """What a setting changes, which decides whether a resumed run may change it."""

    RESULT = "result"
    """The trained weights and scores depend on the value itself: a resumed run must share it."""
    RESOLVED = "resolved"
    """They depend on what the setting leads to, such as the content of a data set: that must be the same, whatever
    the value."""
    OPERATION = "operation"
    """Only how a run is carried out, reported or kept: a resumed run may change it."""


Result = Annotated[T, Effect.RESULT]
Resolved = Annotated[T, Effect.RESOLVED]
Operation = Annotated[T, Effect.OPERATION]


class Section(BaseModel):
    """A group of settings: no unknown key, no change after validation, and a mark on each field.

    Raises:
        TypeError: A subclass has a field that is neither a section nor marked with one `Effect`.
    """

    # An input may hold a credential, and errors show on screens: `config` writes its own text.
    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, hide_input_in_errors=True, allow_inf_nan=False
    )

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        for name, field in cls.model_fields.items():
            if not is_section(field) and len(_marks(field)) != 1:
                raise TypeError(f"{cls.__name__}.{name}: mark it as Result, Resolved or Operation, once")


def is_section(field: FieldInfo) -> bool:
    """Whether a field is a section of its own, with keys below it."""
    return isinstance(field.annotation, type) and issubclass(field.annotation, Section)


def marked(section: Section, prefix: str = "") -> Iterator[tuple[str, Effect, Any]]:
    """Every setting of a section and of those inside it.

    Args:
        section: The section, or the whole settings.
        prefix: What its keys begin with, such as `train.`.

    Yields:
        Dotted key, effect and value.
    """
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if is_section(field):
            yield from marked(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", _marks(field)[0], value


def _marks(field: FieldInfo) -> list[Effect]:
    return [mark for mark in field.metadata if isinstance(mark, Effect)]


# Setting -> the kinds that use it, and why the others do not.
Uses = dict[str, tuple[tuple[str, ...], str]]


def unused_settings_stay_at_their_default(section: Section, kind: str, uses: Uses) -> None:
    """Refuse a setting that this kind does not read and that has been set.

    Args:
        section: The settings.
        kind: The kind that they name.
        uses: Setting -> the kinds that use it, and why the others do not.

    Raises:
        ValueError: A setting would change nothing.
    """
    for name, (kinds, why) in uses.items():
        field = type(section).model_fields[name]
        if kind not in kinds and getattr(section, name) != field.default:
            default = "null" if field.default is None else field.default
            raise ValueError(
                f"{name}={getattr(section, name)} would change nothing: {kind} {why}; leave it at "
                f"{default} (kinds that use it: {', '.join(kinds)})"
            )
