"""What the public functions return: frozen records with the paths, scores and tables of a result.

Invariant: each record holds plain values that its job also writes to `summary.json`; scores are fractions from 0 to 1.
Imports nothing heavy; pandas is imported by `to_pandas` alone. Flow: jobs' functions -> [this] -> `liftray.api`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from liftray.evaluate.leakage import Leakage

_CI = "_ci95"


@dataclass(frozen=True)
class IngestResult:
    """A Parquet data set that was written.

    Attributes:
        path: Its directory.
        alphabet: ss3, ss8 or ss9.
        num_chains: Chains in it.
        num_residues: Residues in it.
        num_quarantined: Records that were not taken; `quarantine` lists them with their reasons.
        digest: Digest of the content; it depends neither on the file layout nor on the order of the rows.
        summary: The content of `summary.json`.
    """

    path: Path
    alphabet: str
    num_chains: int
    num_residues: int
    num_quarantined: int
    digest: str
    summary: Mapping[str, Any]

    @property
    def quarantine(self) -> Path:
        """JSON lines, one for each quarantined record: file, line, id and reason."""
        return self.path / "quarantine.jsonl"

    def to_pandas(self) -> "pd.DataFrame":
        """Read the data set: columns `id`, `sequence`, `ss`, `length` and `source`, a row for each chain."""
        import pandas as pd

        return pd.concat(map(pd.read_parquet, sorted(self.path.glob("*.parquet"))), ignore_index=True)


@dataclass(frozen=True)
class PredictionFiles:
    """The files of a prediction.

    Attributes:
        out: Their directory.
        files: Format -> path; `errors` is the list of refused records, `summary` the summary.
        predicted: Number of predicted chains.
        refused: Number of records without a prediction.
        reasons: Reason -> number of refused records.
        residues: Number of predicted residues.
        summary: The content of `summary.json`.
    """

    out: Path
    files: Mapping[str, Path]
    predicted: int
    refused: int
    reasons: Mapping[str, int]
    residues: int
    summary: Mapping[str, Any]

    def to_pandas(self) -> "pd.DataFrame":
        """Give the files as a table with the columns `format` and `path`."""
        import pandas as pd

        rows = [(format_, str(path)) for format_, path in self.files.items()]
        return pd.DataFrame(rows, columns=["format", "path"])


@dataclass(frozen=True)
class TrainResult:
    """A finished training run.

    Attributes:
        run_dir: The run directory.
        bundle: The trained model's bundle.
        model_uri: Address of the registered version, or of the run's bundle where none was registered.
        run_id: The MLflow run.
        tracking_uri: The MLflow store.
        verdict: Comparison with the best baseline: `sentence`, `better`, `set`, `baseline`, `scores`; empty for a run
            that version 0.1 finished.
        metrics: Set -> scores with `..._ci95`, as in `summary.json`.
        baselines: Baseline -> set -> scores.
        summary: The content of `summary.json`.
    """

    run_dir: Path
    bundle: Path
    model_uri: str
    run_id: str
    tracking_uri: str
    verdict: Mapping[str, Any]
    metrics: Mapping[str, Mapping[str, Any]]
    baselines: Mapping[str, Mapping[str, Any]]
    summary: Mapping[str, Any]

    @classmethod
    def of(cls, summary: Mapping[str, Any]) -> "TrainResult":
        """Make the result from the content of `summary.json`."""
        return cls(
            run_dir=Path(summary["run_dir"]),
            bundle=Path(summary["bundle"]),
            model_uri=summary["model_uri"],
            run_id=summary["run_id"],
            tracking_uri=summary["tracking_uri"],
            verdict=summary.get("verdict", {}),
            metrics=summary["metrics"],
            baselines=summary["baselines"],
            summary=summary,
        )

    def to_pandas(self) -> "pd.DataFrame":
        """Give the scores as a table; see `EvaluationResult.to_pandas`."""
        return _score_table({"model": self.metrics, **self.baselines})


@dataclass(frozen=True)
class EvaluationResult:
    """The scores of a model on data sets.

    Attributes:
        verdict: Comparison with the best baseline: `sentence`, `better`, `set`, `baseline`, `scores`.
        metrics: Set -> scores with `..._ci95`, as in `metrics.json`.
        baselines: Baseline -> set -> scores; empty without training sets.
        against: Set -> scores of the other model; empty without one.
        paired: Set -> score -> `difference`, `ci95`, `p`; empty without another model.
        leakage: Set -> share of chains that training has seen; empty where it was not measured.
        out: Directory of the report and the tables; None where none were written.
        model: The model's name in tables: its address, or the end of its path.
        other: The other model's name; "" without one.
    """

    verdict: Mapping[str, Any]
    metrics: Mapping[str, Mapping[str, Any]]
    baselines: Mapping[str, Mapping[str, Any]]
    against: Mapping[str, Mapping[str, Any]]
    paired: Mapping[str, Mapping[str, Any]]
    leakage: Mapping[str, "Leakage"]
    out: Path | None
    model: str
    other: str

    @classmethod
    def of(cls, result: Mapping[str, Any], out: Path | None, model: str, other: str) -> "EvaluationResult":
        """Make the result from the content of `metrics.json`."""
        return cls(
            verdict=result["verdict"],
            metrics=result["metrics"],
            baselines=result.get("baselines", {}),
            against=result.get("against", {}),
            paired=result.get("paired", {}),
            leakage=result.get("leakage", {}),
            out=out,
            model=model,
            other=other,
        )

    def to_pandas(self) -> "pd.DataFrame":
        """Give the scores as a table with a row for each model, set and score.

        Returns:
            Columns `model` (`model`, `against` or a baseline's name), `set`, `score`, `value`, `ci95_low` and
            `ci95_high`; fractions, NaN where a score has no interval.
        """
        scored = {"model": self.metrics, **({"against": self.against} if self.against else {})}
        return _score_table({**scored, **self.baselines})


@dataclass(frozen=True)
class SearchResult:
    """A finished search.

    Attributes:
        out: The search directory.
        best: `config`, `metrics`, `bundle`, `run_id` and `model_uri` of the trial that validation chose.
        trials: One entry for each trial: `config`, `state`, `metrics`, `seconds`.
        summary: The content of `summary.json`.
    """

    out: Path
    best: Mapping[str, Any]
    trials: tuple[Mapping[str, Any], ...]
    summary: Mapping[str, Any]

    @property
    def model_uri(self) -> str:
        """Address of the best trial's model."""
        return str(self.best["model_uri"])

    def to_pandas(self) -> "pd.DataFrame":
        """Give the trials as a table with a row for each trial: its config keys, `state`, `seconds` and metrics."""
        import pandas as pd

        return pd.DataFrame(
            [
                {**row["config"], "state": row["state"], "seconds": row["seconds"], **row["metrics"]}
                for row in self.trials
            ]
        )


@dataclass(frozen=True)
class PromotionResult:
    """A promotion that the gates allowed.

    Attributes:
        name: Registered model.
        version: The version that is champion now, or would be after a dry run.
        previous: The champion before; None where there was none.
        changed: Whether the alias was moved.
        verdict: What each gate found; None where the version was champion already.
        entry: The ledger's entry; None where nothing was changed.
    """

    name: str
    version: int
    previous: int | None
    changed: bool
    verdict: Mapping[str, Any] | None
    entry: Mapping[str, Any] | None

    def to_pandas(self) -> "pd.DataFrame":
        """Give the verdict as a table with the columns `gate`, `passed` and `reasons`."""
        import pandas as pd

        gates = (self.verdict or {}).get("gates", [])
        rows = [(gate["gate"], gate["passed"], ", ".join(gate["reasons"])) for gate in gates]
        return pd.DataFrame(rows, columns=["gate", "passed", "reasons"])


def _score_table(scored: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> "pd.DataFrame":
    import pandas as pd

    columns = ["model", "set", "score", "value", "ci95_low", "ci95_high"]
    return pd.DataFrame(list(score_rows(scored)), columns=columns)


def score_rows(
    scored: Mapping[str, Mapping[str, Mapping[str, Any]]],
) -> Iterator[tuple[str, str, str, float, float | None, float | None]]:
    """Flatten scores.

    Args:
        scored: Model -> set -> score -> value; an interval is the entry `SCORE_ci95`.

    Yields:
        (model, set, score, value, lower end, upper end); the ends are None where a score has no interval.
    """
    for model, sets in scored.items():
        for name, scores in sets.items():
            for score, value in scores.items():
                if isinstance(value, int | float) and not isinstance(value, bool):
                    low, high = scores.get(f"{score}{_CI}") or (None, None)
                    yield model, name, score, value, low, high
