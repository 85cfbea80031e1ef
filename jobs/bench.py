"""Measure one part of LiftRay against its competitors; write a dated report as JSON and Markdown.

SUITE is one of:

\b
train    training against Hugging Face Trainer with PEFT, the paper's loop, and a bare loop over cached states
cache    filling and reading the cache of the frozen prefix against computing it, and against disk and memory speed
step     the same training loop with Ray and without
scale    two workers against one
predict  the predictor against Hugging Face's pipeline
ingest   a three-line file to Parquet: records/s, MB/s, memory
tune     a search whose trials share a cache against one without
memory   peak memory of a training process, cached against uncached

KEY=VALUE changes a size of the suite: liftray bench train shape=esm2_35m skip_layers=9 chains=24. With the default
sizes, a suite takes a few minutes on two cores. Run it on an idle machine; the report records the load.
"""  # noqa: D301 - click looks for the character, not for a backslash

import click

from liftray.cli import job
from liftray.options import local_path


@job
@click.argument("suite")
@click.argument("sizes", nargs=-1, metavar="[KEY=VALUE]...")
@click.option(
    "--out",
    type=local_path,
    default="reports/bench",
    show_default=True,
    metavar="DIR",
    help="Directory for SUITE-DATE.json and SUITE-DATE.md.",
)
def main(suite: str, sizes: tuple[str, ...], out: str) -> None:
    from liftray.bench import bench_report, suites

    content = suites.run(suite, suites.parse(sizes))
    paths = bench_report.write(content, out)
    click.echo(bench_report.table(content["rows"]))
    click.echo(
        f"{paths['json']}: {suite} on {content['hardware']['cpu']}, {content['hardware']['cores_usable']} cores"
    )
    click.echo(f"{paths['markdown']}: the report as text")


if __name__ == "__main__":
    main()
