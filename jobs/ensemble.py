"""Merge trained models, such as those of several seeds, into one bundle that predicts their mean probabilities.

The models must have the same task, ss3_map, data.max_length and backbone. A prediction takes as long as one with each
of the models. The new bundle has no scores yet: run `liftray evaluate`.
"""

from pathlib import Path

import click

from liftray.cli import job
from liftray.options import local_path, tracking_option


@job
@click.option(
    "--model",
    "models",
    required=True,
    multiple=True,
    metavar="URI...",
    help="Two models or more, each a bundle's directory, runs:/ID/bundle, models:/NAME/3 or models:/NAME@champion.",
)
@click.option(
    "--out", type=local_path, required=True, metavar="DIR", help="Directory for bundle/ and summary.json."
)
@tracking_option
def main(models: tuple[str, ...], out: str, tracking_uri: str) -> None:
    from liftray import files
    from liftray.predict.merge import merge
    from liftray.track.mlflow.versions import resolve

    place = Path(out) / "bundle"
    info = merge([resolve(uri, tracking_uri) for uri in models], place)
    files.write_json(
        Path(out) / "summary.json",
        {"bundle": str(place), "models": list(models), "parameters": info["parameters"]},
    )
    click.echo(f"{place}: {len(models)} models, {info['parameters']['trained']} trained parameters")


if __name__ == "__main__":
    main()
