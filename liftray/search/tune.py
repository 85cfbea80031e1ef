"""The search: Ray Tune over whole Ray Train runs, best model registered.

Invariant: trials see training and validation data only; test sets are scored once, for the trial that validation chose.
A trial's directory is named by its values, so the same command goes on and repeats no finished trial.
"""

from pathlib import Path
from typing import Any

from liftray import files
from liftray.config import Settings
from liftray.errors import LiftrayError
from liftray.progress import say
from liftray.search import pareto, space
from liftray.track import runs
from liftray.train import cluster, launch
from liftray.train.run import RUN_FILE, SUMMARY, earlier_run, train

METRIC = "valid/q3"
_TRIALS = "trials"


def search(settings: Settings) -> dict[str, Any]:
    """Search, then evaluate and register the best trial's model.

    Args:
        settings: `search` says what is tried; the rest is what all trials share.

    Returns:
        What `summary.json` holds: `best` and `trials`.

    Raises:
        InputError: Something the user gave is at fault; nothing was written.
        LiftrayError: No trial finished.
    """
    prepared = launch.prepare(settings)
    say(prepared.backbone.describe())
    trials = space.check(settings, prepared.backbone.num_blocks, prepared.backbone.name)
    cluster.check(settings)
    uri = runs.check(settings.tracking.uri)
    out = Path(settings.run.dir).resolve()
    say(f"tune: {trials} trials of {', '.join(settings.search.space)}")
    with cluster.connected(settings, dashboard=True):
        out.mkdir(parents=True, exist_ok=True)
        with runs.start_run(settings, tags={"liftray.search": "parent"}) as parent:
            rows = _run_trials(settings, out, uri, parent.run_id)
            finished = [row for row in rows if row["state"] == "finished"]
            if not finished:
                raise LiftrayError(
                    "no trial finished", where=str(out), remedy="see the trials' errors in summary.json"
                )
            best = max(finished, key=lambda row: row["metrics"][METRIC])
            chosen = _settings_of(settings, best["config"], out).replace(
                {
                    "registry.name": settings.registry.name,
                    "data.test": settings.data.test,
                    "evaluate.baselines": settings.evaluate.baselines,
                }
            )
            say(f"tune: best on validation: {best['config']}; evaluating and registering it")
            result = train(chosen, parent_run_id=parent.run_id)
            summary = _summary(best, result, rows, parent.run_id)
            pareto.write(out, rows)
            files.write_json(out / SUMMARY, summary)
            parent.log_metrics({f"best/{name}": value for name, value in best["metrics"].items()})
            for name in ("trials.csv", "pareto.png", SUMMARY):
                parent.log_artifacts(out / name)
    return summary


def _run_trials(settings: Settings, out: Path, uri: str, parent_run_id: str) -> list[dict[str, Any]]:
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler

    shared = settings.replace({"tracking.uri": uri, "run.dir": str(out)})

    def trial(overrides: dict[str, Any]) -> None:
        _trial(shared, overrides, parent_run_id)

    asha = ASHAScheduler(
        metric=METRIC, mode="max", time_attr="training_iteration", max_t=settings.train.epochs
    )
    tuner = tune.Tuner(
        # The trial itself only waits: its workers are Ray Train's and reserve CPUs and GPUs of their own. Tune
        # refuses an empty request, so it asks for a byte.
        tune.with_resources(trial, {"cpu": 0, "memory": 1}),
        param_space=space.parameters(settings),
        tune_config=tune.TuneConfig(
            num_samples=1 if settings.search.method == "grid" else settings.search.num_trials,
            max_concurrent_trials=_concurrent(settings),
            scheduler=asha if settings.search.scheduler == "asha" else None,
            reuse_actors=False,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(out),
            verbose=0,
            callbacks=[_teller()],
            failure_config=tune.FailureConfig(max_failures=0),
        ),
    )
    return [_row(result, settings) for result in tuner.fit()]


def _concurrent(settings: Settings) -> int:
    """Trials at a time: no more than asked for, and no more than whose workers the cluster can hold."""
    import ray

    have, scaling = ray.cluster_resources(), settings.scaling
    fit = int(have["CPU"] // (scaling.num_workers * scaling.cpus_per_worker))
    if scaling.use_gpu:
        fit = min(fit, int(have.get("GPU", 0) // scaling.num_workers))
    return max(1, min(settings.search.max_concurrent, fit))


def _trial(settings: Settings, overrides: dict[str, Any], parent_run_id: str) -> None:
    """One trial: a whole Ray Train run, in the MLflow run of its own below the search's."""
    from ray.tune.integration.ray_train import TuneReportCallback

    from liftray.train.reporter import Reporter

    ours = _settings_of(settings, overrides, Path(settings.run.dir))
    run_dir = Path(ours.run.dir)
    run_dir.mkdir(parents=True, exist_ok=True)
    run_id = earlier_run(run_dir, ours, settings.tracking.uri)
    with runs.start_run(ours, run_id=run_id, parent_run_id=parent_run_id, system_metrics_s=None) as run:
        files.write_json(run_dir / RUN_FILE, {"run_id": run.run_id, "tracking_uri": run.uri})
        reporter = Reporter(run.uri, run.run_id, run_dir)
        saved = launch.fit(launch.prepare(ours), run_dir, [reporter, TuneReportCallback()])
        _report_best(saved.progress.history)


def _report_best(history: list[dict[str, Any]]) -> None:
    """Close a trial with its best epoch, whose weights it kept: Tune judges a trial by its last report."""
    from ray import tune

    best = max(history, key=lambda record: float(record[METRIC]))
    tune.report({**best, "finished": True})


def _settings_of(settings: Settings, overrides: dict[str, Any], out: Path) -> Settings:
    return settings.replace(
        {
            **overrides,
            "run.dir": str(out / _TRIALS / space.trial_name(overrides)),
            "registry.name": "",
            "data.test": {},
            "evaluate.baselines": [],
            "train.checkpoint_steps": 0,
            "tracking.run_name": space.trial_name(overrides),
            "search.space": {},
        }
    )


def _teller() -> Any:
    """Tells the person who watches how trials end."""
    from ray.tune import Callback

    class Teller(Callback):
        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            self._tell(trial, "ended")

        def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            self._tell(trial, "failed")

        def _tell(self, trial: Any, how: str) -> None:
            score = (trial.last_result or {}).get(METRIC)
            told = f", validation Q3 {100 * score:.2f}" if score is not None else ""
            say(f"tune: trial {how}: {trial.config}{told}")

    return Teller()


def _row(result: Any, settings: Settings) -> dict[str, Any]:
    metrics = result.metrics or {}
    numbers = {
        name: metrics[name]
        for name in metrics
        if name.startswith(("valid/", "train/")) and isinstance(metrics[name], int | float)
    }
    config = {key: result.config[key] for key in settings.search.space} if result.config else {}
    state = "error" if result.error else "finished" if metrics.get("finished") else "stopped"
    return {
        "config": config,
        "state": state,
        "metrics": numbers,
        "seconds": float(metrics.get("time_total_s", 0.0)),
        **({"error": str(result.error).splitlines()[-1]} if result.error else {}),
    }


def _summary(
    best: dict[str, Any], result: dict[str, Any], rows: list[dict[str, Any]], run_id: str
) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "best": {
            "config": best["config"],
            "metrics": result["metrics"],
            "bundle": result["bundle"],
            "run_id": result["run_id"],
            "model_uri": result["model_uri"],
        },
        "trials": rows,
    }
