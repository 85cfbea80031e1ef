"""What a search found, for people: a table of trials, the Pareto plot, and a page that answers how small will do.

Invariant: no score of a finished trial stands without its interval, differences to the best are paired, and what was
not shown is not claimed. Flow: ledger, evidence -> [this] -> trials.csv, pareto.png, report.md, report.html.
"""

import base64
import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from liftray import __version__, files
from liftray.adapt import kinds
from liftray.config import Settings
from liftray.search import evidence, picture, sharing
from liftray.search.evidence import ComparedScore
from liftray.search.ledger import Ledger, Trial
from liftray.search.objectives import OBJECTIVES, Objective, front
from liftray.search.trial import CHAINS, settings_of

TABLE, PICTURE, PAGE, TEXT = "trials.csv", "pareto.png", "report.html", "report.md"
_TEMPLATE = "search_report.html.jinja"


@dataclass(frozen=True)
class Found:
    """A trial as the report tells it.

    Attributes:
        trial: The trial.
        on_front: Whether no other finished trial beats it in all objectives.
        kind: Adapter kind, or the method where that has none.
        blocks: Blocks that are trained.
        of_blocks: Blocks of its backbone.
        width: Units of the bottleneck, or rank, as built; None without adapters and for kinds that have no width.
        weighed: Its score with interval; None unless it finished.
    """

    trial: Trial
    on_front: bool
    kind: str
    blocks: int
    of_blocks: int
    width: int | None
    weighed: ComparedScore | None

    @property
    def described(self) -> str:
        """The trial in words."""
        where = f"the top {self.blocks} of {self.of_blocks} blocks" if self.blocks else "no block"
        wide = f" of width {self.width}" if self.width is not None else ""
        return f"trial {self.trial.number} ({self.kind}{wide} in {where})"


def write(ledger: Ledger, settings: Settings, best: Trial, summary: dict[str, Any]) -> list[Path]:
    """Write the four files.

    Args:
        ledger: The search's trials.
        settings: Of the search.
        best: The trial that validation chose.
        summary: What `summary.json` will hold; the answer is put into it.

    Returns:
        The files.
    """
    objective, out = OBJECTIVES[settings.search.objectives[0]], ledger.out
    trials = find(ledger, settings, best)
    files.write_text(out / TABLE, _table(trials, settings))
    picture.draw(out / PICTURE, trials, objective, best.number)
    answer = sentences(trials, best, objective, settings.search.margin)
    summary["answer"] = answer
    header, rows = page_rows(trials, settings.search.objectives)
    facts = _facts(settings, trials, summary)
    files.write_text(out / TEXT, _markdown(answer, facts, header, rows))
    files.write_text(out / PAGE, _html(out / PICTURE, answer, facts, header, rows, best.number))
    return [out / name for name in (TABLE, PICTURE, TEXT, PAGE)]


def find(ledger: Ledger, settings: Settings, best: Trial) -> list[Found]:
    """Gather what the report tells of each trial."""
    score, ss3_map = settings.search.objectives[0], settings.ss3_map
    counts = {
        trial.number: evidence.read_counts(ledger.directory(trial) / CHAINS, score, ss3_map)
        for trial in ledger.trials
        if trial.state == "finished" and (ledger.directory(trial) / CHAINS).exists()
    }
    weighed = (
        evidence.compare_to_best(counts, best.number, resamples=settings.evaluate.resamples)
        if best.number in counts
        else {}
    )
    prepare = sharing.Preparer()
    flags = front(ledger.trials, settings.search.objectives)
    found = []
    for trial, flag in zip(ledger.trials, flags, strict=True):
        ours = settings_of(settings, trial.config, ledger.out)
        prepared, adapted = prepare(ours), ours.method == "adapter"
        backbone = prepared.backbone
        found.append(
            Found(
                trial,
                flag,
                ours.adapter.kind if adapted else ours.method,
                0 if ours.method == "features" else prepared.cut.above,
                prepared.cut.depth,
                kinds.width_as_built(ours.adapter, backbone.width) if adapted else None,
                weighed.get(trial.number),
            )
        )
    return found


