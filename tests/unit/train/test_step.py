"""What a micro-batch counts in validation agrees with counting by hand."""

import numpy as np
import pytest
import torch

from liftray.cache import codec
from liftray.data.batch import PackedBatch
from liftray.data.labels import IGNORE_INDEX, STATES, map_codes, map_probabilities
from liftray.train.step import Confusion, Inputs
from tests.parts import tiny

_CPU = torch.device("cpu")
_LOSS = tiny.loss(tiny.settings())


def _case(task: str, length: int = 115) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(len(task))
    logits_TC = torch.randn(length, len(STATES[task]), generator=generator)
    labels_T = torch.randint(len(STATES[task]), (length,), generator=generator)
    labels_T[torch.rand(length, generator=generator) < 0.3] = IGNORE_INDEX
    return logits_TC, labels_T


@pytest.mark.parametrize("task", ["ss3", "ss8", "ss9"])
@pytest.mark.parametrize("ss3_map", ["dssp", "lift"])
def test_scores_are_those_counted_by_hand(task: str, ss3_map: str) -> None:
    logits_TC, labels_T = _case(task)
    counts = Confusion(task, ss3_map, _CPU)
    counts.add(logits_TC[:46], labels_T[:46], _LOSS)
    counts.add(logits_TC[46:], labels_T[46:], _LOSS)
    scores = counts.scores(counts.packed())
    labelled_T = (labels_T != IGNORE_INDEX).numpy()
    true_T = labels_T.numpy()[labelled_T]
    probabilities_TC = logits_TC.softmax(-1).numpy()[labelled_T]
    own = float((probabilities_TC.argmax(-1) == true_T).mean())
    three = map_probabilities(probabilities_TC, task, "ss3", ss3_map).argmax(-1)
    assert scores[task.replace("ss", "q")] == pytest.approx(own)
    assert scores["q3"] == pytest.approx(float((three == map_codes(true_T, task, "ss3", ss3_map)).mean()))
    by_hand = -np.log(probabilities_TC[np.arange(len(true_T)), true_T]).mean()
    assert scores["loss"] == pytest.approx(float(by_hand), rel=1e-5)


def test_counts_of_two_ranks_add_up() -> None:
    logits_TC, labels_T = _case("ss9")
    whole, one, two = (Confusion("ss9", "dssp", _CPU) for _ in range(3))
    whole.add(logits_TC, labels_T, _LOSS)
    one.add(logits_TC[:23], labels_T[:23], _LOSS)
    two.add(logits_TC[23:], labels_T[23:], _LOSS)
    summed = one.packed() + two.packed()
    assert torch.equal(summed[:-1], whole.packed()[:-1])
    assert whole.scores(whole.packed()) == pytest.approx(whole.scores(summed))


def test_an_unlabelled_batch_counts_nothing() -> None:
    logits_TC, labels_T = _case("ss3")
    counts = Confusion("ss3", "dssp", _CPU)
    counts.add(logits_TC, torch.full_like(labels_T, IGNORE_INDEX), _LOSS)
    assert not counts.packed().any()
    assert counts.scores(counts.packed()) == {"q3": 0.0, "loss": 0.0}


@pytest.mark.parametrize("stored", ["float32", "bfloat16", None])
def test_inputs_are_the_packed_batch(stored: str | None) -> None:
    hidden_TD = torch.arange(28.0).view(7, 4)
    packed = PackedBatch(
        split="train", epoch=0, step=0, micro=0, scored=3, tokens_T=np.arange(7), labels_T=np.arange(7) % 3,
        cu_lens=np.array([0, 2, 7]), items=np.array([4, 1]),
        hidden_TR=codec.encode(hidden_TD, stored) if stored else None,
    )  # fmt: skip
    inputs = Inputs.of(packed, _CPU, stored)
    assert inputs.tokens_T.tolist() == packed.tokens_T.tolist()
    assert inputs.labels_T.tolist() == packed.labels_T.tolist()
    assert inputs.layout.lengths == (2, 5)
    assert inputs.layout.cu_lens.tolist() == [0, 2, 7]
    if stored:
        assert inputs.hidden_TD is not None
        assert torch.equal(inputs.hidden_TD.float(), hidden_TD)
    else:
        assert inputs.hidden_TD is None
