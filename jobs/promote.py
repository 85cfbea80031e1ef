"""Move a registered model's champion, or show its history: propose, promote, rollback, history, show.

\b
propose   set the alias candidate on --version
promote   make --version the champion if the gates allow it (limits: configs/gates.yaml)
rollback  make the previous champion the champion again
history   list the promotions, rollbacks and refusals
show      print the verdict on the version and the present champion

The result is printed as JSON, and so is the verdict of a refusal. On a terminal, history is a table unless --json is
given.
"""  # noqa: D301 - click looks for the character, not for a backslash

import sys
from typing import Any

import click

from liftray.cli import job
from liftray.options import local_path, tracking_option


@job
@click.argument("action", type=click.Choice(["propose", "promote", "rollback", "history", "show"]))
@click.option("--name", required=True, help="Registered model.")
@click.option(
    "--version",
    type=click.IntRange(min=1),
    help="Version to propose or promote; default of promote: the one with the alias candidate.",
)
@click.option("--reason", default="", help="Why, for the ledger; promote and rollback need a reason.")
@click.option("--dry-run", is_flag=True, help="Run the gates of promote or rollback; change nothing.")
@click.option(
    "--gates",
    type=local_path,
    metavar="FILE",
    help="YAML file with the limits of the gates; default: as in configs/gates.yaml.",
)
@click.option(
    "--override", multiple=True, metavar="CODE", help="Ignore a gate's reason code; repeatable, recorded."
)
@click.option("--json", "json_", is_flag=True, help="Print the history as JSON on a terminal too.")
@tracking_option
def main(json_: bool, **arguments: Any) -> None:
    from liftray.track.promotion import promote_job
    from liftray.track.promotion.verdict import Refusal

    request = promote_job.PromoteRequest(**arguments)
    try:
        click.echo(promote_job.run(request, as_table=sys.stdout.isatty() and not json_))
    except Refusal as refusal:
        click.echo(promote_job.as_json(refusal.verdict))
        raise


if __name__ == "__main__":
    main()
