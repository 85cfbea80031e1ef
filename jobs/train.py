"""Train adapters on a frozen protein language model, evaluate, log to MLflow and register the model.

The same command resumes a run that was interrupted. To read the code: liftray/train/train_job.py (the whole job),
prepare.py (the checks), launch.py (the start of Ray Train), rank.py (one rank) and step.py (one micro-batch).
"""

import click

import liftray
from liftray.cli import job
from liftray.config import Settings
from liftray.options import config_options


@job
@config_options
def main(settings: Settings) -> None:
    from liftray.evaluate.evaluation_report import paired_lines, render_table, show

    summary = liftray.train(settings).summary
    if "verdict" in summary:  # not in a run that version 0.1 finished
        click.echo(summary["verdict"]["sentence"])
    show(render_table(summary["metrics"], summary["baselines"], summary["leakage"], model=settings.method))
    for line in paired_lines(summary["paired"].get("frozen", {}), "the frozen backbone"):
        click.echo(line)
    for what in ("run_dir", "bundle", "model_uri", "run_id", "tracking_uri"):
        click.echo(f"{what:12} {summary[what]}")


if __name__ == "__main__":
    main()
