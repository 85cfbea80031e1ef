"""The losses that ranks record are the same bits whatever the steps that are summed at once."""

from pathlib import Path

import torch

from tests.parts import loss_ranks


def test_summed_losses_depend_on_no_rank_and_on_no_timing(tmp_path: Path) -> None:
    ranks, steps = 3, 60
    loss_ranks.spawn(ranks, steps, [1, 2, 7, 60], tmp_path)
    first, second, third = (loss_ranks.shares(rank, steps) for rank in range(ranks))
    in_order = first + second + third
    assert not torch.equal(in_order, first + (second + third))
    for rank in range(ranks):
        assert torch.equal(torch.load(tmp_path / f"{rank}.pt"), in_order.expand(4, steps))
