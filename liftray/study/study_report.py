"""A study's report: Markdown, one self-contained HTML page, and the same findings as JSON.

Invariant: the three hold the same findings, with the machine, versions, data digests, config and command that they hold
for. Flow: findings, tables, pictures -> [this] -> files.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from liftray import __version__, files
from liftray.evaluate.titles import LEAKY_MARK
from liftray.reporting import pages
from liftray.reporting import tables as text
from liftray.reporting.pictures import Picture
from liftray.reporting.tables import Table
from liftray.study import pictures, tables

_TEMPLATE = "study/study_report.html.jinja"
_CAVEATS = (
    "The chain is what is resampled: a chain's score is averaged over an arm's seeds first, and two arms are compared "
    "on the same drawn chains. The interval over seeds and chains draws both; with few seeds its width is uncertain.",
    "Values and the best epoch were chosen on the validation chains, which flatters every arm there a little. The test "
    "sets were predicted once, after all choices, and decided nothing.",
    "A difference that is not shown is not a proof that there is none: the interval gives what is still possible.",
)
_ENDINGS = {"markdown": "md", "html": "html", "json": "json"}


def write(
    findings: Mapping[str, Any], facts: Mapping[str, Any], directory: Path, stem: str
) -> dict[str, str]:
    """Write `STEM.md`, `STEM.html`, `STEM.json` and the plots.

    Args:
        findings: What `findings.gather` returns.
        facts: What the findings hold for: `study`, `date`, `command`, `data`, `config` and further values by name.
        directory: Where the files go.
        stem: Start of all file names.

    Returns:
        Paths: `markdown`, `html`, `json`, and each plot by its file name.
    """
    files.make_directories(directory)
    drawn = pictures.draw(findings, directory, stem)
    shown = all_tables(findings)
    paths = {kind: directory / f"{stem}.{ending}" for kind, ending in _ENDINGS.items()}
    files.write_text(paths["markdown"], _markdown(findings, facts, shown, drawn))
    files.write_text(paths["html"], _html(findings, facts, shown, drawn))
    files.write_json(paths["json"], {**facts, **findings})
    return {kind: str(path) for kind, path in paths.items()} | {
        picture.file.name: str(picture.file) for picture in drawn
    }


def all_tables(findings: Mapping[str, Any]) -> list[Table]:
    """The tables of the report, in order."""
    tries = tables.of_tries(findings)
    claims = [table for name, claim in findings["claims"].items() for table in tables.of_claim(name, claim)]
    return [
        *tables.of_scores(findings),
        tables.of_costs(findings),
        *claims,
        *([tries] if tries is not None else []),
        *tables.of_other_scores(findings),
    ]


def answers(findings: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """For each claim: what it says, the verdict, and the sentence with the evidence."""
    rows = []
    for claim in findings["claims"].values():
        note = f" {claim['note']}" if claim.get("note") else ""
        rows.append((claim["says"], claim["verdict"], f"{claim['sentence']}{note}"))
    return rows


def gaps(findings: Mapping[str, Any]) -> str:
    """The arms that are incomplete, and why."""
    return ", ".join(f"{arm}: {'; '.join(reasons)}" for arm, reasons in findings["incomplete"].items())


def _remarks(findings: Mapping[str, Any]) -> list[str]:
    """The paragraphs between the claims and the tables."""
    remarks = []
    shares = {
        name: about["leaked_share"] for name, about in findings["sets"].items() if "leaked_share" in about
    }
    if shares:
        listed = ", ".join(f"{name} {100 * share:.1f} %" for name, share in shares.items())
        remarks.append(f"Chains that are in the training set, or have a near-duplicate there: {listed}.")
    leaky = [name for name, about in findings["sets"].items() if about.get("leaky")]
    if leaky:
        remarks.append(f"{LEAKY_MARK} Leaky, and no part of “all test sets”: {', '.join(leaky)}.")
    if findings["incomplete"]:
        remarks.append(f"Left out, because not all of their runs finished: {gaps(findings)}.")
    return remarks


def _listed(facts: Mapping[str, Any]) -> dict[str, str]:
    """The facts as text, long parts each on a line of its own."""
    listed: dict[str, str] = {}
    for name, value in facts.items():
        if name == "data":
            for split, sets in value.items():
                for one, about in sets.items():
                    listed[f"data: {split}, {one}"] = (
                        f"{about['chains']:,} chains, {about['residues']:,} residues, {about['digest']}"
                    )
        elif name != "config":
            listed[name.replace("_", " ")] = text.as_text(value)
    return listed


def _caveats(findings: Mapping[str, Any]) -> list[str]:
    """What limits any study, and what the runs of this one give reason for."""
    caveats = list(_CAVEATS)
    last = [
        arm
        for arm, one in findings["arms"].items()
        if all(run["best_epoch"] == run["epochs"] for run in one["runs"])
    ]
    if last:
        caveats.append(
            f"In every run of {', '.join(last)} the last epoch was the best: more epochs may improve these arms, and "
            "not all equally."
        )
    edge = [arm for arm, one in findings["arms"].items() if _at_the_edge(one)]
    if edge:
        caveats.append(
            f"{', '.join(edge)} chose the smallest or largest value tried: a better one may be beyond it."
        )
    return caveats


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
    drawn: Sequence[Picture],
) -> str:
    parts = [f"# Study: {facts['study']}", f"{facts['date'][:10]}, LiftRay {__version__}."]
    claims = [
        f"{at}. **{claim}** {verdict}. {sentence}"
        for at, (claim, verdict, sentence) in enumerate(answers(findings), 1)
    ]
    parts += ["## Claims", "\n".join(claims)] if claims else []
    parts += _remarks(findings)
    parts += [f"![{picture.alt}]({picture.file.name})\n\n{picture.caption}" for picture in drawn]
    for table in shown:
        parts += [f"## {table.title}", table.note, text.markdown(table.header, table.rows)]
    parts += ["## How to read this", "\n".join(f"- {caveat}" for caveat in _caveats(findings))]
    parts += ["## What it holds for", "\n".join(f"- {name}: {fact}" for name, fact in _listed(facts).items())]
    parts += ["## Config", f"```yaml\n{facts['config'].rstrip()}\n```"]
    return "\n\n".join(parts) + "\n"


def _html(
    findings: Mapping[str, Any],
    facts: Mapping[str, Any],
    shown: Sequence[Table],
    drawn: Sequence[Picture],
) -> str:
    return pages.render(
        _TEMPLATE,
        title=f"Study: {facts['study']}",
        date=facts["date"][:10],
        answers=answers(findings),
        remarks=_remarks(findings),
        pictures=drawn,
        tables=shown,
        caveats=_caveats(findings),
        facts=_listed(facts),
        config=facts["config"],
    )
