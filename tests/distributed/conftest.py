"""One Ray cluster for all distributed tests, and the small run that they share."""

import logging
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

import pytest

from tests.parts import tiny


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """A cluster of the tests' own: its own files, free ports, no dashboard."""
    import ray

    folder = tempfile.mkdtemp(prefix="lr")  # short: socket paths hold 107 characters
    ray.init(
        address="local",
        num_cpus=4,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        _temp_dir=folder,
    )
    try:
        yield
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def parts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Settings of a run of 24 steps: a backbone of random weights on disk, two tiny data sets."""
    root = tmp_path_factory.mktemp("parts")
    return {
        "data__train": {"t": tiny.dataset(root / "t", tiny.chains(range(30, 150, 4), seed=6))},
        "data__valid": {"v": tiny.dataset(root / "v", tiny.chains([40, 90, 130, 25], seed=7))},
        "data__max_length": 120,
        "cache__enabled": False,
        "backbone__source": [tiny.write_backbone(root / "esm")],
        "adapter__skip_layers": 1,
        "adapter__reduction_factor": 8,
        "train__epochs": 4,
        "train__lr": 1e-3,
        "train__tokens_per_batch": 256,
        "train__micro_batches_per_step": 3,
        "train__patience": 9,
        "evaluate__baselines": [],
        "evaluate__resamples": 100,
    }
