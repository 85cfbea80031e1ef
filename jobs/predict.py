"""Predict the secondary structure of FASTA files with a bundle or a registered model.

Each chain is written to every prediction file or, with the reason of its refusal, to errors.jsonl. The job runs in one
process; it needs neither Ray nor a GPU, and uses a GPU where there is one.
"""

import click

import liftray
from liftray import standard_streams
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
    help="FASTA files, compressed or not; - for standard input.",
)
@click.option(
    "--out",
    required=True,
    metavar="DIR",
    help="Directory for the predictions, summary.json and errors.jsonl; - for one format on standard output.",
)
@click.option(
    "--formats",
    default="three-line",
    metavar="NAME,...",
    help="Output formats, of three-line, csv, json, parquet, ss2, horiz, netsurfp; default: three-line.",
)
@tracking_option
def main(model: str, inputs: tuple[str, ...], out: str, formats: str, tracking_uri: str) -> None:
    from liftray.predict.predict_lines import lines, refusals
    from liftray.predict.writers import check_stream

    names = [name.strip() for name in formats.split(",") if name.strip()]
    streamed = out == standard_streams.MARK
    if streamed:
        check_stream(names)
    with standard_streams.directory(out) as place:
        result = liftray.predict(model, inputs, place, formats=names, tracking_uri=tracking_uri)
        found = lines(result.summary, out) + (refusals(result.files["errors"]) if streamed else [])
        if streamed:
            standard_streams.send(result.files[names[0]])
    for line in found:
        click.echo(line, err=streamed)


if __name__ == "__main__":
    main()
