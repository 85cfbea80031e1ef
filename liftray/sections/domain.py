"""The values that a config key may take in a search: a list or a range, optionally only where another key has a value.

Invariant: a domain that parses has at least one value, a range has its ends in order, and conditions name keys of the
same space without a cycle. Pure. Flow: YAML -> [this], which validates search.space -> search.space.

    adapter.skip_layers: [2, 4]                      a list is a choice
    train.seed: {grid: [0, 1, 2]}                    each value with each draw of the others
    head.dropout: {uniform: [0, 0.3]}
    train.lr: {log_uniform: [1.0e-4, 1.0e-2]}
    train.epochs: {integer: [4, 12], step: 4}        both ends included
    adapter.reduction_factor: {log_integer: [4, 64], when: {adapter.kind: bottleneck}}
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Kind = Literal["choice", "grid", "uniform", "log_uniform", "integer", "log_integer"]
KINDS: tuple[Kind, ...] = ("choice", "grid", "uniform", "log_uniform", "integer", "log_integer")
_LISTS, _WHOLE, _LOG = ("choice", "grid"), ("integer", "log_integer"), ("log_uniform", "log_integer")


@dataclass(frozen=True)
class Domain:
    """The values of one key.

    Attributes:
        key: Config key.
        kind: How it is drawn.
        values: Those of a choice or grid; of a range its two ends.
        step: Between two whole numbers of `integer`.
        when: Keys of the space and the values that they must have for this key to be set.
    """

    key: str
    kind: Kind
    values: tuple[Any, ...]
    step: int = 1
    when: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)

    @property
    def is_log(self) -> bool:
        """Whether orders of magnitude are equally likely."""
        return self.kind in _LOG

    @property
    def is_whole(self) -> bool:
        """Whether it is a range of whole numbers."""
        return self.kind in _WHOLE

    def listed(self) -> tuple[Any, ...] | None:
        """All its values, or None where they cannot be listed."""
        if self.kind in _LISTS:
            return self.values
        if self.kind == "integer":
            return tuple(range(self.values[0], self.values[1] + 1, self.step))
        return None

    def ends(self) -> tuple[Any, ...]:
        """Values that must be valid for all to be: the whole list, or the ends of a range."""
        return self.values

    def has(self, value: Any) -> bool:
        """Whether the value is listed or inside the range."""
        if self.kind in _LISTS:
            return value in self.values
        low, high = self.values
        inside = isinstance(value, int | float) and low <= value <= high
        return inside and (not self.is_whole or (value - low) % self.step == 0)

    def holds(self, chosen: Mapping[str, Any]) -> bool:
        """Whether the key is set, given those set before it."""
        return all(key in chosen and chosen[key] in values for key, values in self.when.items())


def parse(space: Mapping[str, Any]) -> dict[str, Domain]:
    """Read a space; a key that others depend on comes before them.

    Args:
        space: Config key -> list of values, or a mapping as in the module's docstring.

    Returns:
        Domains by key, in an order in which conditions can be decided.

    Raises:
        ValueError: A domain is empty, of an unknown form, or its condition cannot be decided.
    """
    domains = {key: _domain(key, given) for key, given in space.items()}
    for key, domain in domains.items():
        for other, values in domain.when.items():
            if other not in domains:
                raise ValueError(f"{key}: `when` names {other}, which is not in search.space")
            listed = domains[other].listed()
            strange = [value for value in values if listed is not None and value not in listed]
            if strange:
                raise ValueError(f"{key}: `when` names {other}={strange[0]!r}, a value that it never has")
    return _ordered(domains)


def contains(domains: Mapping[str, Domain], overrides: Mapping[str, Any]) -> bool:
    """Whether a space could have proposed these values: all its keys that hold are set, none else, each in range."""
    chosen: dict[str, Any] = {}
    for key, domain in domains.items():
        if not domain.holds(chosen):
            continue
        if key not in overrides or not domain.has(overrides[key]):
            return False
        chosen[key] = overrides[key]
    return chosen.keys() == overrides.keys()


def _domain(key: str, given: Any) -> Domain:
    if isinstance(given, list | tuple):
        given = {"choice": given}
    if not isinstance(given, Mapping):
        raise ValueError(f"{key} wants a list of values or one of {', '.join(KINDS)}, not {given!r}")
    kinds = [kind for kind in KINDS if kind in given]
    strange = set(given) - {*KINDS, "step", "when"}
    if strange or len(kinds) != 1:
        fault = f"not {min(map(str, strange))!r}" if strange else f"exactly one, not {len(kinds)}"
        raise ValueError(f"{key} wants one of {', '.join(KINDS)}, optionally with `when` and `step`; {fault}")
    kind = kinds[0]
    values = given[kind]
    if not isinstance(values, list | tuple) or not values:
        raise ValueError(f"{key} has no values")
    step = given.get("step", 1)
    if "step" in given and (kind != "integer" or not isinstance(step, int) or step < 1):
        raise ValueError(f"{key}: `step` is a whole number above 0 and goes with `integer`")
    if kind in _LISTS:
        return Domain(key, kind, _different(key, values), step, _conditions(key, given))
    return Domain(key, kind, _range(key, kind, values), step, _conditions(key, given))


def _different(key: str, values: Any) -> tuple[Any, ...]:
    kept: list[Any] = []
    for value in values:
        if value in kept:
            raise ValueError(f"{key} has the value {value!r} twice")
        kept.append(value)
    return tuple(kept)


def _range(key: str, kind: Kind, values: Any) -> tuple[Any, ...]:
    if len(values) != 2:
        raise ValueError(f"{key}: {kind} wants [low, high], not {list(values)}")
    low, high = (_number(key, value) for value in values)
    if kind in _WHOLE:
        if low != int(low) or high != int(high):
            raise ValueError(f"{key}: {kind} wants whole numbers, not {list(values)}")
        low, high = int(low), int(high)
    if not low < high:
        raise ValueError(f"{key}: the range {list(values)} is empty")
    if kind in _LOG and low <= 0:
        raise ValueError(f"{key}: {kind} wants a range above 0, not {list(values)}")
    return (low, high)


def _number(key: str, value: Any) -> float:
    try:
        number = float(value)  # YAML 1.1 reads 1e-3, without a point, as a text
    except (TypeError, ValueError) as error:
        raise ValueError(f"{key}: {value!r} is no number") from error
    if isinstance(value, bool) or not math.isfinite(number):
        raise ValueError(f"{key}: {value!r} is no number")
    return number


def _conditions(key: str, given: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    when = given.get("when", {})
    if not isinstance(when, Mapping):
        raise ValueError(f"{key}: `when` wants a mapping of keys to values, not {when!r}")
    return {
        other: tuple(values) if isinstance(values, list | tuple) else (values,)
        for other, values in when.items()
    }


def _ordered(domains: Mapping[str, Domain]) -> dict[str, Domain]:
    ordered: dict[str, Domain] = {}
    left = dict(domains)
    while left:
        ready = [key for key, domain in left.items() if ordered.keys() >= domain.when.keys()]
        if not ready:
            raise ValueError(f"{min(left)}: its condition depends on itself")
        for key in ready:
            ordered[key] = left.pop(key)
    return ordered
