"""The baselines that need no backbone, on the sets of a study: what any arm must beat.

Invariant: they are fitted on the study's own training chains, once. Flow: training chains -> [this] -> baselines/.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from liftray.config import Settings
from liftray.data.dataset import ProteinDataset
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


def predict(settings: Settings, out: Path) -> list[str]:
    """Fit the baselines that `evaluate.baselines` names, where that was not done yet, and predict all sets.

    Args:
        settings: The study's data.
        out: The study's directory.

    Returns:
        Names of the baselines.
    """
    sets = {("valid", name): path for name, path in settings.data.valid.items()}
    sets |= {("test", name): path for name, path in settings.data.test.items()}
    names: list[str] = [name for name in TITLES if name in settings.evaluate.baselines]
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
        fitted = _fit(baseline, settings)
        for file, dataset in missing.items():
            chains = labelled_chains(dataset, settings.task, settings.ss3_map)
            held_out.write(file, baselines.predict_set(fitted, chains, settings.ss3_map), dataset.digest)
    return names


def _fit(baseline: str, settings: Settings) -> baselines.Baseline:
    def chains() -> Iterator[tuple[str, Any]]:
        for path in settings.data.train.values():
            dataset = ProteinDataset.open(path)
            for _, sequence, codes in labelled_chains(dataset, settings.task, settings.ss3_map):
                yield sequence, codes

    if baseline == "majority":
        return baselines.majority(chains(), settings.task)
    return baselines.windowed_linear(chains(), settings.task, seed=settings.train.seed)
