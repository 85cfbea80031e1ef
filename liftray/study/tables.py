"""The tables of a study's report, as text cells.

Invariant: per cent with two decimals, each score with its interval and the spread of its seeds, each family of p-values
named with what it is corrected for. Flow: findings -> [this] -> study_report.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from liftray.evaluate.titles import LEAKY_MARK, TITLES
from liftray.reporting.tables import (
    DASH,
    Table,
    p_value,
    percent,
    percent_between,
    points,
    points_between,
    setting,
)
from liftray.study.claim_sentences import amount
from liftray.study.claims import VALIDATION

Findings = Mapping[str, Any]
_OTHERS = ("q9", "q8", "q3_dssp", "q3_lift", "q3", "sov99")


def of_scores(findings: Findings) -> list[Table]:
    """One table a group: the deciding score of each arm on every set."""
    score, sets = findings["scores"][0], list(findings["sets"])
    header = ["arm", *(_set_title(findings, name) for name in sets)]
    note = (
        f"{_title(findings, score)} in per cent, the mean over {len(findings['seeds'])} seeds; in brackets its 95 % "
        "bootstrap interval over chains, after ± the standard deviation of the seeds."
    )
    tables = []
    for group, arms in findings["groups"].items():
        rows = [[arm, *_cells(findings["arms"][arm]["scores"], sets, score)] for arm in arms]
        tables.append(Table(f"Scores: {group}", note, header, rows))
    if findings["baselines"]:
        rows = [[name, *_cells(scores, sets, score)] for name, scores in findings["baselines"].items()]
        tables.append(
            Table(
                "Scores: baselines without a backbone",
                f"{_title(findings, score)} in per cent; in brackets its 95 % bootstrap interval over chains.",
                header,
                rows,
            )
        )
    return tables


def of_other_scores(findings: Findings) -> list[Table]:
    """All accuracies and SOV'99 of every arm, on validation and on the widest test set."""
    tables = []
    for name in dict.fromkeys([VALIDATION, list(findings["sets"])[-1]]):
        scores = [one for one in _OTHERS if one in findings["sets"][name]["scores"]]
        if "q3_dssp" in scores:
            scores = [one for one in scores if one != "q3"]
        predictors = {arm: one["scores"] for arm, one in findings["arms"].items()} | dict(
            findings["baselines"]
        )
        rows = [[arm, *(_cell(row[name], score) for score in scores)] for arm, row in predictors.items()]
        note = "Accuracies are pooled over residues; SOV'99 is the mean over chains."
        header = ["arm", *(_title(findings, score) for score in scores)]
        tables.append(Table(f"Every score: {name}", note, header, rows))
    return tables


def of_costs(findings: Findings) -> Table:
    """What each arm trains, and its cost."""
    rows = []
    for arm, one in findings["arms"].items():
        counts, runs = one["parameters"], one["runs"]
        rows.append(
            [
                arm,
                one["text"],
                f"{counts['trained']:,}",
                f"{counts['in_backbone']:,}",
                f"{100 * counts['share_of_backbone']:.2f} %",
                f"{one['seconds_per_epoch']:.1f}",
                f"{one['train_seconds']:.0f}",
                f"{one['seconds']:.0f}",
                DASH if one["peak_memory_gb"] is None else f"{one['peak_memory_gb']:.2f}",
                ", ".join(f"{run['best_epoch']}/{run['epochs']}" for run in runs),
                "yes" if one["cached"] else "no",
            ]
        )
    header = ["arm", "what it is", "trained parameters", "in the backbone", "of the backbone", "s an epoch"]
    header += ["s of training", "s of a run", "peak memory (GB)", "best epoch/epochs", "cached prefix"]
    note = (
        "Trained parameters include the head's. Seconds are medians over the final runs of the arm (training "
        "alone; a run also validates, starts and predicts); memory is the peak of a process that ran nothing before."
    )
    return Table("Cost", note, header, rows)


def of_tries(findings: Findings) -> Table | None:
    """What each arm tried and chose; None where nothing was chosen."""
    if not findings["choose"]:
        return None
    score = findings["scores"][0]
    most = max((len(row["tries"]) for row in findings["arms"].values()), default=0)
    rows = []
    for arm, row in findings["arms"].items():
        tries = [f"{_values(one['values'])}: {percent(one['validation'])}" for one in row["tries"]]
        rows.append([arm, *tries, *[DASH] * (most - len(tries)), _values(row["chosen"])])
    note = (
        f"Each arm has the same number of tries, with seed {findings['seeds'][0]}; the best by validation "
        f"{_title(findings, score)} is taken for all seeds. Test sets take no part."
    )
    return Table(
        "How arms were tuned", note, ["arm", *(f"try {at + 1}" for at in range(most)), "chosen"], rows
    )


