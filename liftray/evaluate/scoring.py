"""Scoring a model on whole data sets: every chain predicted once, every labelled residue counted once.

Invariant: scores come from the same predictions that `predict` gives for the same bundle. A chain that cannot be
predicted is an error, never left out. Flow: bundle + Parquet -> [this] -> train, evaluate_job.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from liftray.data import labels
from liftray.data.dataset import ProteinDataset
from liftray.errors import DataError
from liftray.evaluate import baselines
from liftray.evaluate.calibration import calibrate
from liftray.evaluate.chains import PredictedSet, ScoredChain
from liftray.evaluate.comparison import compare
from liftray.evaluate.leakage import Leakage, leakage, leakage_by_sketch
from liftray.evaluate.scores import score_set
from liftray.predict.prediction import Prediction
from liftray.progress import Advance, progress
from liftray.statistics.holm import holm

if TYPE_CHECKING:
    from liftray.predict.predictor import Predictor


def named_sets(arguments: Sequence[str]) -> dict[str, str]:
    """Read NAME=PATH arguments.

    Raises:
        DataError: One is of another form, or a name comes twice.
    """
    sets: dict[str, str] = {}
    for argument in arguments:
        name, sign, path = argument.partition("=")
        if not (sign and name and path):
            raise DataError(f"{argument!r} is not NAME=PATH", remedy="write for example CASP12=data/casp12")
        if name in sets:
            raise DataError(f"the set {name!r} is named twice", remedy="give each set a name of its own")
        sets[name] = path
    return sets


def labelled_chains(
    dataset: ProteinDataset, task: str, ss3_map: str
) -> Iterator[tuple[str, str, npt.NDArray[Any]]]:
    """The chains of a data set as (id, sequence, codes), labels mapped to a task's alphabet."""
    for record in dataset.iter_records():
        codes = labels.encode(record.ss, dataset.alphabet)
        yield record.id, record.sequence, labels.map_codes(codes, dataset.alphabet, task, ss3_map)


def common_alphabet(model: str, dataset: ProteinDataset) -> str:
    """The richest alphabet that both the model and the labels of the data set have."""
    return min(model, dataset.alphabet, key=_richness)


