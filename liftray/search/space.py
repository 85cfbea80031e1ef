"""The search space: the trials that a search runs or may propose, and the check that each could run.

Invariant: everything that a search can propose is a valid config before its first trial starts. The trials of a grid
and of a random search are a function of the settings alone, so a resumed search has the same ones. Pure: neither Ray
nor Optuna. Flow: settings.search -> domain -> [this] -> proposals.
"""

import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import numpy as np

from liftray.adapt import kinds
from liftray.config import SearchSettings, Settings
from liftray.errors import ConfigError
from liftray.sections.domain import Domain, parse

Overrides = dict[str, Any]

# Common to all trials: where they run and are stored, and what they are compared on.
FIXED = (
    "cache.", "data.test", "data.valid", "evaluate.", "registry.", "run.", "scaling.", "search.", "ss3_map",
    "tracking.", "train.checkpoint_steps", "train.keep_checkpoints", "train.max_failures", "train.resume",
)  # fmt: skip
_MOST_COMBINATIONS = 4096
_DRAWS_PER_TRIAL = 50
SCORES_OF = {"ss3": ("q3",), "ss8": ("q3", "q8"), "ss9": ("q3", "q8", "q9")}


class Chooser(Protocol):
    """Chooses values from domains."""

    def one_of(self, key: str, values: tuple[Any, ...]) -> Any:
        """One of the values."""

    def real(self, key: str, low: float, high: float, *, log: bool) -> float:
        """A number of the range."""

    def whole(self, key: str, low: int, high: int, *, step: int, log: bool) -> int:
        """A whole number of the range, ends included."""


