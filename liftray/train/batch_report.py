"""What a global step is made of, reported before training: micro-batches, workers, and how long workers wait.

Invariant: a worker that would have nothing to do is reported with the setting that gives it work.
Flow: prepared run -> [this] -> a line for the user.
"""

from liftray.progress import show_line
from liftray.train.prepare import PreparedRun


def report(prepared: PreparedRun) -> None:
    """Show how a global step is divided, and warn of workers that no step has work for.

    Args:
        prepared: The run.
    """
    feed, workers = prepared.feed, prepared.settings.scaling.num_workers
    turns, idle = feed.turns(workers), feed.idle_share(0, workers)
    tokens = feed.budget * feed.per_step if feed.step_tokens is None else feed.step_tokens
    show_line(
        f"batch: up to {tokens:,} tokens a global step = {workers} worker{'s' * (workers > 1)} x {turns} "
        f"micro-batch{'es' * (turns > 1)} of up to {feed.budget:,} tokens; workers are idle {idle:.1%} of the time"
    )
    without_work = workers - feed.per_step
    if without_work > 0:
        show_line(
            f"batch: {without_work} of {workers} workers have nothing to do in any step: "
            f"train.micro_batches_per_step={feed.per_step}; set train.tokens_per_step={tokens} in its place to split "
            "each step over all workers"
        )
