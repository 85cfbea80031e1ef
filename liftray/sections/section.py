"""What all sections of a config are: an unknown key is an error, and nothing changes after it was checked."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A group of settings: no unknown key, no change after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


# Setting -> the kinds that use it, and why the others do not.
Uses = dict[str, tuple[tuple[str, ...], str]]


def unused_settings_stay_at_their_default(section: Section, kind: str, uses: Uses) -> None:
    """Refuse a setting that this kind does not read and that someone has set.

    Args:
        section: The settings.
        kind: Which of its kinds they name.
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
