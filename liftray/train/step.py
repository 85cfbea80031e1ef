"""One micro-batch: what training and validation do with a packed batch. Read this module first.

Invariant: the loss is a sum over labelled residues, divided by the number of labelled residues in the whole global
step. So the gradient does not depend on how the step is divided into micro-batches and ranks. The micro-batch, not the
rank, seeds dropout. Nothing here waits for the device.
"""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from liftray.adapt.losses import Loss
from liftray.backbone.packed import WindowLayout
from liftray.cache import codec
from liftray.data.batch import PackedBatch
from liftray.data.labels import IGNORE_INDEX, class_map
from liftray.train.engine import Engine


@dataclass(frozen=True)
class Inputs:
    """A micro-batch on its device.

    Attributes:
        tokens_T: Token ids.
        labels_T: Class codes or IGNORE_INDEX.
        layout: Borders of the windows.
        hidden_TD: Hidden states at the cut, where they come from a cache.
    """

    tokens_T: Tensor
    labels_T: Tensor
    layout: WindowLayout
    hidden_TD: Tensor | None

    @classmethod
    def of(cls, batch: PackedBatch, device: torch.device, stored: str | None = None) -> "Inputs":
        """Send a packed batch to the device.

        Args:
            batch: The batch.
            device: Where to.
            stored: How its hidden states are stored, if it has any.
        """
        hidden_TD = None
        if batch.hidden_TR is not None:
            if stored is None:
                raise ValueError("a batch with stored hidden states needs the name of their number format")
            hidden_TD = codec.decode(_send(batch.hidden_TR, device), stored)
        return cls(
            tokens_T=_send(batch.tokens_T, device),
            labels_T=_send(batch.labels_T, device),
            layout=WindowLayout.of(batch.lengths, device),
            hidden_TD=hidden_TD,
        )

    @property
    def model(self) -> tuple[Tensor, WindowLayout, Tensor | None]:
        """What the model takes."""
        return self.tokens_T, self.layout, self.hidden_TD


def _send(array: npt.NDArray[Any], device: torch.device) -> Tensor:
    with warnings.catch_warnings():
        # Arrow's memory is read-only, which torch warns of; nothing here writes to it.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        tensor = torch.from_numpy(array)
    # Only a copy from pinned memory runs at the same time as the computation on a GPU.
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def train(engine: Engine, inputs: Inputs, batch: PackedBatch, loss: Loss, lr: float, seed: int) -> Tensor:
    """Run one micro-batch forward and backward; the optimizer moves when the global step is complete.

    Args:
        engine: The model under DeepSpeed.
        inputs: The batch on its device.
        batch: The packed batch they were made of.
        loss: The run's loss, on the same device.
        lr: Learning rate of the global step.
        seed: The run's seed.

    Returns:
        This micro-batch's share of the global step's mean loss, a detached scalar on the device.
    """
    torch.manual_seed(hash((seed, batch.epoch, batch.step, batch.micro)) % (1 << 63))
    logits_TC = engine.module(*inputs.model)
    share = loss(logits_TC, inputs.labels_T) / max(batch.scored, 1)
    engine.backward(share)
    engine.step(lr)
    return share.detach()


class Confusion:
    """Counts of (true, predicted) classes over labelled residues, on the device.

    Args:
        task: Alphabet of the logits.
        ss3_map: How 9 states become 3.
        device: Where to count.
    """

    def __init__(self, task: str, ss3_map: str, device: torch.device) -> None:
        self._to3 = torch.from_numpy(class_map(task, "ss3", ss3_map)).to(device)
        self._classes = len(self._to3)
        self.counts_CC = torch.zeros(self._classes * self._classes, dtype=torch.float64, device=device)
        self.right3 = torch.zeros((), dtype=torch.float64, device=device)
        self.loss = torch.zeros((), dtype=torch.float64, device=device)

    @torch.no_grad()
    def add(self, logits_TC: Tensor, labels_T: Tensor, loss: Loss) -> None:
        """Count one batch."""
        labelled_T = labels_T != IGNORE_INDEX
        true_T = labels_T.masked_fill(~labelled_T, 0)
        cell_T = true_T * self._classes + logits_TC.argmax(-1)
        # `bincount` would wait for the device, to find the largest.
        self.counts_CC.index_add_(0, cell_T, labelled_T.double())
        probabilities_T3 = torch.zeros(len(labels_T), 3, device=labels_T.device)
        probabilities_T3.index_add_(-1, self._to3, logits_TC.softmax(-1))
        right_T = (probabilities_T3.argmax(-1) == self._to3[true_T]) & labelled_T
        self.right3 += right_T.sum()
        self.loss += loss(logits_TC, labels_T).double()

    def packed(self) -> Tensor:
        """All counts in one vector, to be summed over ranks."""
        return torch.cat([self.counts_CC, self.right3[None], self.loss[None]])

    def scores(self, summed: Tensor) -> dict[str, float]:
        """Scores from counts summed over ranks: `q3`, and `q8` or `q9` of the task; `loss` is the mean."""
        counts = summed[:-2].view(self._classes, self._classes).cpu()
        total = max(float(counts.sum()), 1.0)
        task = {9: "q9", 8: "q8", 3: "q3"}[self._classes]
        scores = {task: float(counts.diagonal().sum()) / total, "q3": float(summed[-2]) / total}
        return {**scores, "loss": float(summed[-1]) / total}
