"""Fill the cache of the frozen blocks' hidden states for a run's backbone, cut and data sets.

Training and searches with the same backbone and cut then read these states instead of computing them. They also fill
the cache themselves: this job only does that work earlier, or on another machine. Rerun the job to compute missing or
damaged entries.
"""

import click

from liftray.cli import job
from liftray.config import Settings
from liftray.options import config_options


@job
@config_options
def main(settings: Settings) -> None:
    from liftray.train.prefill import prefill

    for what, value in prefill(settings).items():
        click.echo(f"{what:12} {value}")


if __name__ == "__main__":
    main()
