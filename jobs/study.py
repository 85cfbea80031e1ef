"""Compare methods with equal care: arms tuned, run with several seeds, tested chain by chain, and one report.

study.arms names the methods, study.claims the questions that the report answers (configs/experiment/claims.yaml). The
same command resumes an interrupted study and repeats no run that ended.
"""

import shlex
import sys
from pathlib import Path

import click

from liftray.cli import job
from liftray.config import Settings
from liftray.options import config_options, local_path
from liftray.redaction import redacted


@job
@config_options
@click.option("--dry-run", is_flag=True, help="Print the runs and about how long they take; start nothing.")
@click.option(
    "--report-to",
    type=local_path,
    metavar="DIR",
    help="Also put a dated copy of the report there, such as reports.",
)
def main(settings: Settings, dry_run: bool, report_to: str | None) -> None:
    from liftray.study.preview import preview
    from liftray.study.study_job import study

    if dry_run:
        rows, sentence = preview(settings)
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        click.echo(sentence)
        return
    command = redacted(shlex.join(["liftray", "study", *sys.argv[1:]]))
    summary = study(settings, command, Path(report_to) if report_to else None)
    for claim in summary["claims"].values():
        click.echo(f"{claim['says']} {claim['verdict']}. {claim['sentence']}")
    for path in (*summary["report"].values(), *summary.get("copy", {}).values()):
        click.echo(path)


if __name__ == "__main__":
    main()
