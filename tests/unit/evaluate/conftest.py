"""Sets of random chains, and the real data where the checkout has it in a sibling directory."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from liftray.data.labels import IGNORE_INDEX, STATES, encode
from liftray.evaluate.chains import PredictedSet, ScoredChain


@pytest.fixture(scope="session")
def random_set() -> Callable[..., PredictedSet]:
    """Make a set of chains whose predictions are right more often than not."""

    def make(
        task: str = "ss9",
        num_chains: int = 12,
        seed: int = 0,
        skill: float = 1.0,
        ss3_map: str = "dssp",
        unlabelled: float = 0.1,
    ) -> PredictedSet:
        truth, noise = np.random.default_rng(seed), np.random.default_rng([seed, int(1000 * skill)])
        num_classes = len(STATES[task])
        chains = []
        for number in range(num_chains):
            length = int(truth.integers(5, 90))
            states = np.repeat(truth.integers(num_classes, size=length), truth.integers(1, 8, size=length))[
                :length
            ]
            logits_LC = noise.normal(size=(length, num_classes)) + skill * 2 * np.eye(num_classes)[states]
            probabilities_LC = np.exp(logits_LC) / np.exp(logits_LC).sum(axis=1, keepdims=True)
            true_L = np.where(truth.random(length) < unlabelled, IGNORE_INDEX, states)
            chains.append(
                ScoredChain(f"chain{number}", "A" * length, true_L, probabilities_LC.astype(np.float32))
            )
        return PredictedSet(chains, task, ss3_map)  # type: ignore[arg-type]

    return make


@pytest.fixture(scope="session")
def real_chains(real_data: Callable[[str], Path]) -> Callable[[str, str], list[tuple[str, str, np.ndarray]]]:
    """Read (id, sequence, codes) of a three-line file of the real data sets, or skip."""

    def read(name: str, alphabet: str) -> list[tuple[str, str, np.ndarray]]:
        lines = real_data(name).read_text().split()
        return [
            (header[1:], sequence, encode(ss, alphabet))
            for header, sequence, ss in zip(lines[::3], lines[1::3], lines[2::3], strict=True)
        ]

    return read
