"""The loss is a sum over labelled residues, so that its parts add up to the mean of a global step."""

import pytest
import torch

from liftray.adapt.losses import loss_sum
from liftray.config import LossSettings
from liftray.data.labels import IGNORE_INDEX


def _case(length: int = 102, classes: int = 9) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits_TC = torch.randn(length, classes, generator=generator, dtype=torch.float64).float()
    labels_T = torch.randint(classes, (length,), generator=generator)
    labels_T[torch.rand(length, generator=generator) < 0.3] = IGNORE_INDEX
    return logits_TC, labels_T


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_parts_over_the_step_make_the_mean_over_its_labelled_residues(smoothing: float) -> None:
    logits_TC, labels_T = _case()
    settings = LossSettings(label_smoothing=smoothing)
    scored = int((labels_T != IGNORE_INDEX).sum())
    parts = sum(
        loss_sum(settings, logits_TC[part], labels_T[part]) / scored
        for part in (slice(0, 17), slice(17, 68), slice(68, None))
    )
    by_hand = []
    for logits_C, label in zip(logits_TC.double(), labels_T.tolist(), strict=True):
        if label != IGNORE_INDEX:
            log_C = logits_C.log_softmax(-1)
            by_hand.append(-(1 - smoothing) * log_C[label] - smoothing * log_C.mean())
    torch.testing.assert_close(parts, torch.stack(by_hand).mean().float(), atol=1e-6, rtol=1e-6)


def test_what_stands_where_no_label_is_adds_exactly_nothing() -> None:
    logits_TC, labels_T = _case()
    logits_TC.requires_grad_()
    loss = loss_sum(LossSettings(), logits_TC, labels_T)
    (gradient_TC,) = torch.autograd.grad(loss, logits_TC)
    assert (gradient_TC[labels_T == IGNORE_INDEX] == 0).all()
    assert (gradient_TC[labels_T != IGNORE_INDEX].abs().sum(-1) > 0).all()
    other_TC = logits_TC.detach().clone()
    other_TC[labels_T == IGNORE_INDEX] = 1e4
    assert loss_sum(LossSettings(), other_TC, labels_T) == loss


def test_an_unlabelled_batch_is_zero_and_can_go_backward() -> None:
    logits_TC, labels_T = _case()
    logits_TC.requires_grad_()
    loss = loss_sum(LossSettings(), logits_TC, torch.full_like(labels_T, IGNORE_INDEX))
    loss.backward()
    assert loss.item() == 0.0
    assert (logits_TC.grad == 0).all()


def test_half_precision_logits_are_summed_in_float32() -> None:
    logits_TC, labels_T = _case()
    loss = loss_sum(LossSettings(), logits_TC.bfloat16(), labels_T)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, loss_sum(LossSettings(), logits_TC.bfloat16().float(), labels_T))
