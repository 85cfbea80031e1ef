"""Score a model on labelled data sets, with 95 % intervals; --against compares it with a second model.

The comparison is paired: both models are scored on the same chains.
"""

import click

import liftray
from liftray.cli import job
from liftray.options import model_option, tracking_option


@job
@model_option
@click.option(
    "--data",
    required=True,
    multiple=True,
    metavar="NAME=PATH...",
    help="Labelled data sets: directories that `liftray ingest` wrote.",
)
@click.option(
    "--out", required=True, metavar="DIR", help="Where report.html, metrics.json and per_protein.parquet go."
)
@click.option(
    "--against", metavar="URI", help="A second model, for a paired comparison; an address as in --model."
)
@click.option(
    "--train",
    multiple=True,
    metavar="PATH...",
    help="Training sets, for baselines and to measure leakage; default: none.",
)
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
    click.echo(f"results in {out}; the report is {out}/report.html")


if __name__ == "__main__":
    main()
