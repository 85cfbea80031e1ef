"""Score a model on labelled data sets, with intervals; with --against, compare it with another chain by chain."""

import click

import liftray
from liftray.cli import job, model_option, tracking_option


@job
@model_option
@click.option(
    "--data",
    required=True,
    multiple=True,
    metavar="NAME=PATH...",
    help="Parquet data sets, as ingest wrote them.",
)
@click.option("--out", required=True, metavar="DIR", help="Where the results go.")
@click.option("--against", metavar="URI", help="A second model for a paired comparison.")
@click.option("--train", multiple=True, metavar="PATH...", help="Training sets, for baselines and leakage.")
@tracking_option
def main(
    model: str,
    data: tuple[str, ...],
    out: str,
    against: str | None,
    train: tuple[str, ...],
    tracking_uri: str,
) -> None:
    from liftray.evaluate.evaluation_report import paired_lines, render_table, show
    from liftray.evaluate.scoring import named_sets

    sets = named_sets(data)
    result = liftray.evaluate(model, sets, against=against, train=train, out=out, tracking_uri=tracking_uri)
    click.echo(result.verdict["sentence"])
    others = {result.other: result.against} if against else {}
    show(render_table(result.metrics, {**others, **result.baselines}, result.leakage, model=result.model))
    for line in paired_lines(result.paired, result.other):
        click.echo(line)
    click.echo(f"results in {out}, for people in {out}/report.html")


if __name__ == "__main__":
    main()
