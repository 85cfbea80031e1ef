"""The loss is a sum over labelled residues, so that its parts add up to the mean of a global step."""

import pytest
import torch

from liftray.adapt.losses import loss_sum
from liftray.config import LossSettings
from liftray.data.labels import IGNORE_INDEX


def _case(batch: int = 6, length: int = 17, classes: int = 9) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits_BLC = torch.randn(batch, length, classes, generator=generator, dtype=torch.float64).float()
    labels_BL = torch.randint(classes, (batch, length), generator=generator)
    labels_BL[torch.rand(batch, length, generator=generator) < 0.3] = IGNORE_INDEX
    return logits_BLC, labels_BL


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_parts_over_the_step_make_the_mean_over_its_labelled_residues(smoothing: float) -> None:
    logits_BLC, labels_BL = _case()
    settings = LossSettings(label_smoothing=smoothing)
    scored = int((labels_BL != IGNORE_INDEX).sum())
    parts = sum(
        loss_sum(settings, logits_BLC[rows], labels_BL[rows]) / scored for rows in ([0], [1, 2, 3], [4, 5])
    )
    by_hand = []
    for logits_C, label in zip(logits_BLC.flatten(0, 1).double(), labels_BL.flatten().tolist(), strict=True):
        if label != IGNORE_INDEX:
            log_C = logits_C.log_softmax(-1)
            by_hand.append(-(1 - smoothing) * log_C[label] - smoothing * log_C.mean())
    torch.testing.assert_close(parts, torch.stack(by_hand).mean().float(), atol=1e-6, rtol=1e-6)


def test_what_stands_where_no_label_is_adds_exactly_nothing() -> None:
    logits_BLC, labels_BL = _case()
    logits_BLC.requires_grad_()
    loss = loss_sum(LossSettings(), logits_BLC, labels_BL)
    (gradient_BLC,) = torch.autograd.grad(loss, logits_BLC)
    assert (gradient_BLC[labels_BL == IGNORE_INDEX] == 0).all()
    assert (gradient_BLC[labels_BL != IGNORE_INDEX].abs().sum(-1) > 0).all()
    other_BLC = logits_BLC.detach().clone()
    other_BLC[labels_BL == IGNORE_INDEX] = 1e4
    assert loss_sum(LossSettings(), other_BLC, labels_BL) == loss


def test_an_unlabelled_batch_is_zero_and_can_go_backward() -> None:
    logits_BLC, labels_BL = _case()
    logits_BLC.requires_grad_()
    loss = loss_sum(LossSettings(), logits_BLC, torch.full_like(labels_BL, IGNORE_INDEX))
    loss.backward()
    assert loss.item() == 0.0
    assert (logits_BLC.grad == 0).all()


def test_half_precision_logits_are_summed_in_float32() -> None:
    logits_BLC, labels_BL = _case()
    loss = loss_sum(LossSettings(), logits_BLC.bfloat16(), labels_BL)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, loss_sum(LossSettings(), logits_BLC.bfloat16().float(), labels_BL))
