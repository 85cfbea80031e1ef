"""Scoring a model on whole data sets: every chain predicted once, every labelled residue counted once.

Invariant: scores come from the very predictions that `predict` gives for the same bundle; a chain that cannot be
predicted is an error, never left out. Flow: bundle + Parquet -> [this] -> metrics.json, per_protein.parquet, table.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from liftray import files
from liftray.data import labels
from liftray.data.dataset import ProteinDataset
from liftray.errors import DataError
from liftray.evaluate.bootstrap import compare, score_set
from liftray.evaluate.chains import PredictedSet, ScoredChain
from liftray.evaluate.leakage import Leakage, leakage
from liftray.predict.prediction import Prediction
from liftray.progress import Advance, progress

if TYPE_CHECKING:
    from liftray.predict.predictor import Predictor


def named_sets(arguments: Sequence[str]) -> dict[str, str]:
    """Read NAME=PATH arguments.

    Raises:
        DataError: One is of another form, or a name comes twice.
    """
    found: dict[str, str] = {}
    for argument in arguments:
        name, sign, path = argument.partition("=")
        if not (sign and name and path):
            raise DataError(f"{argument!r} is not NAME=PATH", remedy="write for example CASP12=data/casp12")
        if name in found:
            raise DataError(f"the set {name!r} is named twice", remedy="give each set a name of its own")
        found[name] = path
    return found


def labelled_chains(
    dataset: ProteinDataset, task: str, ss3_map: str
) -> Iterator[tuple[str, str, npt.NDArray[Any]]]:
    """The chains of a data set as (id, sequence, codes), labels mapped to a task's alphabet."""
    for record in dataset.iter_records():
        codes = labels.encode(record.ss, dataset.alphabet)
        yield record.id, record.sequence, labels.map_codes(codes, dataset.alphabet, task, ss3_map)


def common_alphabet(model: str, dataset: ProteinDataset) -> str:
    """The richest alphabet that both the model and the data set's labels can tell."""
    return min(model, dataset.alphabet, key=lambda name: len(labels.STATES[name]))


def predict_set(
    predictor: "Predictor", dataset: ProteinDataset, ss3_map: labels.Ss3Map, advance: Advance | None = None
) -> PredictedSet:
    """Predict every chain of a data set, beside its labels.

    Args:
        predictor: The model.
        dataset: A Parquet data set.
        ss3_map: How 9 states become 3.
        advance: Told after each chain.

    Returns:
        Chains in the data set's order, in the richest alphabet that model and labels share.

    Raises:
        DataError: A chain could not be predicted, or no residue is labelled.
    """
    task = common_alphabet(predictor.alphabet, dataset)
    pairs = ((record.id, record.sequence) for record in dataset.iter_records())
    chains = []
    results = predictor.predict(pairs)
    for (name, sequence, codes), result in zip(labelled_chains(dataset, task, ss3_map), results, strict=True):
        if not isinstance(result, Prediction):
            raise DataError(f"chain {name} cannot be scored ({result.detail})", where=dataset.path)
        mapped = result.mapped(task, ss3_map)
        chains.append(ScoredChain(name, sequence, codes, mapped.probabilities_LC))
        if advance is not None:
            advance(1)
    return PredictedSet(chains, task, ss3_map)


def predict_sets(
    predictor: "Predictor", paths: Mapping[str, str], ss3_map: labels.Ss3Map
) -> dict[str, PredictedSet]:
    """Predict several data sets, by name, with progress."""
    datasets = {name: ProteinDataset.open(path) for name, path in paths.items()}
    with progress("evaluate", sum(dataset.num_chains for dataset in datasets.values()), "chains") as advance:
        return {name: predict_set(predictor, dataset, ss3_map, advance) for name, dataset in datasets.items()}


def score_sets(sets: Mapping[str, PredictedSet], *, seed: int, resamples: int) -> dict[str, dict[str, Any]]:
    """Score several predicted sets, each with intervals; the shape of `metrics.json`."""
    return {name: score_set(predicted, seed=seed, resamples=resamples) for name, predicted in sets.items()}


def compare_sets(
    ours: Mapping[str, PredictedSet], theirs: Mapping[str, PredictedSet], *, seed: int, resamples: int
) -> dict[str, dict[str, Any]]:
    """Compare two models set by set on the same chains; the shape of `paired` in `metrics.json`."""
    return {
        name: compare(ours[name], theirs[name], seed=seed, resamples=resamples)
        for name in ours
        if name in theirs
    }


def leakage_of(train: Sequence[str], tests: Mapping[str, str]) -> dict[str, Leakage]:
    """How far each test set's chains stand in the training sets.

    Args:
        train: Paths of the training sets.
        tests: Name -> path of each test set.
    """
    found = {}
    for name, path in tests.items():
        sequences = (
            record.sequence for source in train for record in ProteinDataset.open(source).iter_records()
        )
        chains = ((record.id, record.sequence) for record in ProteinDataset.open(path).iter_records())
        found[name] = leakage(sequences, chains)
    return found


def evaluate(
    predictor: "Predictor",
    data: Mapping[str, str],
    out: Path,
    *,
    against: "Predictor | None" = None,
    train: Sequence[str] = (),
    resamples: int = 2000,
) -> dict[str, Any]:
    """Score a model on data sets and write `metrics.json`, `per_protein.parquet`, `report.html` and plots.

    Args:
        predictor: The model.
        data: Name -> Parquet data set.
        out: Directory for the results.
        against: A second model for a paired comparison on the same chains.
        train: Training sets, for the leakage share; without them none is given.
        resamples: Bootstrap and permutation resamples.

    Returns:
        `metrics`, and `paired` and `leakage` where asked for.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from liftray.evaluate import page, plots, report

    ss3_map = predictor.info["ss3_map"]
    sets = predict_sets(predictor, data, ss3_map)
    result: dict[str, Any] = {"metrics": score_sets(sets, seed=0, resamples=resamples)}
    if against is not None:
        theirs = predict_sets(against, data, against.info["ss3_map"])
        result["paired"] = compare_sets(sets, theirs, seed=0, resamples=resamples)
    if train:
        result["leakage"] = leakage_of(train, data)
    out.mkdir(parents=True, exist_ok=True)
    report.write_metrics(out / "metrics.json", **result)
    tables = [
        report.per_protein(predicted).add_column(0, "set", pa.array([name] * len(predicted.chains)))
        for name, predicted in sets.items()
    ]
    pq.write_table(pa.concat_tables(tables, promote_options="default"), out / "per_protein.parquet")
    pictures = []
    for name, scores in result["metrics"].items():
        pictures.append(out / f"confusion_{name.replace('/', '_')}.png")
        plots.confusion_matrix(scores, pictures[-1], title=name)
    stamp = f"{predictor.info.get('backbone', {}).get('name', '')}, {predictor.info.get('method', '')}"
    page.write(
        out / "report.html",
        result["metrics"],
        model=stamp,
        pictures=pictures,
        paired=result.get("paired"),
        leakage=result.get("leakage"),
    )
    files.write_json(out / "summary.json", {**result, "out": str(out), "data": dict(data)})
    return result
