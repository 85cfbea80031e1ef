"""What each of several spawned ranks runs for the test of summed losses; results go to files."""

from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from liftray.train.loop import sum_over_ranks


def shares(rank: int, steps: int) -> torch.Tensor:
    """A rank's share of each step's loss, of very different sizes, so that the order of a sum shows."""
    generator = torch.Generator().manual_seed(rank)
    return torch.randn(steps, generator=generator) * 10.0 ** torch.randint(
        -3, 4, (steps,), generator=generator
    )


def spawn(ranks: int, steps: int, pieces: list[int], out: Path) -> None:
    """Sum the steps' shares over ranks in pieces of each length; each rank saves its sums."""
    mp.spawn(_rank, args=(ranks, steps, pieces, out), nprocs=ranks)


def _rank(rank: int, ranks: int, steps: int, pieces: list[int], out: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{out / 'group'}", rank=rank, world_size=ranks)
    own = shares(rank, steps)
    sums = torch.stack([torch.cat([sum_over_ranks(one) for one in own.split(piece)]) for piece in pieces])
    torch.save(sums, out / f"{rank}.pt")
    dist.destroy_process_group()
