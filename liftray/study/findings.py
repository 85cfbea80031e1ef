"""The findings of a study as one JSON-ready whole: arms with their scores and costs, and the claims answered.

Invariant: no score is given without its interval and the spread of its seeds. An arm with a run that did not finish is
named and compared with nothing. Flow: ledger, outcomes, claims -> [this] -> study_report.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from liftray import sealed
from liftray.config import DataSettings, Settings
from liftray.data.dataset import ProteinDataset
from liftray.evaluate.leakage import Leakage
from liftray.search.ledger import Ledger, Trial
from liftray.search.space import Overrides
from liftray.search.trial import CHAINS
from liftray.study import baselines, claims, held_out, inference, outcomes
from liftray.study.claims import POOLED, VALIDATION, Evidence, ResolvedClaim
from liftray.study.outcomes import ArmCounts
from liftray.study.plan import Arm, Plan


@dataclass(frozen=True)
class FinishedStudy:
    """A study whose runs have ended.

    Attributes:
        plan: What was run.
        settings: The study's config, with the training data that the runs saw.
        ledger: How each run ended.
        chosen: Values of each complete arm.
        baselines: Names of the baselines that were predicted.
        leakage: By test set.
    """

    plan: Plan
    settings: Settings
    ledger: Ledger
    chosen: Mapping[str, Overrides]
    baselines: Sequence[str]
    leakage: Mapping[str, Leakage]

    @property
    def arms(self) -> list[Arm]:
        """Those whose runs all finished."""
        return [arm for arm in self.plan.arms if arm.name in self.chosen]

    def trials(self, arm: Arm) -> list[Trial]:
        """The final runs of an arm, one for each seed."""
        runs = [self.ledger.find(run) for run in self.plan.runs(arm, self.chosen)]
        return [trial for trial in runs if trial is not None]


def gather(study: FinishedStudy) -> dict[str, Any]:
    """Read and compare everything.

    Args:
        study: The study.

    Returns:
        JSON-ready: `scores`, `seeds`, `choose`, `sets` (of each: chains, residues, leakage), `groups`, `arms` (of each:
        `text`, `overrides`, `chosen`, `tries`, `runs`, `parameters`, costs, and by set each score with `_ci95`,
        `_seed_sd`, `_by_seed`), `baselines` (scores by set), `claims`, `incomplete` (arms and why).

    Raises:
        DataError: Runs were scored on different chains.
    """
    plan, settings = study.plan.study, study.settings
    sets = _sets(study)
    resamples = settings.evaluate.resamples
    evidence = Evidence(sets, plan.scores[0], resamples, further=tuple(plan.scores[1:]))
    titles = [baselines.TITLES[name] for name in study.baselines]
    return {
        "scores": list(plan.scores),
        "seeds": list(plan.seeds),
        "choose": dict(plan.choose),
        "resamples": resamples,
        "task": settings.task,
        "ss3_map": settings.ss3_map,
        "sets": {name: _about(counts) | _leaked(study, name) for name, counts in sets.items() if counts},
        "groups": _groups(study),
        "arms": {
            arm.name: {**_of_arm(study, arm), "scores": scores_of(sets, arm.name, resamples)}
            for arm in study.arms
        },
        "baselines": {title: scores_of(sets, title, resamples) for title in titles},
        "claims": _answers(study, evidence),
        "incomplete": _incomplete(study),
    }


def _sets(study: FinishedStudy) -> dict[str, dict[str, ArmCounts]]:
    """Set -> arm or baseline -> its counts on each chain."""
    data, out = study.settings.data, study.ledger.out
    sets: dict[str, dict[str, ArmCounts]] = {name: {} for name in (VALIDATION, *data.test)}
    for arm in study.arms:
        folders = [study.ledger.directory(trial) for trial in study.trials(arm)]
        sets[VALIDATION][arm.name] = outcomes.read([folder / CHAINS for folder in folders])
        for name in data.test:
            sets[name][arm.name] = outcomes.read([held_out.file_of(folder, name) for folder in folders])
    for baseline in study.baselines:
        title = baselines.TITLES[baseline]
        valid = {
            name: outcomes.read([baselines.file_of(out, baseline, "valid", name)]) for name in data.valid
        }
        sets[VALIDATION][title] = outcomes.pooled(valid)
        for name in data.test:
            sets[name][title] = outcomes.read([baselines.file_of(out, baseline, "test", name)])
    clean = [name for name in data.test if not study.leakage[name]["leaky"]]
    if clean:
        sets[POOLED] = {
            who: outcomes.pooled({name: sets[name][who] for name in clean}) for who in sets[VALIDATION]
        }
    return sets


def _about(arms: Mapping[str, ArmCounts]) -> dict[str, Any]:
    scores = next(iter(arms.values()))
    counts = next(iter(scores.values()))
    return {"chains": len(counts.chains), "residues": int(counts.size_N.sum()), "scores": list(scores)}


def _leaked(study: FinishedStudy, name: str) -> dict[str, Any]:
    leakage = study.leakage.get(name)
    return {} if leakage is None else {"leaky": leakage["leaky"], "leaked_share": leakage["share"]}


def scores_of(sets: Mapping[str, Mapping[str, ArmCounts]], who: str, resamples: int) -> dict[str, Any]:
    """The scores of an arm or a baseline.

    Args:
        sets: Set -> arm or baseline -> counts.
        who: The arm or the baseline.
        resamples: Bootstrap resamples.

    Returns:
        Set -> each score with `_ci95`, `_seed_sd` and `_by_seed`.
    """
    by_set: dict[str, Any] = {}
    for name, arms in sets.items():
        row: dict[str, Any] = {}
        by_set[name] = row
        intervals = inference.intervals(arms[who], resamples=resamples)
        for score, counts in arms[who].items():
            row[score] = counts.score
            row[f"{score}_ci95"] = None if (bounds := intervals[score]) is None else list(bounds)
            row[f"{score}_seed_sd"] = counts.seed_sd
            row[f"{score}_by_seed"] = counts.by_seed
    return by_set


def _groups(study: FinishedStudy) -> dict[str, list[str]]:
    """Group -> complete arms; those of no group come last."""
    complete = {arm.name for arm in study.arms}
    groups = {
        name: [arm for arm in arms if arm in complete] for name, arms in study.plan.study.groups.items()
    }
    grouped = {arm for arms in groups.values() for arm in arms}
    others = [arm.name for arm in study.arms if arm.name not in grouped]
    return {**groups, **({"other arms" if groups else "arms": others} if others else {})}


def _of_arm(study: FinishedStudy, arm: Arm) -> dict[str, Any]:
    trials = study.trials(arm)
    plan = study.plan.study
    ours = study.plan.base.replace(arm.run(study.chosen[arm.name], plan.seeds[0]))
    parameters = study.ledger.directory(trials[0]) / held_out.PARAMETERS
    counts = sealed.read_json(parameters)
    counts["in_backbone"] = counts["trained"] - counts["head"]
    # The first seed's run was a try, whose process may have run others before and kept some of their memory.
    peaks = [trial.metrics["peak_memory_gb"] for trial in trials[1:] if "peak_memory_gb" in trial.metrics]
    score = f"valid/{plan.scores[0]}"
    tries = [(values, study.ledger.find(arm.run(values, plan.seeds[0]))) for values in arm.tries]
    return {
        "text": arm.text,
        "method": ours.method,
        "overrides": arm.overrides,
        "chosen": study.chosen[arm.name],
        "tries": [
            {"values": values, "validation": one.metrics[score]} for values, one in tries if one is not None
        ],
        "parameters": {**counts, "share_of_backbone": counts["in_backbone"] / counts["backbone"]},
        "runs": [_run(trial) for trial in trials],
        "seconds_per_epoch": statistics.median(trial.metrics["seconds_per_epoch"] for trial in trials),
        "train_seconds": statistics.median(_train_seconds(trial) for trial in trials),
        "seconds": statistics.median(trial.seconds for trial in trials),
        "peak_memory_gb": max(peaks) if peaks else None,
        "cached": all(trial.cached for trial in trials),
    }


def _run(trial: Trial) -> dict[str, Any]:
    return {
        "name": trial.name,
        "seed": trial.config["train.seed"],
        "run_id": trial.run_id,
        "best_epoch": int(trial.metrics["epoch"]),
        "epochs": len(trial.history),
        "train_seconds": round(_train_seconds(trial), 3),
        "seconds": trial.seconds,
    }


def _train_seconds(trial: Trial) -> float:
    return float(sum(record["train/seconds"] for record in trial.history))


def _answers(study: FinishedStudy, evidence: Evidence) -> dict[str, Any]:
    complete = {arm.name for arm in study.arms}
    resolved: dict[str, ResolvedClaim] = {}
    answers: dict[str, Any] = {}
    for name, claim in study.plan.study.claims.items():
        arms, than = study.plan.members(claim.arms), study.plan.members(claim.than)
        missing = [arm for arm in (*arms, *than) if arm not in complete]
        if not missing:
            resolved[name] = ResolvedClaim(claim, arms, than)
        answers[name] = {
            "says": claim.says,
            "kind": claim.kind,
            "verdict": "not answered",
            "sentence": f"Not answered: {', '.join(missing)} did not finish.",
        }
    return {**answers, **claims.answer(resolved, evidence)}


def _incomplete(study: FinishedStudy) -> dict[str, list[str]]:
    """Arm -> why its runs are not all finished."""
    incomplete = {}
    for arm in study.plan.arms:
        if arm.name not in study.chosen:
            first = study.plan.study.seeds[0]
            trials = [study.ledger.find(arm.run(values, first)) for values in arm.tries]
            reasons = [one.reason for one in trials if one is not None and one.state != "finished"]
            incomplete[arm.name] = list(dict.fromkeys(reasons)) or ["a run with another seed did not finish"]
    return incomplete


def digests(data: DataSettings) -> dict[str, dict[str, Any]]:
    """Split -> set -> digest, chains and residues of its data set."""
    splits = {"train": data.train, "valid": data.valid, "test": data.test}
    return {
        split: {name: _content(ProteinDataset.open(path)) for name, path in paths.items()}
        for split, paths in splits.items()
    }


def _content(dataset: ProteinDataset) -> dict[str, Any]:
    lengths = dataset.index().lengths
    return {"digest": dataset.digest, "chains": dataset.num_chains, "residues": int(lengths.sum())}
