"""Search adapter settings with Ray Tune; the best model on validation data is evaluated and registered.

Reading on: liftray/search/tune.py.
"""

import click

from liftray.cli import config_options, job
from liftray.config import Settings


@job
@config_options
def main(settings: Settings) -> None:
    from liftray.search.tune import search

    summary = search(settings)
    ordered = sorted(summary["trials"], key=lambda row: -row["metrics"].get("valid/q3", -1.0))
    for row in ordered:
        score = row["metrics"].get("valid/q3")
        told = f"{100 * score:6.2f}" if score is not None else "     -"
        click.echo(f"validation Q3 {told}  {row['state']:9} {row['config']}")
    for what, value in (("best", summary["best"]["config"]), ("model_uri", summary["best"]["model_uri"])):
        click.echo(f"{what:10} {value}")
    click.echo(f"{'tables':10} {settings.run.dir} (trials.csv, pareto.png, summary.json)")


if __name__ == "__main__":
    main()
