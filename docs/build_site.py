"""What mkdocs adds to the pages in docs/: generated reference pages, notebooks, and Markdown files of other folders.

Invariant: nothing in the reference is written by hand: config keys come from the sections, arguments from the jobs, the
API from the docstrings. Links are written as the repository has them and rewritten for the site. A hook of mkdocs.yml.
"""

import ast
import os
import re
import runpy
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import click
import jupytext
from annotated_types import Ge, Gt, Le, Lt, MinLen
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
# Documents that stay where GitHub's readers expect them and are pages of the site too.
ELSEWHERE = ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "cluster/*.md", "configs/experiment/*.md")
REPORTS = ("reports/**/*.md", "reports/**/*.png")
_JOBS = """\
# Jobs

`liftray JOB ARGS`, `python jobs/JOB.py ARGS` and `ray job submit --working-dir . -- python jobs/JOB.py ARGS` are equal.
`liftray JOB --help` prints what follows.

| exit code | meaning |
| --- | --- |
| 0 | done |
| 2 | the input is at fault; one line says what, where and what to do |
| 3 | a gate refused |
| 130 | interrupted; the same command resumes |
| 1 | anything else; `--debug` shows the traceback |
"""
_CONFIG = """\
# Config keys

Set a key in the YAML by section, or as `KEY=VALUE` on the command line. An unknown key is refused with the nearest
valid one. `--print-config` prints what a config resolves to.

The value of a key that takes text is that text: `run.dir=/w/x #1` names `/w/x #1`. Only quotes around the whole text
are read. Other values are YAML. `~` is the home directory in every path. Directories are of this machine: `run.dir` and
`cache.dir` take no `s3://` address.

No value may hold a credential, as in `s3://KEY:SECRET@bucket` or `?token=...`, since settings reach logs, MLflow and
reports. Give it in the environment: `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, `GOOGLE_APPLICATION_CREDENTIALS`,
`MLFLOW_TRACKING_TOKEN`.

The last column says what a run that resumes may do: a value that changes the result must stay, or what it leads to,
such as the content of a data set.
"""
_LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)\s#]+)(#[^)\s]*)?(?=\))")
_BOUNDS = {
    Ge: "≥ {0.ge}",
    Gt: "> {0.gt}",
    Le: "≤ {0.le}",
    Lt: "< {0.lt}",
    MinLen: "at least {0.min_length} value",
}
_EFFECTS = {
    "result": "must keep it",
    "resolved": "must keep what it leads to",
    "operation": "may change it",
}


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages that are generated or that other folders hold."""
    for pattern in (*ELSEWHERE, *REPORTS):
        for path in sorted(ROOT.glob(pattern)):
            place = path.relative_to(ROOT).as_posix()
            files.append(File.generated(config, place, abs_src_path=str(path)))
    for path in sorted((ROOT / "docs" / "notebooks").glob("*.py")):
        content = jupytext.writes(jupytext.read(path), fmt="md")
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=_without_header(content)))
    for name, content in (
        ("api", api_page()),
        ("jobs", jobs_page()),
        ("config", config_page()),
        ("modules", modules_page()),
    ):
        files.append(File.generated(config, f"reference/{name}.md", content=content))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links between files of the repository into links between pages of the site."""
    here = page.file.src_uri
    source = here if (ROOT / here).is_file() and not (ROOT / "docs" / here).is_file() else f"docs/{here}"

    def site_link(match: re.Match[str]) -> str:
        target = os.path.normpath(PurePosixPath(source).parent / match[1])
        place = target.removeprefix("docs/")
        if files.get_file_from_path(place) is None:
            return match[0]  # mkdocs reports it
        return os.path.relpath(place, PurePosixPath(here).parent) + (match[2] or "")

    return _LINK.sub(site_link, markdown)


def api_page() -> str:
    """The public functions, which `from liftray import ...` gives, with what they return and raise."""
    filters = "['!^_', '!^of$', '!^(gather|stamp_of|score_rows|find_liftray_error)$']"
    hidden = f"    options: {{show_root_heading: false, show_root_toc_entry: false, filters: {filters}}}"
    text = [
        "# Python API",
        "",
        "Import the functions from `liftray` itself; heavy libraries are loaded at first use.",
        "",
    ]
    for title, module in (
        ("Functions", "api"),
        ("Models", "predict.model"),
        ("Results", "results"),
        ("Errors", "errors"),
    ):
        text += [f"## {title}", "", f"::: liftray.{module}", hidden, ""]
    return "\n".join(text)


