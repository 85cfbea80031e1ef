"""The loss is a sum over labelled residues, so that its parts add up to the mean of a global step."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from liftray.adapt import losses
from liftray.adapt.losses import Loss
from liftray.data.labels import IGNORE_INDEX, STATES, map_codes, map_probabilities
from tests.parts import tiny

_COUNTS = [4096, 16, 1296, 256, 1, 10000, 625, 81, 0]
_METRIC = {"head__kind": "metric"}
_VARIANTS: dict[str, dict[str, Any]] = {
    "cross_entropy": {},
    "smoothed": {"loss__label_smoothing": 0.1},
    "weighted": {"loss__class_weights": "inverse_frequency"},
    "weighted, smoothed": {"loss__class_weights": "inverse_sqrt", "loss__label_smoothing": 0.1},
    "normalised_softmax": {**_METRIC, "loss__kind": "normalised_softmax", "loss__scale": 30.0},
    "ldam": {**_METRIC, "loss__kind": "ldam"},
    "ldam, weighted": {**_METRIC, "loss__kind": "ldam", "loss__class_weights": "inverse_sqrt"},
    "multitask": {"loss__multitask__ss8": 0.5, "loss__multitask__ss3": 2.0},
}
variants = pytest.mark.parametrize("variant", _VARIANTS)


def _loss(**chosen: Any) -> Loss:
    settings = tiny.settings(task="ss9", **chosen)
    return tiny.loss(settings, _COUNTS if losses.needs_counts(settings.loss) else None)


def _case(length: int = 102, classes: int = 9) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits_TC = torch.randn(length, classes, generator=generator, dtype=torch.float64).float()
    labels_T = torch.randint(classes, (length,), generator=generator)
    labels_T[torch.rand(length, generator=generator) < 0.3] = IGNORE_INDEX
    return logits_TC, labels_T


def _nll(logits_TC: torch.Tensor, labels_T: torch.Tensor) -> torch.Tensor:
    """-ln p of each labelled residue, in float64."""
    labelled_T = labels_T != IGNORE_INDEX
    log_TC = logits_TC.double().log_softmax(-1)[labelled_T]
    return -log_TC.gather(1, labels_T[labelled_T, None])[:, 0]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_parts_over_the_step_make_the_mean_over_its_labelled_residues(smoothing: float) -> None:
    logits_TC, labels_T = _case()
    loss = _loss(loss__label_smoothing=smoothing)
    scored = int((labels_T != IGNORE_INDEX).sum())
    parts = sum(
        loss(logits_TC[part], labels_T[part]) / scored
        for part in (slice(0, 17), slice(17, 68), slice(68, None))
    )
    by_hand = []
    for logits_C, label in zip(logits_TC.double(), labels_T.tolist(), strict=True):
        if label != IGNORE_INDEX:
            log_C = logits_C.log_softmax(-1)
            by_hand.append(-(1 - smoothing) * log_C[label] - smoothing * log_C.mean())
    torch.testing.assert_close(parts, torch.stack(by_hand).mean().float(), atol=1e-6, rtol=1e-6)


@variants
def test_a_sum_is_the_sum_of_its_parts(variant: str) -> None:
    logits_TC, labels_T = _case()
    loss = _loss(**_VARIANTS[variant])
    alone = sum(loss(logits_TC[t : t + 1], labels_T[t : t + 1]).double() for t in range(len(labels_T)))
    torch.testing.assert_close(loss(logits_TC, labels_T).double(), alone, atol=1e-4, rtol=1e-6)


@variants
def test_what_stands_where_no_label_is_adds_exactly_nothing(variant: str) -> None:
    logits_TC, labels_T = _case()
    loss = _loss(**_VARIANTS[variant])
    labels_T[labels_T == 8] = 7  # a state that does not occur weighs nothing by design
    logits_TC.requires_grad_()
    total = loss(logits_TC, labels_T)
    (gradient_TC,) = torch.autograd.grad(total, logits_TC)
    assert (gradient_TC[labels_T == IGNORE_INDEX] == 0).all()
    assert (gradient_TC[labels_T != IGNORE_INDEX].abs().sum(-1) > 0).all()
    other_TC = logits_TC.detach().clone()
    other_TC[labels_T == IGNORE_INDEX] = 1e4
    assert loss(other_TC, labels_T) == total


@variants
def test_an_unlabelled_batch_is_zero_and_can_go_backward(variant: str) -> None:
    logits_TC, labels_T = _case()
    logits_TC.requires_grad_()
    loss = _loss(**_VARIANTS[variant])(logits_TC, torch.full_like(labels_T, IGNORE_INDEX))
    loss.backward()
    assert loss.item() == 0.0
    assert (logits_TC.grad == 0).all()


@variants
def test_half_precision_logits_are_summed_in_float32(variant: str) -> None:
    logits_TC, labels_T = _case()
    loss = _loss(**_VARIANTS[variant])
    total = loss(logits_TC.bfloat16(), labels_T)
    assert total.dtype == torch.float32
    torch.testing.assert_close(total, loss(logits_TC.bfloat16().float(), labels_T))


@variants
def test_a_loss_has_nothing_to_train(variant: str) -> None:
    assert not list(_loss(**_VARIANTS[variant]).parameters())


def test_inverse_frequency_makes_all_states_weigh_the_same() -> None:
    weights_C = losses.class_weights("inverse_frequency", [100, 50, 10])
    # 160 residues in 3 states: 160 / (3 n_j).
    torch.testing.assert_close(weights_C, torch.tensor([0.533333, 1.066667, 5.333333]))


def test_inverse_sqrt_weighs_less_steeply() -> None:
    weights_C = losses.class_weights("inverse_sqrt", [100, 25, 0, 4])
    # 129 residues; sum of n_j / sqrt(n_j) = 10 + 5 + 2 = 17: 129 / (17 sqrt(n_j)).
    expected = [129 / 170, 129 / 85, 0.0, 129 / 34]
    torch.testing.assert_close(weights_C, torch.tensor(expected))


@pytest.mark.parametrize("kind", ["inverse_frequency", "inverse_sqrt"])
def test_the_mean_weight_of_the_training_residues_is_one(kind: str) -> None:
    weights_C, counts_C = losses.class_weights(kind, _COUNTS).double(), torch.tensor(_COUNTS).double()
    assert float((weights_C * counts_C).sum() / counts_C.sum()) == pytest.approx(1.0, rel=1e-6)


@pytest.mark.parametrize("kind", ["inverse_frequency", "inverse_sqrt"])
def test_a_residue_weighs_as_its_state_does(kind: str) -> None:
    logits_TC, labels_T = _case()
    weights_C = losses.class_weights(kind, _COUNTS)
    by_hand = (weights_C[labels_T[labels_T != IGNORE_INDEX]] * _nll(logits_TC, labels_T)).sum()
    found = _loss(loss__class_weights=kind)(logits_TC, labels_T)
    torch.testing.assert_close(found.double(), by_hand, rtol=1e-6, atol=1e-6)


def test_margins_fall_with_the_fourth_root_of_the_count() -> None:
    # n^(-1/4) of 16, 81, 1296, 10000: 1/2, 1/3, 1/6, 1/10; the largest becomes 0.6.
    margins_C = losses.margins([16, 81, 0, 1296, 10000], 0.6)
    torch.testing.assert_close(margins_C, torch.tensor([0.6, 0.4, 0.0, 0.2, 0.12]))


def test_ldam_of_one_residue_by_hand() -> None:
    """Cosines 0.5, 0.2, -0.1 as a head of temperature 18 gives them; counts 1, 16, 81: margins 0.5, 0.25, 1/6."""
    settings = tiny.settings(task="ss3", loss__kind="ldam", loss__scale=10.0, **_METRIC)
    cosines = [0.5, 0.2, -0.1]
    found = tiny.loss(settings, [1, 16, 81])(18.0 * torch.tensor([cosines]), torch.tensor([1]))
    # The true state's cosine 0.2 less its margin 0.25, all times 10.
    scores = [5.0, -0.5, -1.0]
    by_hand = -scores[1] + math.log(sum(math.exp(score) for score in scores))
    assert found.item() == pytest.approx(by_hand, rel=1e-6)


def test_ldam_lays_no_margin_on_the_other_states() -> None:
    logits_TC, labels_T = _case()
    found = _loss(**_METRIC, loss__kind="ldam")(logits_TC, labels_T)
    margins_C = losses.margins(_COUNTS, 0.5)
    lowered_TC = logits_TC.double().clone()
    for t, label in enumerate(labels_T.tolist()):
        if label != IGNORE_INDEX:
            lowered_TC[t, label] -= 18.0 * margins_C[label].double()
    torch.testing.assert_close(found.double(), _nll(lowered_TC, labels_T).sum(), rtol=1e-6, atol=1e-5)


def test_normalised_softmax_is_cross_entropy_of_scaled_cosines() -> None:
    logits_TC, labels_T = _case()
    plain = _loss(**_METRIC)(logits_TC, labels_T)
    assert _loss(**_METRIC, loss__kind="normalised_softmax")(logits_TC, labels_T) == plain
    wider = _loss(**_METRIC, loss__kind="normalised_softmax", loss__scale=27.0)
    torch.testing.assert_close(
        wider(logits_TC, labels_T).double(), _nll(1.5 * logits_TC, labels_T).sum(), rtol=1e-6, atol=1e-5
    )


@pytest.mark.parametrize("ss3_map", ["dssp", "lift"])
@pytest.mark.parametrize("task", ["ss9", "ss8"])
def test_coarser_alphabets_are_scored_by_summed_probabilities(task: str, ss3_map: str) -> None:
    logits_TC, labels_T = _case(classes=len(STATES[task]))
    weights = {"ss8": 0.5, "ss3": 2.0} if task == "ss9" else {"ss3": 2.0}
    chosen = {f"loss__multitask__{alphabet}": weight for alphabet, weight in weights.items()}
    found = tiny.loss(tiny.settings(task=task, ss3_map=ss3_map, **chosen))(logits_TC, labels_T)
    by_hand = float(_nll(logits_TC, labels_T).sum())
    labelled_T = (labels_T != IGNORE_INDEX).numpy()
    probabilities_TC = logits_TC.double().softmax(-1).numpy()[labelled_T]
    for alphabet, weight in weights.items():
        coarse_T = map_codes(labels_T.numpy()[labelled_T], task, alphabet, ss3_map)
        coarse_TK = map_probabilities(probabilities_TC, task, alphabet, ss3_map)
        by_hand += weight * -np.log(coarse_TK[np.arange(len(coarse_T)), coarse_T]).sum()
    assert found.item() == pytest.approx(by_hand, rel=1e-6)


def test_coarser_scores_survive_logits_far_apart() -> None:
    logits_TC = torch.tensor([[200.0, 0.0, -200.0, 0, 0, 0, 0, 0, 0]], requires_grad=True)
    loss = _loss(loss__multitask__ss3=1.0)(logits_TC, torch.tensor([2]))
    loss.backward()
    assert loss.item() == pytest.approx(400.0 + 200.0)
    assert torch.isfinite(logits_TC.grad).all()


@pytest.mark.parametrize("chosen", [{"loss__class_weights": "inverse_sqrt"}, _VARIANTS["ldam"]])
def test_a_loss_over_class_counts_does_not_begin_without_them(chosen: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="takes counts"):
        tiny.loss(tiny.settings(**chosen))
