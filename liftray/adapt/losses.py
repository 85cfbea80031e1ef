"""The loss over labelled residues, as a sum: the caller divides by the labelled residues of the global step.

Invariant: a position with IGNORE_INDEX adds exactly zero, and a residue's loss depends on that residue alone. So the
mean over a global step does not depend on its division into micro-batches and ranks. Class weights have mean one over
the training residues, so the divisor stays the number of labelled residues in the step.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from liftray.data.labels import IGNORE_INDEX, STATES, class_map
from liftray.sections import LossSettings


def needs_counts(settings: LossSettings) -> bool:
    """Whether the loss depends on how often each state occurs in the training sets."""
    return settings.kind == "ldam" or settings.class_weights != "none"


class Loss(nn.Module):
    """The loss that a run's settings name; no parameters, and buffers that go to the device with it.

    - `cross_entropy`: of the logits as the head gives them; on a metric head tau times the cosines, as Yang, Liu & Li
      (2023) train it.
    - `normalised_softmax` (Wang et al. 2017): the same of `scale` times the cosines.
    - `ldam` (Cao et al. 2019): of `scale` times the cosines, that of the true state minus its margin; see `margins`.
    - Label smoothing, in all three: a share of the true state's target is spread over all states.
    - `multitask`: adds, times its weight, the negative log-likelihood of the state in a coarser alphabet, whose
      probabilities are those of the finer states summed by map, without margins, smoothing and class weights.

    Args:
        settings: The loss section.
        temperature: The factor of the cosines in the logits of a metric head: `head.temperature`.
        task: Alphabet that is predicted.
        ss3_map: How 9 states become 3.
        counts: Labelled training residues of each state; needed where `needs_counts` is true.

    Raises:
        ValueError: `counts` are needed and missing.
    """

    weights_C: Tensor | None
    margins_C: Tensor | None

    def __init__(
        self,
        settings: LossSettings,
        temperature: float,
        task: str,
        ss3_map: str,
        counts: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        if needs_counts(settings) and not counts:
            raise ValueError(
                f"a loss of kind {settings.kind} with class_weights {settings.class_weights} takes counts"
            )
        weighted, ldam = settings.class_weights != "none", settings.kind == "ldam"
        self._smoothing = settings.label_smoothing
        # From the head's temperature, in which prediction measures cosines, to the scale of training.
        self._stretch = settings.scale / temperature if settings.scale is not None else 1.0
        self._scale = settings.scale or temperature
        self.register_buffer(
            "weights_C", class_weights(settings.class_weights, counts) if weighted and counts else None
        )
        self.register_buffer("margins_C", margins(counts, settings.max_margin) if ldam and counts else None)
        self._coarser = nn.ModuleList(
            _CoarserLoss(task, alphabet, ss3_map, weight)
            for alphabet, weight in (("ss8", settings.multitask.ss8), ("ss3", settings.multitask.ss3))
            if weight
        )

    def forward(self, logits_TC: Tensor, labels_T: Tensor) -> Tensor:
        """Sum the loss over labelled residues, in float32.

        Args:
            logits_TC: Class logits.
            labels_T: Class codes; IGNORE_INDEX where there is no label.

        Returns:
            A scalar; 0 with a graph where no residue is labelled.
        """
        scores_TC = logits_TC.float()
        if self._stretch != 1.0:
            scores_TC = scores_TC * self._stretch
        total = self._own(scores_TC, labels_T)
        for coarser in self._coarser:
            total = total + coarser(scores_TC, labels_T)
        return total

    def _own(self, scores_TC: Tensor, labels_T: Tensor) -> Tensor:
        """The loss over the task's own alphabet."""
        code_T = labels_T.clamp(min=0)  # a position without a label adds nothing below
        if self.margins_C is not None:
            true_TC = functional.one_hot(code_T, len(self.margins_C))
            scores_TC = scores_TC - self._scale * self.margins_C * true_TC
        loss = functional.cross_entropy(
            scores_TC,
            labels_T,
            ignore_index=IGNORE_INDEX,
            reduction="sum" if self.weights_C is None else "none",
            label_smoothing=self._smoothing,
        )
        return loss if self.weights_C is None else (self.weights_C[code_T] * loss).sum()


class _CoarserLoss(nn.Module):
    """Negative log-likelihood in a coarser alphabet, times a weight."""

    codes_C: Tensor
    outside_YC: Tensor

    def __init__(self, task: str, alphabet: str, ss3_map: str, weight: float) -> None:
        super().__init__()
        self._weight = weight
        codes_C = torch.from_numpy(class_map(task, alphabet, ss3_map))
        inside_YC = codes_C == torch.arange(len(STATES[alphabet]))[:, None]
        self.register_buffer("codes_C", codes_C)
        self.register_buffer("outside_YC", torch.zeros(inside_YC.shape).masked_fill(~inside_YC, -torch.inf))

    def forward(self, scores_TC: Tensor, labels_T: Tensor) -> Tensor:
        # log sum exp over the finer states of a coarser one: the softmax is the sum of the finer probabilities.
        scores_TY = (scores_TC[:, None] + self.outside_YC).logsumexp(-1)
        coarse_T = torch.where(labels_T == IGNORE_INDEX, IGNORE_INDEX, self.codes_C[labels_T.clamp(min=0)])
        nll = functional.cross_entropy(scores_TY, coarse_T, ignore_index=IGNORE_INDEX, reduction="sum")
        return self._weight * nll


def class_weights(kind: str, counts: Sequence[int]) -> Tensor:
    """Weights w_j of the states, so that the mean over the counted residues, sum_j n_j w_j / sum_j n_j, is one.

    Args:
        kind: `inverse_frequency`, w_j ~ 1 / n_j: all states weigh the same in the sum; or `inverse_sqrt`, w_j ~
            1 / sqrt(n_j).
        counts: n_j, labelled training residues of each state.

    Returns:
        weights_C in float32; 0 for a state that does not occur.
    """
    counts_C = torch.tensor(counts, dtype=torch.float64)
    power = {"inverse_frequency": 1.0, "inverse_sqrt": 0.5}[kind]
    weights_C = torch.where(counts_C > 0, counts_C.clamp(min=1) ** -power, 0.0)
    return (weights_C * counts_C.sum() / (weights_C * counts_C).sum()).float()


def margins(counts: Sequence[int], largest: float) -> Tensor:
    """Label-distribution-aware margins (Cao et al. 2019): of a state counted n_j times ~ n_j^(-1/4).

    Args:
        counts: n_j, labelled training residues of each state.
        largest: Margin of the rarest state that occurs.

    Returns:
        margins_C in float32, differences of cosines; 0 for a state that does not occur.
    """
    counts_C = torch.tensor(counts, dtype=torch.float64)
    margins_C = torch.where(counts_C > 0, counts_C.clamp(min=1) ** -0.25, 0.0)
    return (largest * margins_C / margins_C.max()).float()