def sentences(trials: Sequence[Found], best: Trial, objective: Objective, margin: float) -> list[str]:
    """How few blocks and how narrow an adapter suffice, in sentences that claim what was shown."""
    weighed = [(one, one.weighed) for one in trials if one.weighed is not None]
    top = next((one, found) for one, found in weighed if one.trial.number == best.number)
    size, q = OBJECTIVES["parameters"], objective.name.upper()
    said = [
        f"The best is {top[0].described}: validation {q} {_percent(top[1])} on {top[1].chains} chains, "
        f"with {size.told(size.of(best))} trained parameters."
    ]
    if len(weighed) == 1:
        return [*said, "No other trial finished, so nothing is compared with it."]
    enough = [(one, found) for one, found in weighed if found.suffices(margin)]
    for what, value in _SIZES:
        sized = [(one, found) for one, found in enough if value(one) is not None]
        if not sized and value(top[0]) is None:
            continue  # A search whose sufficient adapters have no width has no narrowest one.
        least = min(sized, key=lambda pair: (value(pair[0]), -pair[1].score), default=top)
        shown = "the best itself" if least[0] is top[0] else f"{least[0].described}, {_difference(least[1])}"
        said.append(f"{what} shown to lose at most {100 * margin:g} points of {q}: {shown}.")
    fewest = min(
        ((one, found) for one, found in weighed if not found.worse),
        key=lambda pair: size.of(pair[0].trial) or 0.0,
    )
    if fewest not in enough:
        said.append(
            f"Smaller still and not shown to be worse, nor shown to be as good: {fewest[0].described}, "
            f"{_difference(fewest[1])}."
        )
    worse = sum(found.worse for _, found in weighed)
    said.append(f"{worse} of {len(weighed) - 1} other finished trials are shown to be worse than the best.")
    if len(weighed) < len(trials):
        said.append(
            f"All this is of the {len(weighed)} of {len(trials)} trials that finished; how good the others would have "
            "become is not known."
        )
    return said


_Size = Callable[[Found], Any]
_SIZES: tuple[tuple[str, _Size], ...] = (
    ("Fewest trained blocks", lambda one: one.blocks),
    ("Narrowest adapter", lambda one: one.width),
    ("Fewest trained parameters", lambda one: OBJECTIVES["parameters"].of(one.trial)),
)

CAVEAT = (
    "Intervals are 95 % percentile bootstrap intervals over validation chains; differences are to the best trial on "
    "the same drawn chains. The best was chosen on these very chains: its score is a little too good, and so is its "
    "lead. One seed a trial: differences of a few tenths of a point are within the spread of seeds. The intervals are "
    "not corrected for the number of trials. The score to quote is that of the test sets in summary.json."
)