class RandomChooser:
    """Values drawn at random.

    Args:
        rng: Generator of the random numbers.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self._rng = rng

    def one_of(self, key: str, values: tuple[Any, ...]) -> Any:
        """Each with the same probability."""
        return values[int(self._rng.integers(len(values)))]

    def real(self, key: str, low: float, high: float, *, log: bool) -> float:
        """Uniform, or uniform in the logarithm."""
        if log:
            return float(np.exp(self._rng.uniform(np.log(low), np.log(high))))
        return float(self._rng.uniform(low, high))

    def whole(self, key: str, low: int, high: int, *, step: int, log: bool) -> int:
        """Uniform, or about uniform in the logarithm."""
        if log:
            drawn = np.exp(self._rng.uniform(np.log(low - 0.5), np.log(high + 0.5)))
            return int(np.clip(np.rint(drawn), low, high))
        return int(self._rng.choice(np.arange(low, high + 1, step)))


def choose(
    domains: Mapping[str, Domain], chooser: Chooser, given: Mapping[str, Any] | None = None
) -> Overrides:
    """Choose a value for each key whose condition holds.

    Args:
        domains: What `parse` returns, conditions first.
        chooser: Chooses the values.
        given: Values that are fixed already.
    """
    chosen: Overrides = {}
    for key, domain in domains.items():
        if not domain.holds(chosen):
            continue
        if given is not None and key in given:
            chosen[key] = given[key]
        elif domain.is_whole:
            low, high = domain.values
            chosen[key] = chooser.whole(key, low, high, step=domain.step, log=domain.is_log)
        elif domain.listed() is None:
            chosen[key] = chooser.real(key, *domain.values, log=domain.is_log)
        else:
            chosen[key] = chooser.one_of(key, domain.values)
    return chosen


def combinations(values: Mapping[str, tuple[Any, ...]], domains: Mapping[str, Domain]) -> Iterator[Overrides]:
    """Every combination of listed values, each once; keys whose condition fails are left out."""
    seen: set[str] = set()
    for combination in itertools.product(*values.values()):
        given = dict(zip(values, combination, strict=True))
        chosen: Overrides = {}
        for key in values:
            if domains[key].holds(chosen):
                chosen[key] = given[key]
        if (name := text(chosen)) not in seen:
            seen.add(name)
            yield chosen


def trials(search: SearchSettings, seed: int) -> list[Overrides] | None:
    """The trials of a grid or a random search, each once; None where Optuna proposes them one by one."""
    domains = parse(search.space)
    if search.method == "grid":
        return list(combinations({key: domain.listed() or () for key, domain in domains.items()}, domains))
    if search.method != "random":
        return None
    crossed = {key: domain.values for key, domain in domains.items() if domain.kind == "grid"}
    rng = np.random.default_rng([seed, len(domains)])
    drawn: dict[str, Overrides] = {}
    for _ in range(search.num_trials * _DRAWS_PER_TRIAL):
        one = choose(domains, RandomChooser(rng))
        every = [choose(domains, RandomChooser(rng), {**one, **cross}) for cross in _products(crossed)]
        drawn |= {text(overrides): overrides for overrides in every}
        if len(drawn) >= search.num_trials * max(1, len(every)):
            break
    return list(drawn.values())


def _products(crossed: Mapping[str, tuple[Any, ...]]) -> list[Overrides]:
    return [dict(zip(crossed, values, strict=True)) for values in itertools.product(*crossed.values())]


def corners(search: SearchSettings, *prefixes: str) -> list[Overrides]:
    """Combinations of the values, or of the ends of ranges, of the keys with one of these prefixes; of all without one.

    Above 4096 combinations, each value once with the first values of the others.
    """
    domains = parse(search.space)
    values = {
        key: domain.listed() or domain.ends()
        for key, domain in domains.items()
        if not prefixes or key.startswith(prefixes) or _decides(key, domains, prefixes)
    }
    if np.prod([float(len(some)) for some in values.values()]) <= _MOST_COMBINATIONS:
        return list(combinations(values, domains))
    firsts = {key: some[0] for key, some in values.items()}
    alone = [{**firsts, key: value} for key, some in values.items() for value in some]
    wanted = [{**one, **_needed(key, domains)} for one in alone for key in values]
    return [_permitted(one, domains) for one in [*alone, *wanted]]


def _decides(key: str, domains: Mapping[str, Domain], prefixes: tuple[str, ...]) -> bool:
    return any(key in domain.when for other, domain in domains.items() if other.startswith(prefixes))


def _needed(key: str, domains: Mapping[str, Domain]) -> Overrides:
    """The values that the conditions of a key require."""
    needed: Overrides = {}
    for other, values in domains[key].when.items():
        needed |= {other: values[0], **_needed(other, domains)}
    return needed


def _permitted(given: Mapping[str, Any], domains: Mapping[str, Domain]) -> Overrides:
    chosen: Overrides = {}
    for key, domain in domains.items():
        if key in given and domain.holds(chosen):
            chosen[key] = given[key]
    return chosen


def check(settings: Settings, num_blocks: int, backbone: str, width: int) -> int:
    """Refuse a space with a value that no trial could run, and a method that does not fit it.

    Args:
        settings: The search's settings.
        num_blocks: Blocks of the backbone.
        backbone: Its name, for the error.
        width: Its width.

    Returns:
        Number of trials.

    Raises:
        ConfigError: The space is empty, a key cannot differ between trials, a combination is no valid config, or the
            method, objectives and scheduler do not fit the space.
    """
    search = settings.search
    if not search.space:
        raise ConfigError(
            "search.space is empty", remedy="name keys and values, such as adapter.skip_layers: [2, 4]"
        )
    for key in search.space:
        if key.startswith(FIXED):
            raise ConfigError(
                f"search.space: {key} is the same for all trials", remedy="set it outside search.space"
            )
    _check_objectives(search, settings.task)
    listed = trials(search, settings.train.seed)
    for overrides in corners(search) if listed is None else listed:
        trial = settings.replace(overrides)
        _check_scheduler(trial)
        if trial.method != "features" or trial.head.mix_blocks:
            kinds.check(trial.adapter, num_blocks, backbone, width)
    return search.num_trials if listed is None else len(listed)


def _check_objectives(search: SearchSettings, task: str) -> None:
    scores = SCORES_OF[task]
    for objective in search.objectives:
        if objective.startswith("q") and objective not in scores:
            raise ConfigError(
                f"search.objectives: {objective} is no score of task {task}",
                remedy=f"use {', '.join(scores)}",
            )


def _check_scheduler(trial: Settings) -> None:
    least = max(trial.search.grace_epochs + 1, 2)
    if trial.search.scheduler != "none" and trial.train.epochs < least:
        raise ConfigError(
            f"train.epochs={trial.train.epochs} leaves {trial.search.scheduler} nothing to stop early",
            remedy=f"set train.epochs to {least} or more, or search.scheduler=none",
        )


def trial_name(overrides: Mapping[str, Any]) -> str:
    """The directory name of a combination, always the same, so that a rerun search finds its trials."""
    values = "-".join(f"{key.rpartition('.')[2]}={_short(value)}" for key, value in sorted(overrides.items()))
    safe = "".join(letter if letter.isalnum() or letter in "=-._" else "_" for letter in values)
    return f"{safe[:80]}-{hashlib.sha256(text(overrides).encode()).hexdigest()[:8]}"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def text(overrides: Mapping[str, Any]) -> str:
    """The values as text, the same in whatever order they are."""
    return json.dumps(dict(sorted(overrides.items())), default=str)