def predict_set(
    predictor: "Predictor", dataset: ProteinDataset, ss3_map: labels.Ss3Map, advance: Advance | None = None
) -> PredictedSet:
    """Predict every chain of a data set, and pair the predictions with its labels.

    Args:
        predictor: The model.
        dataset: A Parquet data set.
        ss3_map: Map from 9 states to 3.
        advance: Called after each chain.

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
    predictor: "Predictor", paths: Mapping[str, str], ss3_map: labels.Ss3Map, title: str = "evaluate"
) -> dict[str, PredictedSet]:
    """Predict several data sets, by name, with progress."""
    datasets = {name: ProteinDataset.open(path) for name, path in paths.items()}
    with progress(title, sum(dataset.num_chains for dataset in datasets.values()), "chains") as advance:
        return {name: predict_set(predictor, dataset, ss3_map, advance) for name, dataset in datasets.items()}


def calibration_of(
    predictor: "Predictor", valid: Mapping[str, str], ss3_map: labels.Ss3Map
) -> dict[str, Any]:
    """Fit a model's temperature.

    Args:
        predictor: The model, at temperature 1.
        valid: Name -> path of the validation sets; no test set may be among them.
        ss3_map: Map from 9 states to 3.

    Returns:
        `calibration` of bundle.json.
    """
    predicted = predict_sets(predictor, valid, ss3_map, "calibrate")
    digests = {name: ProteinDataset.open(path).digest for name, path in valid.items()}
    return calibrate(list(predicted.values()), digests).as_dict()


def score_sets(sets: Mapping[str, PredictedSet], *, resamples: int) -> dict[str, dict[str, Any]]:
    """Score several predicted sets, each with intervals; the shape of `metrics.json`."""
    return {name: score_set(predicted, resamples=resamples) for name, predicted in sets.items()}


def compare_sets(
    ours: Mapping[str, PredictedSet], theirs: Mapping[str, PredictedSet], *, resamples: int
) -> dict[str, dict[str, Any]]:
    """Compare two models set by set on the same chains; the shape of `paired` in `metrics.json`.

    Args:
        ours: Set -> one model's predictions.
        theirs: Set -> the other's; only sets that both have are compared.
        resamples: Number of bootstrap resamples and of permutations.

    Returns:
        Set -> score -> `difference` (ours minus theirs), `ci95`, `p`, and `p_holm`: p corrected for the number of
        sets on which that score is compared.
    """
    paired = {name: compare(ours[name], theirs[name], resamples=resamples) for name in ours if name in theirs}
    for score in {score for scores in paired.values() for score in scores}:
        rows = [scores[score] for scores in paired.values() if score in scores]
        for row, corrected in zip(rows, holm([row["p"] for row in rows]), strict=True):
            row["p_holm"] = corrected
    return paired


def baseline_sets(
    train: Sequence[str],
    sets: Mapping[str, PredictedSet],
    names: Sequence[str] = ("majority", "windowed_linear"),
    *,
    seed: int,
) -> dict[str, dict[str, PredictedSet]]:
    """Predict the chains of several sets with the baselines that need no backbone.

    Args:
        train: Paths of the training sets.
        sets: Name -> the chains, with labels, as a model predicted them.
        names: The baselines.
        seed: Of the windowed linear model's draw of residues.

    Returns:
        Baseline -> set -> predictions, in the richest alphabet that all training labels and
        the set share.
    """
    alphabets = [ProteinDataset.open(path).alphabet for path in train]
    richest = max((predicted.task for predicted in sets.values()), key=_richness)
    task = min([*alphabets, richest], key=_richness)
    ss3_map = next(iter(sets.values())).ss3_map

    def chains_of_training() -> Iterator[tuple[str, npt.NDArray[Any]]]:
        for path in train:
            for _, sequence, codes in labelled_chains(ProteinDataset.open(path), task, ss3_map):
                yield sequence, codes

    fits: dict[str, Callable[[], baselines.Baseline]] = {
        "majority": lambda: baselines.majority(chains_of_training(), task),
        "windowed_linear": lambda: baselines.windowed_linear(chains_of_training(), task, seed=seed),
    }
    fitted = {label: fits[label]() for label in names}
    return {
        label: {name: _by_baseline(baseline, predicted) for name, predicted in sets.items()}
        for label, baseline in fitted.items()
    }


def leakage_of(train: Sequence[str], tests: Mapping[str, str]) -> dict[str, Leakage]:
    """The leakage of each test set: how many of its chains are in the training sets.

    Args:
        train: Paths of the training sets.
        tests: Name -> path of each test set.
    """
    leaks = {}
    for name, path in tests.items():
        sequences = (
            record.sequence for source in train for record in ProteinDataset.open(source).iter_records()
        )
        chains = ((record.id, record.sequence) for record in ProteinDataset.open(path).iter_records())
        leaks[name] = leakage(sequences, chains)
    return leaks


def leakage_of_model(predictor: "Predictor", tests: Mapping[str, str]) -> dict[str, Leakage]:
    """The leakage of each test set by what the bundle holds: digests of its training sets, and hashes of chains.

    Args:
        predictor: The model.
        tests: Name -> path of each test set.

    Returns:
        Set -> leakage; without those that a bundle of before says nothing about.
    """
    trained = (predictor.info.get("data") or {}).get("train") or {}
    named = {digest: name for name, digest in trained.items()}
    leaks = {}
    for name, path in tests.items():
        dataset = ProteinDataset.open(path)
        chains = [(record.id, record.sequence) for record in dataset.iter_records()]
        same = named.get(dataset.digest)
        if predictor.training:
            leaks[name] = leakage_by_sketch(predictor.training, chains)
        elif same is not None:
            leaks[name] = leakage((sequence for _, sequence in chains), chains)
        if same is not None:
            leaks[name]["training_set"] = same
    return leaks


def worse_leakage(one: Mapping[str, Leakage], other: Mapping[str, Leakage]) -> dict[str, Leakage]:
    """For each set the leakage with the larger share: a set is clean only if every check finds it clean."""
    both = {name: [found[name] for found in (one, other) if name in found] for name in {**one, **other}}
    return {name: max(found, key=_share) for name, found in both.items()}


def _share(leaked: Leakage) -> float:
    return leaked["share"]


def _by_baseline(baseline: baselines.Baseline, labelled: PredictedSet) -> PredictedSet:
    """The chains of a set as a baseline predicts them, in the poorer alphabet of the two."""
    task, ss3_map = min(labelled.task, baseline.alphabet, key=_richness), labelled.ss3_map
    chains = []
    for chain in labelled.mapped(task).chains:
        probabilities_LC = baseline.probabilities(chain.sequence)
        mapped_LC = labels.map_probabilities(probabilities_LC, baseline.alphabet, task, ss3_map)
        chains.append(ScoredChain(chain.id, chain.sequence, chain.true_L, mapped_LC))
    return PredictedSet(chains, task, ss3_map)


def _richness(alphabet: str) -> int:
    return len(labels.STATES[alphabet])
