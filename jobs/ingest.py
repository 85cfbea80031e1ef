"""Turn protein files into one Parquet data set; bad records are quarantined with their reason.

INPUT is a file, or a directory of structure or Parquet files. Formats: three-line, FASTA with labels (also FLIP's and
biotrainer's), NetSurfP-style CSV, delimited tables, JSON lines, DSSP's and PSIPRED's output, Parquet, and structures
(mmCIF, BinaryCIF, PDB).
"""

from typing import Literal

import click

import liftray
from liftray.cli import job
from liftray.options import label_options

TEXT = ["three-line", "fasta", "netsurfp-csv", "table", "jsonl", "dssp", "psipred"]
FORMATS = ["auto", *TEXT, "structures", "parquet"]


@job
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option(
    "--out", required=True, metavar="DIR", help="Directory of the data set; replaces an earlier one in it."
)
@click.option(
    "--format",
    "format_",
    type=click.Choice(FORMATS),
    default="auto",
    help="Format of the files; default: auto, detected for each file.",
)
@label_options
@click.option(
    "--on-error",
    type=click.Choice(["quarantine", "fail"]),
    default="quarantine",
    help="Write a bad record to quarantine.jsonl, or stop at the first; default: quarantine.",
)
def main(
    inputs: tuple[str, ...],
    out: str,
    format_: str,
    alphabet: Literal["ss3", "ss8", "ss9"] | None,
    labels: tuple[str, ...],
    set: str | None,
    on_error: Literal["quarantine", "fail"],
) -> None:
    from liftray.data.ingest_summary import lines

    result = liftray.ingest(
        inputs, out, format=format_, alphabet=alphabet, labels=labels, set=set, on_error=on_error
    )
    for line in lines(result.summary):
        click.echo(line)


if __name__ == "__main__":
    main()
