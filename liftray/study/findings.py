"""What a study found, as one JSON-ready whole: arms with their scores and costs, and the claims answered.

Invariant: no score stands without its interval and the spread of its seeds; an arm with a run that did not finish is
named and compared with nothing. Flow: ledger, outcomes, claims -> [this] -> report.
"""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from liftray.config import DataSettings, Settings
from liftray.data.dataset import ProteinDataset
from liftray.evaluate.leakage import Leakage
from liftray.search.ledger import Ledger, Trial
from liftray.search.space import Overrides
from liftray.search.trial import CHAINS
from liftray.study import claims, held_out, inference, outcomes, rivals
from liftray.study.claims import POOLED, VALIDATION, Asked, Evidence
from liftray.study.outcomes import ArmCounts
from liftray.study.plan import Arm, Plan


@dataclass(frozen=True)
class Done:
    """A study whose runs have ended.

    Attributes:
        plan: What was run.
        settings: The study's config, with the training data that the runs saw.
        ledger: How each run ended.
        chosen: Values of each complete arm.
        rivals: Baselines that were predicted.
        leakage: By test set.
    """

    plan: Plan
    settings: Settings
    ledger: Ledger
    chosen: Mapping[str, Overrides]
    rivals: Sequence[str]
    leakage: Mapping[str, Leakage]

    @property
    def arms(self) -> list[Arm]:
        """Those whose runs all finished."""
        return [arm for arm in self.plan.arms if arm.name in self.chosen]

    def trials(self, arm: Arm) -> list[Trial]:
        """The runs that stand for an arm, one a seed."""
        found = [self.ledger.find(run) for run in self.plan.runs(arm, self.chosen)]
        return [trial for trial in found if trial is not None]


def gather(done: Done) -> dict[str, Any]:
    """Read and compare everything.

    Args:
        done: The study.

    Returns:
        JSON-ready: `scores`, `seeds`, `choose`, `sets` (of each: chains, residues, leakage), `groups`, `arms` (of each:
        `text`, `overrides`, `chosen`, `tries`, `runs`, `parameters`, costs, and by set each score with `_ci95`,
        `_seed_sd`, `_by_seed`), `rivals` (scores by set), `claims`, `incomplete` (arms and why).

    Raises:
        DataError: Runs were scored on different chains.
    """
    study, settings = done.plan.study, done.settings
    sets = _sets(done)
    resamples = settings.evaluate.resamples
    evidence = Evidence(sets, study.scores[0], resamples, further=tuple(study.scores[1:]))
    return {
        "scores": list(study.scores),
        "seeds": list(study.seeds),
        "choose": dict(study.choose),
        "resamples": resamples,
        "task": settings.task,
        "ss3_map": settings.ss3_map,
        "sets": {name: _about(samples) | _leak(done, name) for name, samples in sets.items() if samples},
        "groups": _groups(done),
        "arms": {
            arm.name: {**_of_arm(done, arm), "scores": scores_of(sets, arm.name, resamples)}
            for arm in done.arms
        },
        "rivals": {
            rivals.TITLES[name]: scores_of(sets, rivals.TITLES[name], resamples) for name in done.rivals
        },
        "claims": _answers(done, evidence),
        "incomplete": _incomplete(done),
    }


def _sets(done: Done) -> dict[str, dict[str, ArmCounts]]:
    """Set -> arm or baseline -> its chains."""
    data, out = done.settings.data, done.ledger.out
    sets: dict[str, dict[str, ArmCounts]] = {name: {} for name in (VALIDATION, *data.test)}
    for arm in done.arms:
        folders = [done.ledger.directory(trial) for trial in done.trials(arm)]
        sets[VALIDATION][arm.name] = outcomes.read([folder / CHAINS for folder in folders])
        for name in data.test:
            sets[name][arm.name] = outcomes.read([held_out.file_of(folder, name) for folder in folders])
    for rival in done.rivals:
        title = rivals.TITLES[rival]
        valid = {name: outcomes.read([rivals.file_of(out, rival, "valid", name)]) for name in data.valid}
        sets[VALIDATION][title] = outcomes.pooled(valid)
        for name in data.test:
            sets[name][title] = outcomes.read([rivals.file_of(out, rival, "test", name)])
    clean = [name for name in data.test if not done.leakage[name]["leaky"]]
    if clean:
        sets[POOLED] = {
            who: outcomes.pooled({name: sets[name][who] for name in clean}) for who in sets[VALIDATION]
        }
    return sets


