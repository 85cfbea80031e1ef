"""Score a model on labelled data sets, with intervals; with --against, compare it with another chain by chain."""

from pathlib import Path

import click

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
    from liftray.evaluate.evaluate_job import called, evaluate
    from liftray.evaluate.evaluation_report import paired_lines, render_table, show
    from liftray.evaluate.scoring import named_sets
    from liftray.predict.predictor import Predictor
    from liftray.track.promotion.registry import resolve

    sets = named_sets(data)
    ours = Predictor.load(resolve(model, tracking_uri))
    other = Predictor.load(resolve(against, tracking_uri)) if against else None
    name, other_name = called(model, against or "")
    result = evaluate(ours, sets, Path(out), against=other, train=train, model=name, other=other_name)
    beside = {other_name: result["against"]} if against else {}
    show(
        render_table(
            result["metrics"], beside | result.get("baselines", {}), result.get("leakage"), model=name
        )
    )
    for line in paired_lines(result.get("paired", {}), other_name):
        click.echo(line)
    click.echo(f"results in {out}, for people in {Path(out) / 'report.html'}")


if __name__ == "__main__":
    main()
