"""A study's report: Markdown, one self-contained HTML file, and the same as JSON.

Invariant: the three tell the same findings, with the machine, versions, data digests, config and command that they hold
for; the page has no script and no address outside itself. Flow: findings, tables, pictures -> [this] -> files.
"""

import base64
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from liftray import __version__, files
from liftray.evaluate.evaluation_report import LEAKY_MARK
from liftray.study import pictures, tables
from liftray.study.tables import Table

_TEMPLATE = "study_report.html.jinja"
_CAVEATS = (
    "The chain is what is resampled: a chain's score is averaged over an arm's seeds first, and two arms are compared "
    "on the same drawn chains. The interval over seeds and chains draws both; with few seeds its own width is unsure.",
    "Values and the best epoch were chosen on the validation chains, which flatters every arm there a little; the test "
    "sets were predicted once, after all choices, and decided nothing.",
    "A difference that is not shown is not a proof that there is none: see the interval for what is still possible.",
)


def write(
    findings: Mapping[str, Any], facts: Mapping[str, Any], directory: Path, stem: str
) -> dict[str, str]:
    """Write `STEM.md`, `STEM.html`, `STEM.json` and the plots.

    Args:
        findings: As `findings.gather` gives them.
        facts: What they hold for, as `provenance` in run gives it.
        directory: Where to.
        stem: What all file names begin with.

    Returns:
        Paths: `markdown`, `html`, `json`, and each plot by its file name.
    """
    files.make_directories(directory)
    plots = pictures.draw(findings, directory, stem)
    shown = _tables(findings)
    paths = {kind: directory / f"{stem}.{ending}" for kind, ending in _ENDINGS.items()}
    files.write_text(paths["markdown"], _markdown(findings, facts, shown, plots))
    files.write_text(paths["html"], _html(findings, facts, shown, plots, directory))
    files.write_json(paths["json"], {**facts, **findings})
    return {kind: str(path) for kind, path in paths.items()} | {
        one["file"]: str(directory / one["file"]) for one in plots
    }


_ENDINGS = {"markdown": "md", "html": "html", "json": "json"}


def _tables(findings: Mapping[str, Any]) -> list[Table]:
    tried = tables.of_tries(findings)
    claims = [one for name, claim in findings["claims"].items() for one in tables.of_claim(name, claim)]
    return [
        *tables.of_scores(findings),
        tables.of_costs(findings),
        *claims,
        *([tried] if tried is not None else []),
        *tables.of_other_scores(findings),
    ]


def answers(findings: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Of each claim: what it says, the verdict, and the sentence that tells what was shown."""
    found = []
    for claim in findings["claims"].values():
        note = f" {claim['note']}" if claim.get("note") else ""
        found.append((claim["says"], claim["verdict"], f"{claim['sentence']}{note}"))
    return found


def _lead(findings: Mapping[str, Any]) -> list[str]:
    """What stands before the tables, beside the claims."""
    said = []
    shared = {
        name: about["leaked_share"] for name, about in findings["sets"].items() if "leaked_share" in about
    }
    if shared:
        shares = ", ".join(f"{name} {100 * share:.1f} %" for name, share in shared.items())
        said.append(f"Chains that the training set holds, or a near-duplicate of them: {shares}.")
    leaky = [name for name, about in findings["sets"].items() if about.get("leaky")]
    if leaky:
        said.append(f"{LEAKY_MARK} Leaky, and no part of “all test sets”: {', '.join(leaky)}.")
    if findings["incomplete"]:
        said.append(f"Left out, because not all of their runs finished: {gaps(findings)}.")
    return said


def gaps(findings: Mapping[str, Any]) -> str:
    """The arms that are incomplete, and why."""
    return ", ".join(f"{arm}: {'; '.join(reasons)}" for arm, reasons in findings["incomplete"].items())


def _told(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_told(inner)}" for key, inner in value.items())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(map(_told, value)) or "none"
    return "none" if value is None else str(value)


def _listed(facts: Mapping[str, Any]) -> dict[str, str]:
    """The facts as text, long parts each on a line of its own."""
    found: dict[str, str] = {}
    for name, value in facts.items():
        if name == "data":
            for split, sets in value.items():
                for one, about in sets.items():
                    found[f"data: {split}, {one}"] = (
                        f"{about['chains']:,} chains, {about['residues']:,} residues, {about['digest']}"
                    )
        elif name != "config":
            found[name.replace("_", " ")] = _told(value)
    return found


def _caveats(findings: Mapping[str, Any]) -> list[str]:
    """What to bear in mind with any study, and what this one's own runs give reason for."""
    found = list(_CAVEATS)
    last = [
        arm
        for arm, one in findings["arms"].items()
        if all(run["best_epoch"] == run["epochs"] for run in one["runs"])
    ]
    if last:
        found.append(
            f"In every run of {', '.join(last)} the last epoch was the best: more epochs may improve these arms, and "
            "not all equally."
        )
    edge = [arm for arm, one in findings["arms"].items() if _at_the_edge(one)]
    if edge:
        found.append(
            f"{', '.join(edge)} chose the smallest or largest value tried: a better one may lie beyond it."
        )
    return found


def _at_the_edge(arm: Mapping[str, Any]) -> bool:
    """Whether a number that an arm chose is the smallest or largest of those that it tried."""
    for key, value in arm["chosen"].items():
        tried = {one["values"][key] for one in arm["tries"]}
        numbers = all(isinstance(one, (int, float)) and not isinstance(one, bool) for one in tried)
        if numbers and len(tried) > 1 and value in (min(tried), max(tried)):
            return True
    return False


def _markdown(
    findings: Mapping[str, Any],
    facts: Mapping[str, Any],
    shown: Sequence[Table],
    plots: Sequence[Mapping[str, str]],
) -> str:
    parts = [f"# Study: {facts['study']}", f"{facts['date'][:10]}, LiftRay {__version__}."]
    claimed = [
        f"{at}. **{says}** {verdict}. {sentence}"
        for at, (says, verdict, sentence) in enumerate(answers(findings), 1)
    ]
    parts += ["## Claims", "\n".join(claimed)] if claimed else []
    parts += _lead(findings)
    parts += [f"![{one['alt']}]({one['file']})\n\n{one['caption']}" for one in plots]
    for table in shown:
        lines = [_line(table.header), _line(["---", *["---:"] * (len(table.header) - 1)])]
        parts += [f"## {table.title}", table.note, "\n".join([*lines, *map(_line, table.rows)])]
    parts += ["## How to read this", "\n".join(f"- {one}" for one in _caveats(findings))]
    parts += ["## What it holds for", "\n".join(f"- {name}: {text}" for name, text in _listed(facts).items())]
    parts += ["## Config", f"```yaml\n{facts['config'].rstrip()}\n```"]
    return "\n\n".join(parts) + "\n"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _html(
    findings: Mapping[str, Any],
    facts: Mapping[str, Any],
    shown: Sequence[Table],
    plots: Sequence[Mapping[str, str]],
    directory: Path,
) -> str:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = resources.files(__package__).joinpath(_TEMPLATE).read_text(encoding="utf-8")
    embedded = [
        {**one, "data": base64.b64encode((directory / one["file"]).read_bytes()).decode("ascii")}
        for one in plots
    ]
    return environment.from_string(template).render(
        version=__version__,
        study=facts["study"],
        date=facts["date"][:10],
        answers=answers(findings),
        lead=_lead(findings),
        plots=embedded,
        tables=shown,
        caveats=_caveats(findings),
        facts=_listed(facts),
        config=facts["config"],
    )