def _about(samples: Mapping[str, ArmCounts]) -> dict[str, Any]:
    accuracies = next(iter(samples.values()))
    counts = next(iter(accuracies.values()))
    return {"chains": len(counts.chains), "residues": int(counts.size_N.sum()), "scores": list(accuracies)}


def _leak(done: Done, name: str) -> dict[str, Any]:
    found = done.leakage.get(name)
    return {} if found is None else {"leaky": found["leaky"], "leaked_share": found["share"]}


def scores_of(sets: Mapping[str, Mapping[str, ArmCounts]], who: str, resamples: int) -> dict[str, Any]:
    """Set -> score -> value, interval and spread."""
    found: dict[str, Any] = {}
    for name, samples in sets.items():
        row: dict[str, Any] = {}
        found[name] = row
        bounds = inference.intervals(samples[who], resamples=resamples)
        for score, counts in samples[who].items():
            row[score] = counts.score
            row[f"{score}_ci95"] = None if (both := bounds[score]) is None else list(both)
            row[f"{score}_seed_sd"] = counts.seed_sd
            row[f"{score}_by_seed"] = counts.by_seed
    return found


def _groups(done: Done) -> dict[str, list[str]]:
    """Group -> complete arms; those of no group come last."""
    complete = {arm.name for arm in done.arms}
    groups = {name: [arm for arm in arms if arm in complete] for name, arms in done.plan.study.groups.items()}
    grouped = {arm for arms in groups.values() for arm in arms}
    others = [arm.name for arm in done.arms if arm.name not in grouped]
    return {**groups, **({"other arms" if groups else "arms": others} if others else {})}


def _of_arm(done: Done, arm: Arm) -> dict[str, Any]:
    trials = done.trials(arm)
    ours = done.plan.base.replace(arm.run(done.chosen[arm.name], done.plan.study.seeds[0]))
    counts = json.loads((done.ledger.directory(trials[0]) / held_out.PARAMETERS).read_text(encoding="utf-8"))
    counts["in_backbone"] = counts["trained"] - counts["head"]
    # The first seed's run was a try, whose process may have run others before and kept some of their memory.
    peaks = [trial.metrics["peak_memory_gb"] for trial in trials[1:] if "peak_memory_gb" in trial.metrics]
    score = f"valid/{done.plan.study.scores[0]}"
    first = done.plan.study.seeds[0]
    tried = [(values, done.ledger.find(arm.run(values, first))) for values in arm.tries]
    return {
        "text": arm.text,
        "method": ours.method,
        "overrides": arm.overrides,
        "chosen": done.chosen[arm.name],
        "tries": [
            {"values": values, "validation": one.metrics[score]} for values, one in tried if one is not None
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


def _answers(done: Done, evidence: Evidence) -> dict[str, Any]:
    complete = {arm.name for arm in done.arms}
    asked: dict[str, Asked] = {}
    found: dict[str, Any] = {}
    for name, claim in done.plan.study.claims.items():
        arms, than = done.plan.members(claim.arms), done.plan.members(claim.than)
        gone = [arm for arm in (*arms, *than) if arm not in complete]
        if not gone:
            asked[name] = Asked(claim, arms, than)
        found[name] = {
            "says": claim.says,
            "kind": claim.kind,
            "verdict": "not answered",
            "sentence": f"Not answered: {', '.join(gone)} did not finish.",
        }
    return {**found, **claims.answer(asked, evidence)}


def _incomplete(done: Done) -> dict[str, list[str]]:
    """Arm -> what is the matter with its runs."""
    found = {}
    for arm in done.plan.arms:
        if arm.name not in done.chosen:
            first = done.plan.study.seeds[0]
            trials = [done.ledger.find(arm.run(values, first)) for values in arm.tries]
            reasons = [one.reason for one in trials if one is not None and one.state != "finished"]
            found[arm.name] = list(dict.fromkeys(reasons)) or ["a run with another seed did not finish"]
    return found


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
