"""The report of a search: a table of trials, the Pareto plot, and a page that answers how small an adapter suffices.

Invariant: every score of a finished trial is shown with its interval. Differences to the best trial are paired. Nothing
is claimed that was not shown. Flow: ledger -> trial_rows -> [this] -> trials.csv, pareto.png, report.md, report.html.
"""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from liftray import files
from liftray.config import Settings
from liftray.plain_text import shown
from liftray.reporting import pages, tables
from liftray.reporting.pictures import Picture
from liftray.search import picture, trial_rows
from liftray.search.evidence import ComparedScore
from liftray.search.ledger import Ledger, Trial
from liftray.search.objectives import OBJECTIVES, Objective
from liftray.search.trial_rows import TrialRow

TABLE, PICTURE, PAGE, TEXT = "trials.csv", "pareto.png", "report.html", "report.md"
_TEMPLATE = "search/search_report.html.jinja"
_TITLE = "How small an adapter suffices"
_TEXT_COLUMNS = ("adapter", "other values", "state", "front")
# Keys that have columns of their own in the table.
_COLUMN_KEYS = ("adapter.kind", "adapter.skip_layers", "adapter.reduction_factor", "method")

_CAVEAT = (
    "Intervals are 95 % percentile bootstrap intervals over validation chains. Differences are to the best trial on "
    "the same drawn chains. The best trial was chosen on these very chains, so its score and its lead are a little too "
    "good. Each trial has one seed: differences of a few tenths of a point are within the spread of seeds. The "
    "intervals are not corrected for the number of trials. The score to quote is that of the test sets in summary.json."
)


def write(ledger: Ledger, settings: Settings, best: Trial, summary: dict[str, Any]) -> list[Path]:
    """Write the four files.

    Args:
        ledger: The search's trials.
        settings: Of the search.
        best: The trial that validation chose.
        summary: What `summary.json` will hold; `answer`, a list of sentences, is added to it.

    Returns:
        The files.
    """
    search, out = settings.search, ledger.out
    objective = OBJECTIVES[search.objectives[0]]
    rows = trial_rows.gather(ledger, settings, best)
    files.write_text(out / TABLE, csv_table(rows, list(search.space)))
    picture.draw(out / PICTURE, rows, objective, best.number)
    answer = sentences(rows, best, objective, search.margin)
    summary["answer"] = answer
    table = page_rows(rows, search.objectives)
    facts = _facts(settings, rows, summary)
    files.write_text(out / TEXT, markdown(answer, facts, table))
    files.write_text(out / PAGE, html(out / PICTURE, answer, facts, table, best.number))
    return [out / name for name in (TABLE, PICTURE, TEXT, PAGE)]


def sentences(rows: Sequence[TrialRow], best: Trial, objective: Objective, margin: float) -> list[str]:
    """How few blocks and how narrow an adapter suffice, in sentences that claim what was shown.

    Args:
        rows: All trials; the best one among them has finished.
        best: The trial that validation chose.
        objective: The score that chose it.
        margin: The loss that is allowed, a fraction.
    """
    finished = trial_rows.finished(rows)
    top = next((row, score) for row, score in finished if row.trial.number == best.number)
    size, name = OBJECTIVES["parameters"], objective.name.upper()
    answer = [
        f"The best is {top[0].description}: validation {name} {_percent(top[1])} on {top[1].chains} chains, "
        f"with {size.text(size.of(best))} trained parameters."
    ]
    if len(finished) == 1:
        return [*answer, "No other trial finished, so nothing is compared with it."]
    enough = [(row, score) for row, score in finished if score.suffices(margin) or row is top[0]]
    for what, value in _SIZES:
        sized = [(row, score) for row, score in enough if value(row) is not None]
        if not sized and value(top[0]) is None:
            continue  # a search whose sufficient adapters have no width has no narrowest one
        least = min(sized, key=lambda pair: (value(pair[0]), -pair[1].score), default=top)
        shown = (
            "the best itself" if least[0] is top[0] else f"{least[0].description}, {_difference(least[1])}"
        )
        answer.append(f"{what} shown to lose at most {100 * margin:g} points of {name}: {shown}.")
    fewest = min(
        ((row, score) for row, score in finished if not score.worse),
        key=lambda pair: size.of(pair[0].trial) or 0.0,
    )
    if fewest not in enough:
        answer.append(
            f"Smaller still and not shown to be worse, nor shown to be as good: {fewest[0].description}, "
            f"{_difference(fewest[1])}."
        )
    worse = sum(score.worse for _, score in finished)
    answer.append(
        f"{worse} of {len(finished) - 1} other finished trials are shown to be worse than the best."
    )
    if len(finished) < len(rows):
        answer.append(
            f"These answers hold for the {len(finished)} of {len(rows)} trials that finished; how good the others "
            "would have become is not known."
        )
    return answer


_SIZES: tuple[tuple[str, Callable[[TrialRow], Any]], ...] = (
    ("Fewest trained blocks", lambda row: row.blocks),
    ("Narrowest adapter", lambda row: row.width),
    ("Fewest trained parameters", lambda row: OBJECTIVES["parameters"].of(row.trial)),
)


