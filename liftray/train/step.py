"""One micro-batch: read this first. What training and validation do with a packed batch, and nothing else.

Invariant: the loss is a sum over labelled residues divided by the labelled residues of the whole global step, so
the gradient does not depend on how the step was cut into micro-batches and ranks; dropout is seeded by the micro-batch,
not by the rank. Nothing here waits for the device.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from liftray.adapt.losses import loss_sum
from liftray.config import LossSettings
from liftray.data.batch import PackedBatch
from liftray.data.labels import IGNORE_INDEX, class_map
from liftray.train.engine import Engine


@dataclass(frozen=True)
class Inputs:
    """A micro-batch on its device.

    Attributes:
        tokens_BL: Token ids.
        mask_BL: True on tokens.
        labels_BL: Class codes or IGNORE_INDEX.
    """

    tokens_BL: Tensor
    mask_BL: Tensor
    labels_BL: Tensor

    @classmethod
    def of(cls, batch: PackedBatch, pad_id: int, device: torch.device) -> "Inputs":
        """Pad a packed batch and send it to the device."""
        return cls(*(torch.from_numpy(array).to(device, non_blocking=True) for array in batch.padded(pad_id)))


def train(
    engine: Engine, inputs: Inputs, batch: PackedBatch, loss: LossSettings, lr: float, seed: int
) -> Tensor:
    """Run one micro-batch forward and backward; the optimizer moves when the global step is complete.

    Args:
        engine: The model under DeepSpeed.
        inputs: The batch on its device.
        batch: The packed batch they were made of.
        loss: Which loss.
        lr: Learning rate of the global step.
        seed: The run's seed.

    Returns:
        This micro-batch's share of the global step's mean loss, a detached scalar on the device.
    """
    torch.manual_seed(hash((seed, batch.epoch, batch.step, batch.micro)) % (1 << 63))
    logits_BLC = engine.module(inputs.tokens_BL, inputs.mask_BL)
    share = loss_sum(loss, logits_BLC, inputs.labels_BL) / max(batch.scored, 1)
    engine.backward(share)
    engine.step(lr)
    return share.detach()


class Confusion:
    """Counts of (true, predicted) classes over labelled residues, kept on the device.

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
    def add(self, logits_BLC: Tensor, labels_BL: Tensor, loss: LossSettings) -> None:
        """Count one batch."""
        labelled_BL = labels_BL != IGNORE_INDEX
        true_BL = labels_BL.masked_fill(~labelled_BL, 0)
        flat_BL = true_BL * self._classes + logits_BLC.argmax(-1)
        weights = labelled_BL.flatten().double()
        self.counts_CC += torch.bincount(flat_BL.flatten(), weights, minlength=len(self.counts_CC))
        probabilities_BL3 = torch.zeros(*labels_BL.shape, 3, device=labels_BL.device)
        probabilities_BL3.index_add_(-1, self._to3, logits_BLC.softmax(-1))
        right_BL = (probabilities_BL3.argmax(-1) == self._to3[true_BL]) & labelled_BL
        self.right3 += right_BL.sum()
        self.loss += loss_sum(loss, logits_BLC, labels_BL).double()

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
