"""Move a registered model's champion, or show its history: propose, promote, rollback, history, show.

propose sets the alias candidate on --version; promote makes --version (default: the candidate) champion if
the gates allow it (configs/gates.yaml holds their limits); rollback makes the previous champion champion again;
history and show only read. The result, also the verdict of a refusal, is printed as JSON. On a terminal, history
is a table unless --json is given.
"""

import sys

import click

from liftray.cli import job, tracking_option


@job
@click.argument("action", type=click.Choice(["propose", "promote", "rollback", "history", "show"]))
@click.option("--name", required=True, help="Registered model.")
@click.option("--version", type=click.IntRange(min=1), help="Its version.")
@click.option("--reason", default="", help="Why, for the ledger; promote and rollback need one.")
@click.option("--dry-run", is_flag=True, help="Judge only; change nothing.")
@click.option("--gates", metavar="FILE", help="Limits of the gates; default: as in configs/gates.yaml.")
@click.option("--override", multiple=True, metavar="CODE", help="Ignore this reason; the ledger records it.")
@click.option("--json", "json_", is_flag=True, help="Print the history as JSON on a terminal too.")
@tracking_option
def main(
    action: str,
    name: str,
    version: int | None,
    reason: str,
    dry_run: bool,
    gates: str | None,
    override: tuple[str, ...],
    json_: bool,
    tracking_uri: str,
) -> None:
    from liftray.track.promotion import promote_job
    from liftray.track.promotion.verdict import Refusal

    request = promote_job.PromoteRequest(
        action, name, tracking_uri, version, reason, dry_run, gates, override
    )
    try:
        click.echo(promote_job.run(request, as_table=sys.stdout.isatty() and not json_))
    except Refusal as refusal:
        click.echo(promote_job.as_json(refusal.verdict))
        raise


if __name__ == "__main__":
    main()
