"""Move a registered model's champion, or tell how it came to be: propose, promote, rollback, history, show.

propose sets the alias candidate on --version; promote makes --version (default: the candidate) champion if
it is not worse than the present one; rollback gives champion back to the version before; history and show
change nothing. The result is printed as JSON.
"""

import json
from typing import Any

import click

from liftray.cli import job, tracking_option


@job
@click.argument("action", type=click.Choice(["propose", "promote", "rollback", "history", "show"]))
@click.option("--name", required=True, help="Registered model.")
@click.option("--version", type=click.IntRange(min=1), help="Its version.")
@click.option("--reason", default="", help="Why, for the ledger; promote and rollback need one.")
@click.option("--dry-run", is_flag=True, help="Judge and tell; change nothing.")
@tracking_option
def main(action: str, name: str, version: int | None, reason: str, dry_run: bool, tracking_uri: str) -> None:
    from liftray.progress import say
    from liftray.track import registry

    result: Any
    if action == "propose":
        if version is None:
            raise click.UsageError("propose needs --version N")
        if dry_run:
            raise click.UsageError("propose changes no champion; --dry-run goes with promote and rollback")
        result = registry.propose(name, version, uri=tracking_uri, reason=reason or "proposed")
    elif action == "promote":
        result = registry.promote(name, version, uri=tracking_uri, reason=reason, dry_run=dry_run)
    elif action == "rollback":
        if version is not None:
            raise click.UsageError("rollback goes to the champion before; promote --version N chooses one")
        result = registry.rollback(name, uri=tracking_uri, reason=reason, dry_run=dry_run)
    else:
        result = getattr(registry, action)(name, uri=tracking_uri)
    if action in ("promote", "rollback"):
        stands = "is" if result["changed"] else "would become" if dry_run else "was already"
        say(f"{name}: version {result['version']} {stands} champion; before: {result['previous'] or 'none'}")
    click.echo(json.dumps(result, indent=2, ensure_ascii=False))


if __name__ == "__main__":
    main()
