"""What a study would run and how long that takes, without starting it.

Flow: plan, estimate -> [this] -> the job's dry run.
"""

from pathlib import Path

from liftray.config import Settings
from liftray.search.ledger import Ledger
from liftray.search.space import trial_name
from liftray.study import estimate, plan
from liftray.study.estimate import finished
from liftray.train.prepare import prepare_run


def preview(settings: Settings) -> tuple[list[list[str]], str]:
    """What `study` would run, and about how long that takes here; starts and writes nothing.

    Args:
        settings: As for `study`.

    Returns:
        Rows of a table (the first is its header), and a sentence.

    Raises:
        InputError: The user's input is invalid.
    """
    prepared = prepare_run(settings)
    planned = plan.make(settings, prepared.backbone)
    at_a_time = settings.search.max_concurrent
    size = estimate.residues_of(settings, prepared)
    known = finished(Ledger(Path(settings.run.dir).resolve()))
    costs = estimate.costs(planned.base, planned.all_runs(plan.choose(planned, known)), size)
    rate = estimate.measure(prepared)
    rows = [["arm", "what it is", "tries", "runs", "minutes a run"]]
    for arm in planned.arms:
        names = [trial_name(arm.run(values, planned.study.seeds[0])) for values in arm.tries]
        many = len(arm.tries) + len(planned.study.seeds) - 1
        minutes = estimate.seconds([costs[names[0]]], rate, 1) / 60
        rows.append([arm.name, arm.text, str(len(arm.tries)), str(many), f"{minutes:.1f}"])
    left = [cost for name, cost in costs.items() if name not in known]
    models = len(planned.arms) * len(planned.study.seeds)
    tests = models * estimate.prediction(size.test, prepared.backbone.num_blocks)
    total = estimate.seconds(left, rate, at_a_time) + tests / rate / at_a_time
    return rows, (
        f"{len(costs)} runs, {len(costs) - len(left)} of them finished; {size.train:,} training, {size.valid:,} "
        f"validation and {size.test:,} test residues, at most {planned.base.train.epochs} epochs; about "
        f"{total / 60:,.0f} minutes at most, {at_a_time} at a time, at {rate:,.0f} blocks x residues/s a run, measured "
        "here now"
    )
