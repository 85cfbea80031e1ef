"""Options that several jobs share.

Invariant: an option means the same in every job, and a path on the command line is one of this machine with `~`
expanded. Flow: jobs -> [this]. Imports nothing heavy.
"""

import functools
from collections.abc import Callable
from typing import Any

import click

from liftray import paths, shipped


def config_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--config FILE [KEY=VALUE...] --print-config`; the function is called with the validated settings.

    Args:
        function: Takes the `liftray.config.Settings` as `settings`.

    Returns:
        The function with click's options applied, for `job`.
    """

    @functools.wraps(function)
    def with_settings(
        config: str | None,
        overrides: tuple[str, ...],
        print_config: bool,
        base_anywhere: bool,
        **others: Any,
    ) -> Any:
        from liftray.config import load, to_yaml

        if config is None and not print_config:
            raise click.UsageError("--config FILE is missing, for example --config configs/quickstart.yaml")
        given = config and shipped.config_file(paths.local(config))
        settings = load(given, overrides, base_anywhere=base_anywhere)
        if print_config:
            click.echo(to_yaml(settings), nl=False)
            return None
        return function(settings=settings, **others)

    for option in (
        click.option(
            "--base-anywhere",
            is_flag=True,
            help="Let the config's `base:` be outside the folder of the config.",
        ),
        click.option("--print-config", is_flag=True, help="Print the resolved config and do nothing else."),
        click.option("--config", metavar="FILE", help="YAML file; those of configs/ are always found."),
        click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]..."),
    ):
        with_settings = option(with_settings)
    return with_settings


class LocalPath(click.ParamType):
    """A path of this machine, with `~` expanded also where the shell does not: `--out=~/d`."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Expand `~`; an address is the user's error."""
        return paths.local(value)


local_path = LocalPath()


def label_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--alphabet`, `--labels` and `--set`: what the labels of files mean, and which part of a split is taken."""
    for option in (
        click.option(
            "--set",
            metavar="NAME",
            help="Take one part of a split that the files name (train, validation, test), or all.",
        ),
        click.option(
            "--labels",
            multiple=True,
            metavar="LABEL=STATE,...",
            help="What labels of the files mean: C=L, --labels=-=L, blank=X.",
        ),
        click.option(
            "--alphabet",
            type=click.Choice(["ss3", "ss8", "ss9"]),
            help="Alphabet of the labels; default: detected.",
        ),
    ):
        function = option(function)
    return function


model_option = click.option(
    "--model",
    required=True,
    metavar="URI",
    help="A bundle's directory, runs:/ID/bundle, models:/NAME/3 or models:/NAME@champion.",
)
tracking_option = click.option(
    "--tracking-uri",
    envvar="MLFLOW_TRACKING_URI",
    default="sqlite:///mlflow.db",
    metavar="URI",
    help="MLflow store of models:/ and runs:/; default: $MLFLOW_TRACKING_URI, else sqlite:///mlflow.db.",
)
