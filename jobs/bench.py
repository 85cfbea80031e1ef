"""Measure one part of LiftRay beside what it stands against; a dated JSON and Markdown report.

SUITE is `step` (a training step in bare PyTorch, cut at k, against LoRA on all blocks), `predict` (the predictor
against a plain loop of padded batches of 8) or `ingest` (a three-line file to Parquet: records/s, MB/s, memory).

Each takes about a minute on one core. Run it on a machine that does nothing else: the report tells the load.
"""

import click

from liftray.cli import job


@job
@click.argument("suite")
@click.option("--out", required=True, metavar="DIR", help="Where SUITE-DATE.json and SUITE-DATE.md go.")
def main(suite: str, out: str) -> None:
    from liftray.bench import report, suites

    content = suites.run(suite)
    paths = report.write(content, out)
    click.echo(report.table(content["rows"]))
    click.echo(
        f"{paths['json']}: {suite} on {content['hardware']['cpu']}, {content['hardware']['cores_usable']} cores"
    )
    click.echo(f"{paths['markdown']}: the same for reading")


if __name__ == "__main__":
    main()