def page_rows(rows: Sequence[TrialRow], names: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """Header and cells of the page's table: finished trials by score, then the others.

    Args:
        rows: All trials.
        names: Objectives of the search, the score first.
    """
    others = [OBJECTIVES[name] for name in dict.fromkeys([*names[1:], "parameters", "seconds_per_epoch"])]
    score = OBJECTIVES[names[0]]
    header = ["trial", "adapter", "blocks", "width", "other values", "state", score.title]
    header += ["difference to the best", *(other.title for other in others), "front"]
    ordered = sorted(rows, key=lambda row: (row.trial.state != "finished", -(score.of(row.trial) or 0.0)))
    cells = []
    for row in ordered:
        trial, compared = row.trial, row.compared
        values = [
            f"{key} {tables.setting(value)}" for key, value in trial.config.items() if key not in _COLUMN_KEYS
        ]
        cells.append(
            [
                str(trial.number),
                row.kind,
                f"{row.blocks}/{row.of_blocks}",
                tables.DASH if row.width is None else str(row.width),
                ", ".join(values) or tables.DASH,
                f"{trial.state}: {trial.reason}",
                score.text(score.of(trial)) if compared is None else _percent(compared),
                _difference_cell(compared),
                *(other.text(other.of(trial)) for other in others),
                "yes" if row.on_front else "",
            ]
        )
    return header, cells


def csv_table(rows: Sequence[TrialRow], keys: Sequence[str]) -> str:
    """All trials as CSV, scores as fractions.

    Args:
        rows: All trials.
        keys: The keys that the search varies.
    """
    names = list(OBJECTIVES)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    bounds = ["ci95_low", "ci95_high", "difference", "difference_ci95_low", "difference_ci95_high"]
    table.writerow(["trial", *keys, "state", "reason", *names, *bounds, "epochs", "seconds", "pareto"])
    for row in rows:
        trial = row.trial
        table.writerow(
            [
                trial.number,
                *(_text(trial.config.get(key, "")) for key in keys),
                trial.state,
                _text(trial.reason),
                *("" if (value := OBJECTIVES[name].of(trial)) is None else value for name in names),
                *_csv_score(row.compared),
                len(trial.history),
                round(trial.seconds, 1),
                "yes" if row.on_front else "no",
            ]
        )
    return text.getvalue()


def _text(value: Any) -> Any:
    """A cell of a CSV file; numbers stay as they are."""
    return value if value is None or isinstance(value, int | float) else tables.csv_cell(shown(value))


def _csv_score(compared: ComparedScore | None) -> list[Any]:
    if compared is None:
        return [""] * 5
    blank = ("", "")
    return [*(compared.ci95 or blank), compared.difference, *(compared.difference_ci95 or blank)]


def _facts(settings: Settings, rows: Sequence[TrialRow], summary: Mapping[str, Any]) -> dict[str, str]:
    states = [row.trial.state for row in rows]
    counted = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    starts = sorted(row.trial.start_s for row in rows if row.trial.start_s is not None)
    search = settings.search
    cost = f", cost {summary['cost']:g}" if search.cost_per_hour else ""
    facts = {
        "trials": f"{len(rows)}: {counted}",
        "method": f"{search.method}, scheduler {search.scheduler}, at most {settings.train.epochs} epochs",
        "objectives": ", ".join(search.objectives),
        "training data": ", ".join(settings.data.train),
        "validation data": ", ".join(settings.data.valid),
        "duration": f"{summary['seconds'] / 60:.1f} minutes{cost}",
        "best model": str(summary["best"]["model_uri"]),
    }
    if starts:
        facts["start of a trial"] = f"{starts[len(starts) // 2]:.1f} s to its first step (median)"
    return facts


def markdown(
    answer: Sequence[str], facts: Mapping[str, str], table: tuple[Sequence[str], Sequence[Sequence[str]]]
) -> str:
    """The report as Markdown.

    Args:
        answer: The sentences.
        facts: What they hold for.
        table: Header and cells.
    """
    header, rows = table
    parts = [
        f"# {_TITLE}",
        "\n".join(f"- {sentence}" for sentence in answer),
        f"![Score against size]({PICTURE})",
        tables.markdown(header, rows, text=_text_columns(header)),
        _CAVEAT,
        "\n".join(f"- {name}: {value}" for name, value in facts.items()),
    ]
    return "\n\n".join(parts) + "\n"


def html(
    plot: Path,
    answer: Sequence[str],
    facts: Mapping[str, str],
    table: tuple[Sequence[str], Sequence[Sequence[str]]],
    best: int,
) -> str:
    """The report as a self-contained page.

    Args:
        plot: The Pareto plot, a PNG file.
        answer: The sentences.
        facts: What they hold for.
        table: Header and cells.
        best: Number of the best trial, whose row is set in bold.
    """
    header, rows = table
    return pages.render(
        _TEMPLATE,
        title=_TITLE,
        answer=answer,
        facts=facts,
        header=header,
        rows=rows,
        left=_text_columns(header),
        best=str(best),
        caveat=_CAVEAT,
        picture=Picture(
            plot,
            "Score against size, with 95 % intervals over validation chains.",
            "Validation score of each trial against its trained parameters, with intervals. The numbers are in the "
            "table.",
        ),
    )


def _text_columns(header: Sequence[str]) -> list[int]:
    return [at for at, title in enumerate(header) if title in _TEXT_COLUMNS]


def _percent(compared: ComparedScore) -> str:
    interval = "" if compared.ci95 is None else f" ({tables.percent_between(compared.ci95)})"
    return f"{tables.percent(compared.score)}{interval}"


def _difference(compared: ComparedScore) -> str:
    bounds = compared.difference_ci95
    interval = "" if bounds is None else f" ({tables.points_between(bounds)})"
    return f"{tables.points(compared.difference)}{interval}"


def _difference_cell(compared: ComparedScore | None) -> str:
    if compared is None:
        return tables.DASH
    return "the best" if compared.difference_ci95 == (0.0, 0.0) else _difference(compared)
