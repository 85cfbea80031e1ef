"""Search adapter settings with Ray Tune; the best model on validation data is evaluated and registered.

The same command resumes a search that was interrupted. To read the code: liftray/search/tune.py.
"""

import click

import liftray
from liftray.cli import job
from liftray.config import Settings
from liftray.options import config_options


@job
@config_options
def main(settings: Settings) -> None:
    summary = liftray.search(settings).summary
    score = settings.search.objectives[0]
    ordered = sorted(summary["trials"], key=lambda row: -row["metrics"].get(f"valid/{score}", -1.0))
    for row in ordered:
        value = row["metrics"].get(f"valid/{score}")
        shown = f"{100 * value:6.2f}" if value is not None else "     -"
        click.echo(f"validation {score.upper()} {shown}  {row['state']:10} {row['config']}  {row['reason']}")
    for sentence in (summary["verdict"]["sentence"], *summary["answer"]):
        click.echo(sentence)
    for what, value in (("best", summary["best"]["config"]), ("model_uri", summary["best"]["model_uri"])):
        click.echo(f"{what:10} {value}")
    click.echo(f"{'report':10} {settings.run.dir}/report.html (next to trials.csv, pareto.png, summary.json)")


if __name__ == "__main__":
    main()
