"""Predict the secondary structure of FASTA files with a bundle or a registered model.

Every chain is in each prediction file or, with its reason, in errors.jsonl. One process predicts: neither
Ray nor a GPU is needed.
"""

import click

from liftray.cli import job, model_option, tracking_option


@job
@model_option
@click.option(
    "--input", "inputs", required=True, multiple=True, metavar="FILE...", help="FASTA, gzip or not."
)
@click.option("--out", required=True, metavar="DIR", help="Where the predictions go.")
@click.option(
    "--formats",
    default="three-line",
    metavar="NAME,...",
    help="Of three-line, csv, json, parquet, ss2, horiz; default: three-line.",
)
@tracking_option
def main(model: str, inputs: tuple[str, ...], out: str, formats: str, tracking_uri: str) -> None:
    from liftray.predict.run import predict_files
    from liftray.track.promotion.registry import locate, resolve

    # An alias may move at any time: what is fetched is the version that the predictions name.
    found = locate(model, tracking_uri)
    uri = f"models:/{found['name']}/{found['version']}" if found else model
    summary = predict_files(
        resolve(uri, tracking_uri),
        inputs,
        out,
        [name.strip() for name in formats.split(",") if name.strip()],
        name=found.get("name"),
        version=str(found["version"]) if found else None,
    )
    files = ", ".join(
        summary["files"][name] for name in summary["files"] if name not in ("errors", "summary")
    )
    click.echo(f"{out}: {summary['predicted']} chains, {summary['residues']} residues in {files}")
    if summary["refused"]:
        reasons = ", ".join(f"{count} {reason}" for reason, count in summary["reasons"].items())
        click.echo(f"{out}/{summary['files']['errors']}: {summary['refused']} records refused ({reasons})")


if __name__ == "__main__":
    main()
