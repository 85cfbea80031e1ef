"""The suites by name: each measures one part of LiftRay and what it is compared with.

Invariant: a suite is a function of its sizes alone: data, weights and order come from its seed. Flow: jobs/bench.py ->
[this] -> one suite -> report.
"""

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from datetime import UTC, datetime
from importlib import import_module
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from liftray.bench import bench_report
from liftray.documents import parse_yaml
from liftray.errors import ConfigError

# Each is a module here with a frozen dataclass `Sizes` and `run(sizes) -> (rows, further config)`.
SUITES = ("train", "cache", "step", "scale", "predict", "ingest", "tune", "memory")


def run(suite: str, sizes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Run one suite.

    Args:
        suite: One of SUITES.
        sizes: Fields of the suite's `Sizes` to change; the defaults take a few minutes on two cores.

    Returns:
        The report, as `bench_report.report` gives it.

    Raises:
        ConfigError: There is no such suite or no such size, or a size is not valid.
    """
    if suite not in SUITES:
        raise ConfigError(f"no suite {suite!r}", remedy=_hint(suite, SUITES, "the suites are"))
    module = import_module(f"{__name__}.{suite}")
    chosen = module.Sizes(**_checked(suite, module.Sizes, sizes or {}))
    date = datetime.now(UTC)
    measure: Callable[[Any], tuple[list[bench_report.Row], dict[str, Any]]] = module.run
    rows, config = measure(chosen)
    return bench_report.report(suite, rows, {**asdict(chosen), **config}, date)


def parse(arguments: Sequence[str]) -> dict[str, Any]:
    """Read sizes from `KEY=VALUE`; values are read as YAML.

    Raises:
        ConfigError: An argument is not of that form.
    """
    found = {}
    for argument in arguments:
        name, sign, value = argument.partition("=")
        if not sign:
            raise ConfigError(f"{argument!r} is not KEY=VALUE", remedy="write for example chains=100")
        found[name.strip()] = parse_yaml(value, where=argument) if value else ""
    return found


def _checked(suite: str, kind: type, sizes: Mapping[str, Any]) -> dict[str, Any]:
    """The sizes with their values converted to the types of the suite's `Sizes`."""
    types = get_type_hints(kind)
    names = [each.name for each in fields(kind)]
    checked = {}
    for name, value in sizes.items():
        if name not in names:
            raise ConfigError(
                f"no size {name!r} of the suite {suite}", remedy=_hint(name, names, "its sizes are")
            )
        try:
            checked[name] = TypeAdapter(types[name]).validate_python(value)
        except ValidationError as error:
            raise ConfigError(
                f"{name}={value}", where=f"the suite {suite}", remedy=error.errors()[0]["msg"]
            ) from error
    return checked


def _hint(name: str, valid: Any, introduction: str) -> str:
    near = difflib.get_close_matches(name, list(valid), n=1)
    listed = f"{introduction} {', '.join(valid)}"
    return f"did you mean {near[0]}? {listed}" if near else listed