def modules_page() -> str:
    """What each module is: the first paragraph of its docstring, for contributors."""
    text = ["# Modules", "", "One line a module, for those who read or change the code.", ""]
    packages = sorted(path.parent for path in (ROOT / "liftray").glob("*/__init__.py"))
    listed = {"liftray": sorted((ROOT / "liftray").glob("*.py"))}
    listed |= {f"liftray.{package.name}": sorted(package.rglob("*.py")) for package in packages}
    for title, paths in listed.items():
        text += [f"## {title}", "", "| module | what it is |", "| --- | --- |"]
        for path in paths:
            name = (
                path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__")
            )
            text.append(f"| `{name}` | {_cell(_summary(path))} |")
        text.append("")
    return "\n".join(text)


def jobs_page() -> str:
    """Every job with its arguments, read from the click commands."""
    text = [_JOBS]
    for path in sorted((ROOT / "jobs").glob("[a-z]*.py")):
        command = runpy.run_path(str(path))["main"]
        context = click.Context(command, info_name=f"liftray {path.stem}")
        text += [f"## {path.stem}", "", "```text", _usage(command, context), "```", "", *_help(command), ""]
        text += ["| argument | meaning |", "| --- | --- |"]
        records = [record for one in command.get_params(context) if (record := one.get_help_record(context))]
        text += [f"| `{names}` | {_cell(meaning)} |" for names, meaning in records]
        text.append("")
    return "\n".join(text)


def config_page() -> str:
    """Every config key with type, default, bounds, meaning and effect, by section; then the keys of a study's claim."""
    from liftray.config import Settings, keys
    from liftray.sections import ClaimSettings

    bounds = dict(_bounds(Settings, "")) | dict(_bounds(ClaimSettings, "study.claims.NAME."))
    sections: dict[str, list[str]] = {}
    for key, (kind, default, meaning) in keys().items():
        section = key.partition(".")[0] if "." in key else "Top level"
        bound, effect = bounds[key]
        shape = f"{kind.replace('|', ' | ')} {bound}".strip()
        cells = (f"`{key}`", shape, f"`{_yaml(default)}`", meaning, effect)
        sections.setdefault(section, []).append(_row(cells))
    for name, field in ClaimSettings.model_fields.items():
        key = f"study.claims.NAME.{name}"
        default = "required" if field.is_required() else f"`{_yaml(field.default)}`"
        cells = (f"`{key}`", bounds[key][0], default, field.description or "", bounds[key][1])
        sections.setdefault("One claim of a study", []).append(_row(cells))
    text = [_CONFIG]
    for section, rows in sections.items():
        text += [f"## {section}", "", "| key | type and bounds | default | meaning | a resumed run |"]
        text += ["| --- | --- | --- | --- | --- |", *rows, ""]
    return "\n".join(text)


def _bounds(model: Any, prefix: str) -> Iterator[tuple[str, tuple[str, str]]]:
    from liftray.sections.section import Effect, is_section

    for name, field in model.model_fields.items():
        if is_section(field):
            yield from _bounds(field.annotation, f"{prefix}{name}.")
            continue
        found = [
            text.format(one)
            for one in field.metadata
            for kind, text in _BOUNDS.items()
            if isinstance(one, kind)
        ]
        effects = [_EFFECTS[one.value] for one in field.metadata if isinstance(one, Effect)]
        yield f"{prefix}{name}", (", ".join(found), ", ".join(effects))


def _usage(command: click.Command, context: click.Context) -> str:
    return command.get_usage(context).removeprefix("Usage: ")


def _help(command: click.Command) -> list[str]:
    """The job's docstring; what follows click's mark for preformatted text is a code block."""
    lines: list[str] = []
    for paragraph in (command.help or "").split("\n\n"):
        if paragraph.startswith("\b"):
            lines += ["```text", *paragraph.splitlines()[1:], "```", ""]
        else:
            lines += [paragraph, ""]
    return lines


def _summary(path: Path) -> str:
    documentation = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(documentation.partition("\n\n")[0].split())


def _without_header(markdown: str) -> str:
    return re.sub(r"\A---\n.*?\n---\n+", "", markdown, flags=re.DOTALL)


def _yaml(value: Any) -> str:
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value) or '""'


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(map(_cell, cells))} |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").replace("*", "\\*")
