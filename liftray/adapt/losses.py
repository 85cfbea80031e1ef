"""Losses over labelled residues, as sums: whoever calls divides by the labelled residues of the global step.

Invariant: a position that holds IGNORE_INDEX adds exactly nothing, so the mean over a global step does not depend on
how it was cut into micro-batches and ranks.
"""

from torch import Tensor, nn

from liftray.config import LossSettings
from liftray.data.labels import IGNORE_INDEX


def loss_sum(settings: LossSettings, logits_TC: Tensor, labels_T: Tensor) -> Tensor:
    """Cross-entropy summed over labelled residues, in float32.

    Args:
        settings: Kind and label smoothing.
        logits_TC: Class logits.
        labels_T: Class codes; IGNORE_INDEX where there is no label.

    Returns:
        A scalar; 0 with a graph where no residue is labelled.
    """
    return nn.functional.cross_entropy(
        logits_TC.float(),
        labels_T,
        ignore_index=IGNORE_INDEX,
        reduction="sum",
        label_smoothing=settings.label_smoothing,
    )
