"""Move a registered model's champion, or tell how it came to be: propose, promote, rollback, history, show.

propose sets the alias candidate on --version; promote makes --version (default: the candidate) champion if
the gates allow it (configs/gates.yaml says what they ask); rollback gives champion back to the version
before; history and show change nothing. The result, a refusal's verdict too, is printed as JSON.
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
@click.option("--gates", metavar="FILE", help="What the gates ask; default: as in configs/gates.yaml.")
@click.option("--override", multiple=True, metavar="CODE", help="Pass over this reason; goes to the ledger.")
@tracking_option
def main(action: str, name: str, version: Any, tracking_uri: str, **given: Any) -> None:
    from liftray.progress import show_line
    from liftray.track.promotion import gates, policy, registry

    reason, dry_run, override = given["reason"], given["dry_run"], given["override"]
    if (action == "propose") > (version is not None) or (action == "rollback" and version is not None):
        raise click.UsageError(
            "propose needs --version N; rollback takes none, it goes to the champion before"
        )
    if (dry_run and action == "propose") or (override and action != "promote"):
        raise click.UsageError("--dry-run goes with promote and rollback, --override with promote")
    result: Any
    try:
        if action in ("history", "show"):
            result = getattr(registry, action)(name, uri=tracking_uri)
        else:
            rules: dict[str, Any] = {"uri": tracking_uri, "policy": policy.load(given["gates"])}
            if action == "propose":
                result = registry.propose(name, version, reason=reason or "proposed", **rules)
            elif action == "promote":
                rules |= {"reason": reason, "dry_run": dry_run}
                result = registry.promote(name, version, override=override, **rules)
            else:
                result = registry.rollback(name, reason=reason, dry_run=dry_run, **rules)
    except gates.Refusal as refusal:
        click.echo(json.dumps(refusal.verdict, indent=2, ensure_ascii=False))
        raise
    if action in ("promote", "rollback"):
        stands = "is" if result["changed"] else "would become" if dry_run else "was already"
        show_line(
            f"{name}: version {result['version']} {stands} champion; before: {result['previous'] or 'none'}"
        )
    click.echo(json.dumps(result, indent=2, ensure_ascii=False))


if __name__ == "__main__":
    main()