def of_claim(name: str, claim: Mapping[str, Any]) -> list[Table]:
    """The comparisons behind a claim."""
    if "steps" in claim:
        rows = [
            [row["arm"], row["than"], *_compared(row), p_value(row["p_corrected"]), row["not_worse"]]
            for row in claim["steps"]
        ]
        header = [
            "arm",
            "against",
            *_COMPARED,
            "p corrected",
            f"not worse by {amount(claim['margin'])}",
        ]
        note = (
            f"p is of the hypothesis that the loss is {amount(claim['margin'])}, multiplied by the "
            f"{claim['corrected_for']} comparisons that decide the claims of the study; a sweep goes "
            f"down from {claim['start']}, the best on validation of all but the last arm, once that is shown to be "
            "not worse than the first, and stops at the first step that is not. Intervals are not corrected."
        )
        return [Table(f"{name}: step by step", note, header, rows)]
    if "decisive" not in claim:
        return []
    own = [*claim["decisive"], *(row for row in claim["by_set"] if row["set"] != claim["decided_on"])]
    own += claim["further"]
    header = ["arm", "against", "score", *_COMPARED, "p", "p corrected"]
    tables = [
        Table(
            f"{name}: {claim['speaker']} on each set",
            f"The rows of {claim['decided_on']} by {claim['score'].upper()} decide; their p is corrected (Holm) for "
            f"the {claim['corrected_for']} comparisons that decide the claims of the study. p on single sets, and by "
            f"each further score, is corrected for the rows of its kind.{_null_note(claim)} "
            "Intervals are not corrected.",
            header,
            [_tested(row) for row in own],
        )
    ]
    if len({row["arm"] for row in claim["candidates"]}) > 1:
        note = (
            "Every arm that the claim speaks of, which decides nothing; p is corrected (Holm) for the comparisons on "
            f"the same set.{_null_note(claim)}"
        )
        tables.append(Table(f"{name}: all arms", note, header, [_tested(row) for row in claim["candidates"]]))
    return tables


def _null_note(claim: Mapping[str, Any]) -> str:
    """The hypothesis of a p-value, where that is not "no difference"."""
    [null] = {row["null"] for row in claim["decisive"]}
    return f" p is of the hypothesis that the difference is {points(null)} points." if null else ""


_COMPARED = ["set", "difference", "95 % over chains", "95 % over seeds and chains"]


def _compared(row: Mapping[str, Any]) -> list[str]:
    return [
        row["set"],
        points(row["difference"]),
        points_between(row["ci95"]),
        points_between(row["seeds_ci95"]),
    ]


def _tested(row: Mapping[str, Any]) -> list[str]:
    cells = [row["arm"], row["than"], row["score"].upper(), *_compared(row)]
    return [*cells, p_value(row["p"]), p_value(row["p_corrected"])]


def _cells(scores: Mapping[str, Any], sets: Sequence[str], score: str) -> list[str]:
    return [_cell(scores[name], score) for name in sets]


def _cell(scores: Mapping[str, Any], score: str) -> str:
    if score not in scores:
        return DASH
    bounds, spread = scores[f"{score}_ci95"], scores[f"{score}_seed_sd"]
    interval = "" if bounds is None else f" ({percent_between(bounds)})"
    return f"{percent(scores[score])}{interval}{'' if spread is None else f' ±{percent(spread)}'}"


def _set_title(findings: Findings, name: str) -> str:
    about = findings["sets"][name]
    return f"{name}{f' {LEAKY_MARK}' if about.get('leaky') else ''} ({about['chains']})"


def _title(findings: Findings, score: str) -> str:
    # Elsewhere SOV'99 of a set is pooled over segments: the two differ, and must not share a name.
    own = {"q3": f"Q3 ({findings['ss3_map']})", "sov99": f"{TITLES['sov99']} (mean of chains)"}
    return own.get(score, TITLES[score])


def _values(values: Mapping[str, Any]) -> str:
    return ", ".join(map(setting, values.values()))