def page_rows(trials: Sequence[Found], names: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """Header and cells of the page's table: finished trials by score, then the others."""
    others = [OBJECTIVES[name] for name in dict.fromkeys([*names[1:], "parameters", "seconds_per_epoch"])]
    first = OBJECTIVES[names[0]]
    header = ["trial", "adapter", "blocks", "width", "other values", "state", first.title]
    header += ["difference to the best", *(other.title for other in others), "front"]
    ordered = sorted(trials, key=lambda one: (one.trial.state != "finished", -(first.of(one.trial) or 0.0)))
    rows = []
    for one in ordered:
        shown = {"adapter.kind", "adapter.skip_layers", "adapter.reduction_factor", "method"}
        values = [f"{key} {_short(value)}" for key, value in one.trial.config.items() if key not in shown]
        score = _percent(one.weighed) if one.weighed else first.told(first.of(one.trial))
        rows.append(
            [
                str(one.trial.number),
                one.kind,
                f"{one.blocks}/{one.of_blocks}",
                "–" if one.width is None else str(one.width),
                ", ".join(values) or "–",
                f"{one.trial.state}: {one.trial.reason}",
                score,
                _told_difference(one.weighed),
                *(other.told(other.of(one.trial)) for other in others),
                "yes" if one.on_front else "",
            ]
        )
    return header, rows


def _table(trials: Sequence[Found], settings: Settings) -> str:
    keys = list(settings.search.space)
    names = list(OBJECTIVES)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    bounds = ["ci95_low", "ci95_high", "difference", "difference_ci95_low", "difference_ci95_high"]
    table.writerow(["trial", *keys, "state", "reason", *names, *bounds, "epochs", "seconds", "pareto"])
    for one in trials:
        trial, weighed = one.trial, one.weighed
        blank = ("", "")
        sure = (
            [*(weighed.ci95 or blank), weighed.difference, *(weighed.difference_ci95 or blank)]
            if weighed
            else [""] * 5
        )
        table.writerow(
            [
                trial.number,
                *(trial.config.get(key, "") for key in keys),
                trial.state,
                trial.reason,
                *("" if (value := OBJECTIVES[name].of(trial)) is None else value for name in names),
                *sure,
                len(trial.history),
                round(trial.seconds, 1),
                "yes" if one.on_front else "no",
            ]
        )
    return text.getvalue()


def _facts(settings: Settings, trials: Sequence[Found], summary: Mapping[str, Any]) -> dict[str, str]:
    states = [one.trial.state for one in trials]
    counted = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    starts = sorted(one.trial.start_s for one in trials if one.trial.start_s is not None)
    search = settings.search
    facts = {
        "trials": f"{len(trials)}: {counted}",
        "method": f"{search.method}, scheduler {search.scheduler}, at most {settings.train.epochs} epochs",
        "objectives": ", ".join(search.objectives),
        "training data": ", ".join(settings.data.train),
        "validation data": ", ".join(settings.data.valid),
        "took": f"{summary['seconds'] / 60:.1f} minutes"
        + (f", cost {summary['cost']:g}" if search.cost_per_hour else ""),
        "best model": str(summary["best"]["model_uri"]),
    }
    if starts:
        facts["a trial's start"] = f"{starts[len(starts) // 2]:.1f} s to its first step (median)"
    return facts


def _markdown(
    answer: Sequence[str], facts: Mapping[str, str], header: Sequence[str], rows: Sequence[Sequence[str]]
) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

    told = [f"- {sentence}" for sentence in answer]
    table = [line(header), line(["---"] * len(header)), *map(line, rows)]
    listed = [f"- {name}: {value}" for name, value in facts.items()]
    parts = ["# How small an adapter suffices", *told, "", f"![Score against size]({PICTURE})", "", *table]
    return "\n".join([parts[0], "", *parts[1:], "", CAVEAT, "", *listed, ""])


def _html(
    plot: Path,
    answer: Sequence[str],
    facts: Mapping[str, str],
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    best: int,
) -> str:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = resources.files(__package__).joinpath(_TEMPLATE).read_text(encoding="utf-8")
    return environment.from_string(template).render(
        version=__version__,
        answer=answer,
        facts=facts,
        header=header,
        rows=rows,
        best=str(best),
        caveat=CAVEAT,
        plot=f"data:image/png;base64,{base64.b64encode(plot.read_bytes()).decode('ascii')}",
    )


def _percent(weighed: ComparedScore) -> str:
    if weighed.ci95 is None:
        return f"{100 * weighed.score:.2f}"
    low, high = weighed.ci95
    return f"{100 * weighed.score:.2f} ({100 * low:.2f} to {100 * high:.2f})"


def _difference(weighed: ComparedScore) -> str:
    text = f"{100 * weighed.difference:+.2f}"
    if weighed.difference_ci95 is not None:
        low, high = weighed.difference_ci95
        text += f" ({100 * low:+.2f} to {100 * high:+.2f})"
    return text.replace("-", "−")


def _told_difference(weighed: ComparedScore | None) -> str:
    if weighed is None:
        return "–"
    return "the best" if weighed.difference_ci95 == (0.0, 0.0) else _difference(weighed)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
