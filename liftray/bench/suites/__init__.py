"""The suites by name: each measures one part of LiftRay beside what it stands against.

Invariant: a suite is a function of its sizes alone: data, weights and order come from its seed. Flow: jobs/bench.py ->
[this] -> one suite -> report.
"""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib import import_module
from typing import Any

from liftray.bench import report
from liftray.errors import ConfigError

# Each is a module here with a frozen dataclass `Sizes` and `run(sizes) -> (rows, further config)`.
SUITES = ("step", "predict", "ingest")


def run(suite: str, sizes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Run one suite.

    Args:
        suite: One of SUITES.
        sizes: Fields of the suite's `Sizes` to change; the defaults take under a minute on one core.

    Returns:
        The report, as `report.report` gives it.

    Raises:
        ConfigError: There is no such suite or no such size.
    """
    if suite not in SUITES:
        raise ConfigError(f"no suite {suite!r}", remedy=_hint(suite, SUITES, "the suites are"))
    module = import_module(f"{__name__}.{suite}")
    chosen = module.Sizes()
    for name in sizes or {}:
        if name not in asdict(chosen):
            raise ConfigError(
                f"no size {name!r} of the suite {suite}", remedy=_hint(name, asdict(chosen), "its sizes are")
            )
    chosen = replace(chosen, **(sizes or {}))
    date = datetime.now(UTC)
    measure: Callable[[Any], tuple[list[report.Row], dict[str, Any]]] = module.run
    rows, config = measure(chosen)
    return report.report(suite, rows, {**asdict(chosen), **config}, date)


def _hint(name: str, valid: Any, introduction: str) -> str:
    near = difflib.get_close_matches(name, list(valid), n=1)
    listed = f"{introduction} {', '.join(valid)}"
    return f"did you mean {near[0]}? {listed}" if near else listed
