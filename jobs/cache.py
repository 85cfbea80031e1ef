"""Fill the cache of the frozen blocks' hidden states for a run's backbone, cut and data sets.

Training and searches with the same backbone and cut read it instead of computing it; they fill what is missing
themselves, so this job only moves that work to another time or place. Run again, it computes what is missing or
damaged.
"""

import click

from liftray.cli import config_options, job
from liftray.config import Settings


@job
@config_options
def main(settings: Settings) -> None:
    from liftray.train.prefill import prefill

    for what, value in prefill(settings).items():
        click.echo(f"{what:12} {value}")


if __name__ == "__main__":
    main()
