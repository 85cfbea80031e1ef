"""The verdict on a model: one sentence that compares it with the best baseline on one set.

Invariant: a model counts as better only if every deciding score is shown to be better on the same chains (p < 0.05).
The set is chosen before the scores are looked at: it is the largest test set that is not leaky, or else validation.
Flow: score_set, compare -> [this] -> train, evaluate, reports, summary.json.
"""

from collections.abc import Mapping
from typing import Any

from liftray.evaluate.leakage import Leakage
from liftray.evaluate.metrics import accuracy_names
from liftray.evaluate.titles import BASELINE_TITLES, TITLES
from liftray.reporting.tables import p_value, percent, points, points_between

SIGNIFICANT = 0.05

SetScores = Mapping[str, Any]
Paired = Mapping[str, Mapping[str, Any]]
"""Set -> score -> paired difference, as `compare_sets` returns it."""


def deciding_set(metrics: Mapping[str, SetScores], leakage: Mapping[str, Leakage] | None = None) -> str:
    """The set that the verdict is about.

    Args:
        metrics: Set -> scores of the model; validation sets are called `valid` or `valid/NAME`.
        leakage: Set -> leakage, where it was checked.

    Returns:
        The test set with the most labelled residues that is not leaky; without one, a validation set; without one,
        the largest leaky test set.
    """
    leaky = {name for name, leaked in (leakage or {}).items() if leaked["leaky"]}

    def rank(name: str) -> tuple[bool, bool, int]:
        return name not in leaky, not _is_validation(name), metrics[name]["num_residues"]

    return max(metrics, key=rank)


def verdict(
    metrics: Mapping[str, SetScores],
    baselines: Mapping[str, Mapping[str, SetScores]],
    paired: Mapping[str, Paired],
    leakage: Mapping[str, Leakage] | None = None,
    *,
    model: str = "the model",
    remedy: str = "name some in evaluate.baselines",
) -> dict[str, Any]:
    """Compare a model with its best baseline.

    The deciding scores are the accuracy of the model's own alphabet, Q3, and SOV'99. Each is compared with the baseline
    that has the highest value of it.

    Args:
        metrics: Set -> scores of the model.
        baselines: Baseline -> set -> its scores.
        paired: Baseline -> set -> score -> difference of the model minus the baseline, on the deciding set at least.
        leakage: Set -> leakage, where it was checked.
        model: Name of the model in the sentence.
        remedy: How to get a baseline, where there is none.

    Returns:
        JSON-ready: `sentence`; `better` (null without a baseline); `set`; `baseline` (the best by the first score);
        `scores`: score -> `model`, `baseline`, `against` (the baseline's name), `difference`, `ci95`, `p`, `shown`
        (`better`, `worse` or `no difference`).
    """
    name = deciding_set(metrics, leakage)
    compared = {
        score: _against_best(score, name, metrics, baselines, paired)
        for score in dict.fromkeys((accuracy_names(metrics[name]["task"])[0], "q3", "sov99"))
        if any(_is_compared(score, name, scored, paired[one]) for one, scored in baselines.items())
    }
    if not compared:
        return {
            "sentence": f"No verdict: {model} was compared with no baseline; {remedy}.",
            "better": None,
            "set": name,
            "baseline": None,
            "scores": {},
        }
    best = next(iter(compared.values()))["against"]
    return {
        "sentence": _sentence(name, metrics[name], compared, model, (leakage or {}).get(name)),
        "better": all(row["shown"] == "better" for row in compared.values()),
        "set": name,
        "baseline": best,
        "scores": compared,
    }


def _is_validation(name: str) -> bool:
    return name == "valid" or name.startswith("valid/")


def _is_compared(score: str, name: str, scored: Mapping[str, SetScores], paired: Paired) -> bool:
    return scored.get(name, {}).get(score) is not None and score in paired.get(name, {})


def _against_best(
    score: str,
    name: str,
    metrics: Mapping[str, SetScores],
    baselines: Mapping[str, Mapping[str, SetScores]],
    paired: Mapping[str, Paired],
) -> dict[str, Any]:
    comparable = [one for one, scored in baselines.items() if _is_compared(score, name, scored, paired[one])]
    best = max(comparable, key=lambda one: baselines[one][name][score])
    row = paired[best][name][score]
    shown = "no difference"
    if row["p"] < SIGNIFICANT and row["difference"]:
        shown = "better" if row["difference"] > 0 else "worse"
    return {
        "model": metrics[name][score],
        "baseline": baselines[best][name][score],
        "against": best,
        "difference": row["difference"],
        "ci95": row["ci95"],
        "p": row["p"],
        "shown": shown,
    }


def _sentence(
    name: str,
    scores: SetScores,
    compared: Mapping[str, Mapping[str, Any]],
    model: str,
    leakage: Leakage | None,
) -> str:
    titles = {one: f"Q3 ({scores['ss3_map']})" if one == "q3" else TITLES[one] for one in compared}
    better = [titles[one] for one, row in compared.items() if row["shown"] == "better"]
    others = [titles[one] for one in compared if titles[one] not in better]
    against = list(dict.fromkeys(_title(row["against"]) for row in compared.values()))
    best = f"{against[0]}, the best baseline" if len(against) == 1 else "the best baselines"
    if not others:
        answer = f"is better than {best}"
    elif not better:
        answer = f"is not better than {best}"
    else:
        answer = f"is not better than {best}, by every score: better by {' and '.join(better)}, not by "
        answer += " and ".join(others)
    parts = []
    for one, row in compared.items():
        owner = "" if len(against) == 1 else f" of {_title(row['against'])}"
        parts.append(
            f"{titles[one]} {percent(row['model'])} against {percent(row['baseline'])}{owner} "
            f"({points(row['difference'])} points, 95 % interval {points_between(row['ci95'])}, "
            f"p {p_value(row['p'])}: {row['shown']}{' shown' if row['shown'] == 'no difference' else ''})"
        )
    return f"On {name} ({_about(name, scores, leakage)}), {model} {answer}: {'; '.join(parts)}."


def _about(name: str, scores: SetScores, leakage: Leakage | None) -> str:
    about = f"{scores['num_scored_chains']:,} chains"
    if _is_validation(name):
        about += ", which also chose the best epoch"
    elif leakage is not None and "training_set" in leakage:
        about += f", the model's own training set {leakage['training_set']}"
    elif leakage is not None and leakage["leaky"]:
        about += f", leaky: {percent(leakage['share'])} % are in the training data"
    return about


def _title(baseline: str) -> str:
    return f"the {BASELINE_TITLES[baseline]}" if baseline in BASELINE_TITLES else baseline
