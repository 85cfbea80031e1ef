"""The pictures of a finished run: learning curve, confusion matrices, and one chain drawn.

Invariant: a rule chooses the drawn chain: the one of median accuracy in the first test set, or validation set.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from liftray.data.labels import IGNORE_INDEX, decode
from liftray.evaluate import plots
from liftray.evaluate.chains import PredictedSet, ScoredChain


def draw(
    directory: Path,
    history: Sequence[Mapping[str, Any]],
    metrics: Mapping[str, Any],
    predicted: Mapping[str, PredictedSet],
) -> None:
    """Draw them all as PNG.

    Args:
        directory: Where to.
        history: Epoch records of the run.
        metrics: Set -> scores.
        predicted: Set -> predictions.
    """
    directory.mkdir(parents=True, exist_ok=True)
    curve = [
        {"epoch": record["epoch"] + 1, "loss": record["train/loss"], "q3": record["valid/q3"]}
        for record in history
    ]
    plots.learning_curve(curve, directory / "learning_curve.png")
    for name, scores in metrics.items():
        plots.confusion_matrix(scores, directory / f"confusion_{name.replace('/', '_')}.png", title=name)
    tests = [name for name in predicted if not name.startswith("valid")]
    _draw_chain(directory / "chain.png", (tests or list(predicted))[0], predicted)


def _draw_chain(path: Path, name: str, predicted: Mapping[str, PredictedSet]) -> None:
    chosen = predicted[name].mapped("ss3")
    scored = [chain for chain in chosen.chains if (chain.true_L != IGNORE_INDEX).any()]
    ordered = sorted(scored, key=lambda chain: (_accuracy(chain), chain.id))
    chain = ordered[len(ordered) // 2]
    probabilities_L3 = chain.probabilities_LC
    plots.chain_cartoon(
        chain.sequence,
        decode(chain.true_L, "ss3"),
        decode(probabilities_L3.argmax(axis=1), "ss3"),
        probabilities_L3.max(axis=1),
        path,
        title=f"{chain.id}, the chain of median Q3 in {name}: {100 * _accuracy(chain):.1f} %",
    )


def _accuracy(chain: ScoredChain) -> float:
    labelled = chain.true_L != IGNORE_INDEX
    return float(np.mean(chain.probabilities_LC.argmax(axis=1)[labelled] == chain.true_L[labelled]))
