"""The source of a search's trials: a list, or Optuna, which learns from the trials that ended.

Invariant: a trial is proposed once. Trials that an earlier process began come first. The method learns from those that
it ended, and does not propose them again. Optuna is imported only by the methods that need it. Flow: space, ledger
-> [this] -> tune.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from liftray.config import SearchSettings
from liftray.errors import ConfigError
from liftray.search.space import Overrides, choose, text
from liftray.sections.domain import Domain, parse

Values = Sequence[float]
# How many proposals of Optuna are tried until one is new.
_ASKS = 30


class Proposals(Protocol):
    """A source of trials."""

    def propose(self) -> Overrides | None:
        """The next trial; None when there are no more."""

    def learn(self, overrides: Mapping[str, Any], values: Values | None) -> None:
        """Learn how a trial ended: its objectives, or None where it failed."""


class Listed:
    """Trials that are known from the start.

    Args:
        trials: In the order in which they are proposed.
    """

    def __init__(self, trials: Iterable[Overrides]) -> None:
        self._left = list(trials)[::-1]

    def propose(self) -> Overrides | None:
        """The next of the list."""
        return self._left.pop() if self._left else None

    def learn(self, overrides: Mapping[str, Any], values: Values | None) -> None:
        """A list learns nothing."""


class Optimized:
    """Trials that Optuna's TPE or NSGA-II proposes.

    Args:
        search: The search section: space, method and number of trials.
        seed: Seed of the proposals.
        maximize: Whether more is better, for each objective; TPE uses the first alone.
        begun: Trials that an earlier process began.
        ended: Trials that it ended, with their objectives.
        earlier: Trials of another search, with their objectives. The method learns from them; they do not count.

    Raises:
        ConfigError: Optuna is not installed.
    """

    def __init__(
        self,
        search: SearchSettings,
        seed: int,
        maximize: Sequence[bool],
        begun: Sequence[Overrides] = (),
        ended: Sequence[tuple[Overrides, Values]] = (),
        earlier: Sequence[tuple[Overrides, Values]] = (),
    ) -> None:
        optuna = _optuna()
        self._optuna, self._domains = optuna, parse(search.space)
        several = search.method == "nsga2"
        self._used = len(maximize) if several else 1
        directions = ["maximize" if more else "minimize" for more in maximize[: self._used]]
        sampler = _sampler(optuna, search, seed)
        self._study = optuna.create_study(directions=directions, sampler=sampler)
        self._open: dict[str, Any] = {}
        self._values: dict[str, Values | None] = {}
        self._left = search.num_trials - len(ended)
        for overrides, values in earlier:
            self._study.add_trial(self._past(overrides, values))
        for overrides, values in ended:
            self._study.add_trial(self._past(overrides, values))
            self._values[text(overrides)] = values
        for overrides in begun:
            self._study.enqueue_trial(_params(overrides, self._domains))

    def propose(self) -> Overrides | None:
        """Ask Optuna; a trial that it proposes again is answered with the known result and not run twice."""
        if self._left <= 0:
            return None
        for _ in range(_ASKS):
            trial = self._study.ask()
            overrides = choose(self._domains, _OptunaChooser(trial))
            name = text(overrides)
            if name not in self._open and name not in self._values:
                self._left -= 1
                self._open[name] = trial
                return overrides
            self._report(trial, self._values.get(name))
        self._left = 0  # the space is exhausted, or the sampler has converged
        return None

    def learn(self, overrides: Mapping[str, Any], values: Values | None) -> None:
        """Report to Optuna; without finite objectives the trial counts as failed."""
        name = text(overrides)
        self._values[name] = values
        self._report(self._open.pop(name), values)

    def _report(self, trial: Any, values: Values | None) -> None:
        if values is None or not all(math.isfinite(value) for value in values[: self._used]):
            self._study.tell(trial, state=self._optuna.trial.TrialState.FAIL)
        else:
            self._study.tell(trial, list(values[: self._used]))

    def _past(self, overrides: Overrides, values: Values) -> Any:
        params = _params(overrides, self._domains)
        distributions = {key: _distribution(self._optuna, self._domains[key]) for key in params}
        return self._optuna.trial.create_trial(
            params=params, distributions=distributions, values=list(values[: self._used])
        )


def require(method: str) -> None:
    """Check before anything starts that a method's library is installed.

    Raises:
        ConfigError: It is not.
    """
    if method in ("tpe", "nsga2"):
        _optuna()


class _OptunaChooser:
    """Lets an Optuna trial choose; a listed value by its place, since Optuna stores plain scalars only."""

    def __init__(self, trial: Any) -> None:
        self._trial = trial

    def one_of(self, key: str, values: tuple[Any, ...]) -> Any:
        return values[self._trial.suggest_categorical(key, list(range(len(values))))]

    def real(self, key: str, low: float, high: float, *, log: bool) -> float:
        return float(self._trial.suggest_float(key, low, high, log=log))

    def whole(self, key: str, low: int, high: int, *, step: int, log: bool) -> int:
        return int(self._trial.suggest_int(key, low, high, step=step, log=log))


def _params(overrides: Mapping[str, Any], domains: Mapping[str, Domain]) -> dict[str, Any]:
    return {
        key: value if domains[key].kind not in ("choice", "grid") else domains[key].values.index(value)
        for key, value in overrides.items()
    }


def _distribution(optuna: Any, domain: Domain) -> Any:
    if domain.kind in ("choice", "grid"):
        return optuna.distributions.CategoricalDistribution(list(range(len(domain.values))))
    low, high = domain.values
    if domain.is_whole:
        return optuna.distributions.IntDistribution(low, high, log=domain.is_log, step=domain.step)
    return optuna.distributions.FloatDistribution(low, high, log=domain.is_log)


def _sampler(optuna: Any, search: SearchSettings, seed: int) -> Any:
    size = search.num_trials
    if search.method == "nsga2":
        return optuna.samplers.NSGAIISampler(seed=seed, population_size=max(2, min(50, size // 3)))
    # A third of the trials at random, ten at most; those that still run count as poor, so that none is proposed twice.
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=min(10, -(-size // 3)), constant_liar=True)


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise ConfigError(
            f"search.method needs Optuna, which cannot be imported ({error})",
            remedy="pip install 'liftray[optuna]', or set search.method=random",
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
