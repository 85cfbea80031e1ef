"""Predict the secondary structure of FASTA files with a bundle or a registered model.

Each chain is written to every prediction file or, with the reason of its refusal, to errors.jsonl. The job runs in one
process; it needs neither Ray nor a GPU, and uses a GPU where there is one.
"""

import click

import liftray
from liftray.cli import job
from liftray.options import model_option, tracking_option


@job
@model_option
@click.option(
    "--input",
    "inputs",
    required=True,
    multiple=True,
    metavar="FILE...",
    help="FASTA files, gzip-compressed or not.",
)
@click.option(
    "--out",
    required=True,
    metavar="DIR",
    help="Directory for the predictions, summary.json and errors.jsonl.",
)
@click.option(
    "--formats",
    default="three-line",
    metavar="NAME,...",
    help="Output formats, of three-line, csv, json, parquet, ss2, horiz, netsurfp; default: three-line.",
)
@tracking_option
def main(model: str, inputs: tuple[str, ...], out: str, formats: str, tracking_uri: str) -> None:
    names = [name.strip() for name in formats.split(",") if name.strip()]
    result = liftray.predict(model, inputs, out, formats=names, tracking_uri=tracking_uri)
    files = ", ".join(path.name for name, path in result.files.items() if name not in ("errors", "summary"))
    click.echo(f"{out}: {result.predicted} chains, {result.residues} residues in {files}")
    if result.refused:
        reasons = ", ".join(f"{count} {reason}" for reason, count in result.reasons.items())
        click.echo(f"{result.files['errors']}: {result.refused} records refused ({reasons})")


if __name__ == "__main__":
    main()
