"""The model card: what a registered version is, how good, on which data, under which licence, and its limits.

Invariant: every figure comes from `bundle.json` or the metrics given; what is not known is
marked as not known. Pure.
Flow: bundle -> [this] -> description of the registered version.
"""

from collections.abc import Mapping
from typing import Any

from liftray.plain_text import one_line

_SCORES = {"q3": "Q3", "q8": "Q8", "q9": "Q9", "macro_f1": "macro-F1", "sov99": "SOV'99"}
_LIMITS = (
    "Predicts the states of single chains from sequence alone; ligands, partners and disorder are not seen.",
    "Scores hold for chains like the scored ones; designed, disordered and membrane proteins may fare worse.",
    "Where test chains resemble training chains (seen in training, above) scores are too high.",
    "Confidence is calibrated on the validation data only.",
)


def card(bundle: Mapping[str, Any], metrics: Mapping[str, Any] | None = None) -> str:
    """Write the card.

    Args:
        bundle: `bundle.json`.
        metrics: Set -> scores, fractions with `..._ci95`; default: those of the bundle.

    Returns:
        Markdown.
    """
    metrics = metrics or bundle.get("metrics") or {}
    parts = [
        f"# LiftRay model, task {_cell(bundle.get('task'))}",
        _model(bundle),
        f"## Scores\n\n{_scores(metrics, bundle.get('leakage') or {})}",
        f"## Data\n\n{_data(bundle.get('data') or {})}",
        "## Limits\n\n" + "\n".join(f"- {line}" for line in _LIMITS),
        f"## Licence\n\n{_licence(bundle)}",
    ]
    return "\n\n".join(parts) + "\n"


def _model(bundle: Mapping[str, Any]) -> str:
    backbone = bundle.get("backbone") or {}
    rows = {
        "alphabet": bundle.get("alphabet"),
        "map to three states": bundle.get("ss3_map"),
        "backbone (frozen)": backbone.get("name"),
        "family": backbone.get("family"),
        "backbone source": backbone.get("source"),
        "backbone digest": backbone.get("digest"),
        "note on the backbone": backbone.get("note"),
        "method": bundle.get("method"),
        "adapter": _settings(bundle.get("adapter")),
        "head": _settings(bundle.get("head")),
        "parameters": _settings(bundle.get("parameters")),
        "LiftRay": bundle.get("liftray_version"),
        "run": bundle.get("run_id"),
    }
    return _table(["", ""], [[key, _cell(value)] for key, value in rows.items() if value])


def _scores(metrics: Mapping[str, Any], leakage: Mapping[str, Any]) -> str:
    sets = {name: scores for name, scores in metrics.items() if isinstance(scores, Mapping)}
    columns = [key for key in _SCORES if any(key in scores for scores in sets.values())]
    if not columns:
        return "No scores were given."
    rows = [
        [
            _cell(name),
            _cell(scores.get("num_chains")),
            *(_score(scores, key) for key in columns),
            _seen(leakage.get(name)),
        ]
        for name, scores in sets.items()
    ]
    table = _table(["set", "chains", *(_SCORES[key] for key in columns), "seen in training"], rows)
    return f"Per cent, with 95 % intervals from a bootstrap over chains.\n\n{table}"


def _seen(leak: Mapping[str, Any] | None) -> str:
    """Share of a set's chains that training holds, in per cent, with a mark where the set is leaky."""
    if leak is None:
        return "not measured"
    return f"{100 * leak['share']:.1f}{' (leaky: not to be trusted)' if leak['leaky'] else ''}"


def _score(scores: Mapping[str, Any], key: str) -> str:
    value, interval = scores.get(key), scores.get(f"{key}_ci95")
    if not isinstance(value, int | float):
        return "-"
    if isinstance(interval, list | tuple) and len(interval) == 2:
        return f"{100 * value:.2f} [{100 * interval[0]:.2f}, {100 * interval[1]:.2f}]"
    return f"{100 * value:.2f}"


def _data(data: Mapping[str, Mapping[str, str]]) -> str:
    rows = [
        [split, _cell(name), f"`{_cell(digest)}`"]
        for split, sets in data.items()
        for name, digest in sets.items()
    ]
    return _table(["split", "set", "content digest"], rows) if rows else "Not recorded."


def _licence(bundle: Mapping[str, Any]) -> str:
    backbone = bundle.get("backbone") or {}
    licence = backbone.get("licence") or "not known: see its source"
    data = bundle.get("data_licence") or "not recorded: see the sources in their dataset.json"
    return f"- Backbone: {_cell(licence)}\n- Training data: {_cell(data)}"


def _settings(value: object) -> str | None:
    if isinstance(value, Mapping):
        return (
            ", ".join(f"{key} {item}" for key, item in value.items() if not isinstance(item, Mapping | list))
            or None
        )
    return str(value) if value else None


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: object) -> str:
    """A value as one table cell: its text cannot end the cell, start a tag or a link."""
    text = one_line("-" if value is None else value)
    for letter in ("\\", "|", "<", "[", "`"):
        text = text.replace(letter, f"\\{letter}")
    return text
