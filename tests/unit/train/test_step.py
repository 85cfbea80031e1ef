"""What a micro-batch counts in validation agrees with counting by hand."""

import numpy as np
import pytest
import torch

from liftray.config import LossSettings
from liftray.data.batch import PackedBatch
from liftray.data.labels import IGNORE_INDEX, STATES, map_codes, map_probabilities
from liftray.train.step import Confusion, Inputs

_CPU = torch.device("cpu")


def _case(task: str, batch: int = 5, length: int = 23) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(len(task))
    logits_BLC = torch.randn(batch, length, len(STATES[task]), generator=generator)
    labels_BL = torch.randint(len(STATES[task]), (batch, length), generator=generator)
    labels_BL[torch.rand(batch, length, generator=generator) < 0.3] = IGNORE_INDEX
    return logits_BLC, labels_BL


@pytest.mark.parametrize("task", ["ss3", "ss8", "ss9"])
@pytest.mark.parametrize("ss3_map", ["dssp", "lift"])
def test_scores_are_those_counted_by_hand(task: str, ss3_map: str) -> None:
    logits_BLC, labels_BL = _case(task)
    counts = Confusion(task, ss3_map, _CPU)
    counts.add(logits_BLC[:2], labels_BL[:2], LossSettings())
    counts.add(logits_BLC[2:], labels_BL[2:], LossSettings())
    scores = counts.scores(counts.packed())
    labelled_BL = (labels_BL != IGNORE_INDEX).numpy()
    true_T = labels_BL.numpy()[labelled_BL]
    probabilities_TC = logits_BLC.softmax(-1).numpy()[labelled_BL]
    own = float((probabilities_TC.argmax(-1) == true_T).mean())
    three = map_probabilities(probabilities_TC, task, "ss3", ss3_map).argmax(-1)
    assert scores[task.replace("ss", "q")] == pytest.approx(own)
    assert scores["q3"] == pytest.approx(float((three == map_codes(true_T, task, "ss3", ss3_map)).mean()))
    by_hand = -np.log(probabilities_TC[np.arange(len(true_T)), true_T]).mean()
    assert scores["loss"] == pytest.approx(float(by_hand), rel=1e-5)


def test_counts_of_two_ranks_add_up() -> None:
    logits_BLC, labels_BL = _case("ss9")
    whole, one, two = (Confusion("ss9", "dssp", _CPU) for _ in range(3))
    whole.add(logits_BLC, labels_BL, LossSettings())
    one.add(logits_BLC[:1], labels_BL[:1], LossSettings())
    two.add(logits_BLC[1:], labels_BL[1:], LossSettings())
    summed = one.packed() + two.packed()
    assert torch.equal(summed[:-1], whole.packed()[:-1])
    assert whole.scores(whole.packed()) == pytest.approx(whole.scores(summed))


def test_an_unlabelled_batch_counts_nothing() -> None:
    logits_BLC, labels_BL = _case("ss3")
    counts = Confusion("ss3", "dssp", _CPU)
    counts.add(logits_BLC, torch.full_like(labels_BL, IGNORE_INDEX), LossSettings())
    assert not counts.packed().any()
    assert counts.scores(counts.packed()) == {"q3": 0.0, "loss": 0.0}


def test_inputs_are_the_padded_batch() -> None:
    packed = PackedBatch(
        split="train", epoch=0, step=0, micro=0, scored=3, tokens_T=np.arange(7), labels_T=np.arange(7) % 3,
        cu_lens=np.array([0, 2, 7]), items=np.array([4, 1]),
    )  # fmt: skip
    inputs = Inputs.of(packed, 9, _CPU)
    for tensor, array in zip(
        (inputs.tokens_BL, inputs.mask_BL, inputs.labels_BL), packed.padded(9), strict=True
    ):
        assert np.array_equal(tensor.numpy(), array)
