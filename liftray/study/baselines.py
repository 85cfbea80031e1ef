"""The baselines that need no backbone, on the sets of a study: what any arm must beat.

Invariant: they are fitted on the study's own training chains, once. Flow: training chains -> [this] -> baselines/.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from liftray.config import DataSettings
from liftray.data.dataset import ProteinDataset
from liftray.data.labels import Ss3Map
from liftray.evaluate import baselines
from liftray.evaluate.scoring import labelled_chains
from liftray.evaluate.titles import BASELINE_TITLES
from liftray.progress import show_line
from liftray.study import held_out

TITLES = {name: BASELINE_TITLES[name] for name in ("majority", "windowed_linear")}
_FOLDER = "baselines"


def file_of(out: Path, baseline: str, split: str, name: str) -> Path:
    """The file with the chains of a set as a baseline predicts them."""
    return out / _FOLDER / baseline / split / f"{name}.parquet"


def predict(
    data: DataSettings, chosen: Sequence[str], out: Path, *, task: str, ss3_map: Ss3Map, seed: int
) -> list[str]:
    """Fit baselines, where that was not done yet, and predict all sets.

    Args:
        data: The study's data sets.
        chosen: `evaluate.baselines`; those that need a backbone are left out.
        out: The study's directory.
        task: Alphabet of the labels.
        ss3_map: Map from 9 states to 3.
        seed: Of the windowed linear model's draw of residues.

    Returns:
        Names of the baselines.
    """
    sets = {("valid", name): path for name, path in data.valid.items()}
    sets |= {("test", name): path for name, path in data.test.items()}
    names = [name for name in TITLES if name in chosen]
    for baseline in names:
        missing = {
            file: ProteinDataset.open(path)
            for (split, name), path in sets.items()
            if not (file := file_of(out, baseline, split, name)).exists()
            or held_out.digest_of(file) != ProteinDataset.open(path).digest
        }
        if not missing:
            continue
        show_line(f"study: fitting the baseline {TITLES[baseline]}")
        train = _training_chains(list(data.train.values()), task, ss3_map)
        fitted = _fit(baseline, train, task, seed)
        for file, dataset in missing.items():
            chains = labelled_chains(dataset, task, ss3_map)
            held_out.write(file, baselines.predict_set(fitted, chains, ss3_map), dataset.digest)
    return names


def _training_chains(paths: Sequence[str], task: str, ss3_map: Ss3Map) -> Iterator[baselines.LabelledChain]:
    for path in paths:
        for _, sequence, codes in labelled_chains(ProteinDataset.open(path), task, ss3_map):
            yield sequence, codes


def _fit(baseline: str, train: Iterator[baselines.LabelledChain], task: str, seed: int) -> baselines.Baseline:
    if baseline == "majority":
        return baselines.majority(train, task)
    return baselines.windowed_linear(train, task, seed=seed)
