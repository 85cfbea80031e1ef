"""The baselines that need no backbone, on the sets of a study: what any arm must beat.

Invariant: they are fitted on the study's own training chains, once. Flow: training chains -> [this] -> rivals/.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from liftray.config import Settings
from liftray.data.dataset import ProteinDataset
from liftray.evaluate import baselines
from liftray.evaluate.scoring import labelled_chains
from liftray.progress import show_line
from liftray.study import held_out

TITLES = {"majority": "majority class", "windowed_linear": "windowed linear model"}
_FOLDER = "rivals"


def file_of(out: Path, rival: str, split: str, name: str) -> Path:
    """Where the chains of a set are told, as a baseline predicts them."""
    return out / _FOLDER / rival / split / f"{name}.parquet"


def predict(settings: Settings, out: Path) -> list[str]:
    """Fit the baselines that `evaluate.baselines` asks for, where that was not done yet, and predict all sets.

    Args:
        settings: The study's data.
        out: The study's directory.

    Returns:
        Names of the baselines.
    """
    sets = {("valid", name): path for name, path in settings.data.valid.items()}
    sets |= {("test", name): path for name, path in settings.data.test.items()}
    asked: list[str] = [rival for rival in TITLES if rival in settings.evaluate.baselines]
    for rival in asked:
        left = {
            file: ProteinDataset.open(path)
            for (split, name), path in sets.items()
            if not (file := file_of(out, rival, split, name)).exists()
            or held_out.digest_of(file) != ProteinDataset.open(path).digest
        }
        if not left:
            continue
        show_line(f"study: fitting the baseline {TITLES[rival]}")
        fitted = _fit(rival, settings)
        for file, dataset in left.items():
            chains = labelled_chains(dataset, settings.task, settings.ss3_map)
            held_out.write(file, baselines.predict_set(fitted, chains, settings.ss3_map), dataset.digest)
    return asked


def _fit(rival: str, settings: Settings) -> baselines.Baseline:
    def chains() -> Iterator[tuple[str, Any]]:
        for path in settings.data.train.values():
            for _, sequence, codes in labelled_chains(
                ProteinDataset.open(path), settings.task, settings.ss3_map
            ):
                yield sequence, codes

    if rival == "majority":
        return baselines.majority(chains(), settings.task)
    return baselines.windowed_linear(chains(), settings.task, seed=settings.train.seed)
