"""The feed: Ray Data turns a rank's share of the plan into packed batches.

Invariant: a rank receives exactly its turns of the plan, in order, from the step where it starts. So a global step is
the same set of chains on any number of ranks, and a resumed run continues with the next step. One stream serves all
epochs, so that read-ahead never pauses: validation batches follow each epoch's training batches.
Flow: SplitIndex -> packing -> [this: Ray Data] -> worker.
"""

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from liftray.backbone.tokens import TokenTable
from liftray.data import batch, labels, packing
from liftray.data.batch import TRAIN, VALID, PackedBatch
from liftray.data.index import ChainReader, SplitIndex

# Items of one Ray Data execution at most: bounds the plan a worker holds, however many epochs are to come.
_SEGMENT_ITEMS = 1_000_000
_ROWS_PER_CALL = 16
# What an empty turn runs.
NOTHING = "A"


class StoredStates(Protocol):
    """Hidden states at the cut, computed before the run; goes to other processes by pickling."""

    @property
    def block(self) -> int:
        """Block whose input they are."""

    @property
    def stored(self) -> str:
        """How a number is stored: `float32`, `bfloat16` or `int8`."""

    def read(self, split: str, item: int | None) -> npt.NDArray[np.uint8]:
        """(tokens, bytes a token) of one window of a split; None: of NOTHING."""


@dataclass(frozen=True)
class FeedSpec:
    """All that the stream depends on, except rank and start.

    Attributes:
        train: Windows to train on.
        valid: Windows to validate on after each epoch; may be empty.
        tokens: The backbone's token table.
        task: Alphabet of the labels that are fed.
        ss3_map: How 9 states become 3.
        seed: The run's seed.
        budget: Most tokens of a micro-batch.
        per_step: Micro-batches of a global step.
        step_tokens: Most tokens of a global step, which is planned as a whole and then divided into `per_step`
            micro-batches; None: micro-batches are planned, and `per_step` of them are a step.
        by_length: Whether windows of similar length share a micro-batch, for a model that pads; see
            `packing.plan_train`.
        prefix: Where the windows' hidden states at the cut are stored; None: the model computes them.
    """

    train: SplitIndex
    valid: SplitIndex
    tokens: TokenTable
    task: str
    ss3_map: str
    seed: int
    budget: int
    per_step: int
    by_length: bool = True
    prefix: StoredStates | None = None
    step_tokens: int | None = None

    def token_lengths(self, split: SplitIndex) -> npt.NDArray[np.int64]:
        """Tokens of each window, special tokens included."""
        return split.windows.lengths + self.tokens.num_leading + self.tokens.num_trailing

    def plan(self, epoch: int) -> packing.EpochPlan:
        """The training plan of one epoch."""
        plan = self._steps(epoch)
        if self.step_tokens is None:
            return plan
        lengths = self.token_lengths(self.train)
        return packing.split_steps(plan, lengths, parts=self.per_step, by_length=self.by_length)

    def num_steps(self, epoch: int) -> int:
        """Global steps of one epoch; whole steps are counted without dividing them, which takes far longer."""
        return self._steps(epoch).num_steps

    def _steps(self, epoch: int) -> packing.EpochPlan:
        """The plan of micro-batches, or of whole steps where these are divided afterwards."""
        return packing.plan_train(
            self.token_lengths(self.train),
            seed=self.seed,
            epoch=epoch,
            budget=self.budget if self.step_tokens is None else self.step_tokens,
            per_step=self.per_step if self.step_tokens is None else 1,
            groups=self.train.row_groups,
            by_length=self.by_length,
        )

    def idle_share(self, epoch: int, ranks: int) -> float:
        """Share of the ranks' time in which one waits for the others in an epoch; see `packing.idle_share`."""
        lengths = self.token_lengths(self.train)
        return packing.idle_share(self.plan(epoch), lengths, ranks=ranks, padded=self.by_length)

    def turns(self, ranks: int) -> int:
        """Micro-batches of each rank in each global step: the gradient accumulation."""
        return -(-self.per_step // ranks)


class Feed:
    """One rank's stream of packed batches.

    Args:
        spec: What is fed.
        rank: This rank.
        ranks: Number of ranks.
    """

    def __init__(self, spec: FeedSpec, rank: int, ranks: int) -> None:
        self._spec, self._rank, self._ranks = spec, rank, ranks
        self._valid_plan = packing.plan_in_order(spec.token_lengths(spec.valid), budget=spec.budget)

    def plan_rows(self, epoch: int, start_step: int = 0) -> list[dict[str, Any]]:
        """This rank's turns of one epoch, training then validation, as rows of item numbers."""
        plan = self._spec.plan(epoch)
        turns = packing.deal(plan.num_micro, plan.per_step, self._ranks, self._rank, start_step)
        rows: list[dict[str, Any]] = []
        for step, numbers in enumerate(turns.tolist(), start=start_step):
            scored = int(self._spec.train.scored[plan.step(step)].sum())
            rows.extend(_row(TRAIN, epoch, step, number, scored, plan.micro(number)) for number in numbers)
        # Every rank validates equally often, so that ZeRO-3's gathers meet; the turns left over are empty.
        valid = packing.deal(self._valid_plan.num_micro, self._ranks, self._ranks, self._rank)
        for step, (number,) in enumerate(valid.tolist()):
            rows.append(_row(VALID, epoch, step, number, 1, self._valid_plan.micro(number)))
        return rows

    def batches(self, epochs: int, start_epoch: int = 0, start_step: int = 0) -> Generator[PackedBatch]:
        """Stream packed batches from a place in the run to its last epoch.

        Args:
            epochs: Epochs of the whole run.
            start_epoch: Epoch to begin in.
            start_step: Global step of that epoch to begin with.

        Yields:
            Batches in the order of `plan_rows`.
        """
        rows: list[dict[str, Any]] = []
        for epoch in range(start_epoch, epochs):
            rows.extend(self.plan_rows(epoch, start_step if epoch == start_epoch else 0))
            if sum(len(row["items"]) for row in rows) >= _SEGMENT_ITEMS or epoch == epochs - 1:
                yield from self._run(rows)
                rows = []

    def local_batches(self, epochs: int, start_epoch: int = 0, start_step: int = 0) -> Generator[PackedBatch]:
        """The stream of `batches`, gathered in this process without Ray."""
        gather = Gather(self._spec)
        for epoch in range(start_epoch, epochs):
            for row in self.plan_rows(epoch, start_step if epoch == start_epoch else 0):
                yield gather.gather(row)

    def _run(self, rows: list[dict[str, Any]]) -> Iterator[PackedBatch]:
        import ray.data
        from ray.data import ExecutionOptions
        from ray.data.context import DataContext

        context = DataContext.get_current()
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        # Small blocks: a batch reaches the worker when it is ready, not when 128 MB of them are.
        context.target_max_block_size = 1 << 20
        # Item numbers travel as bytes, so that a block of empty turns has the same type as any other. `from_items`
        # starts no task: one would wait for ever for a CPU on a cluster whose CPUs all train.
        plan = [{**row, "items": np.array(row["items"], dtype=np.int64).tobytes()} for row in rows]
        dataset = ray.data.from_items(plan, override_num_blocks=-(-len(plan) // _ROWS_PER_CALL))
        dataset.context.execution_options = ExecutionOptions(preserve_order=True)
        gathered = dataset.map_batches(
            Gather,
            fn_constructor_args=(self._spec,),
            batch_format="pyarrow",
            batch_size=_ROWS_PER_CALL,
            num_cpus=0,  # light, and it must start though all CPUs train
            compute=ray.data.ActorPoolStrategy(size=1),
        )
        for table in gathered.iter_batches(batch_size=1, batch_format="pyarrow", prefetch_batches=4):
            yield from batch.from_arrow(table)


class Gather:
    """The Ray Data stage: reads chains, checks and tokenises them, and packs each plan row into one batch.

    Args:
        spec: What is fed.
    """

    def __init__(self, spec: FeedSpec) -> None:
        self._spec = spec
        self._splits = {TRAIN: spec.train, VALID: spec.valid}
        self._readers = {name: ChainReader(split) for name, split in self._splits.items()}

    def __call__(self, plan: pa.Table) -> pa.Table:
        """Turn plan rows into batch rows, in order; item numbers come as bytes."""
        rows = [
            {**row, "items": np.frombuffer(row["items"], dtype=np.int64).tolist()} for row in plan.to_pylist()
        ]
        return pa.Table.from_pylist([self.gather(row).row() for row in rows], schema=batch.ROW_SCHEMA)

    def gather(self, row: dict[str, Any]) -> PackedBatch:
        """Pack the windows that one plan row names."""
        windows = [self._window(row["split"], item) for item in row["items"]] or [self._nothing()]
        tokens, codes, hidden = zip(*windows, strict=True)
        return PackedBatch(
            split=row["split"],
            epoch=row["epoch"],
            step=row["step"],
            micro=row["micro"],
            scored=row["scored"],
            tokens_T=np.concatenate(tokens),
            labels_T=np.concatenate(codes),
            cu_lens=np.cumsum([0, *(len(each) for each in tokens)]),
            items=np.array(row["items"], dtype=np.int64),
            hidden_TR=None if self._spec.prefix is None else np.concatenate(hidden),
        )

    def _window(self, split: str, item: int) -> "_Window":
        windows = self._splits[split].windows
        sequence, ss, alphabet = self._readers[split].chain(int(windows.row[item]))
        start, stop = int(windows.start[item]), int(windows.stop[item])
        tokens = self._spec.tokens.encode(sequence[start:stop])
        codes = np.full(len(tokens), labels.IGNORE_INDEX, dtype=np.int64)
        left, right = int(windows.score_start[item]), int(windows.score_stop[item])
        scored = labels.map_codes(
            labels.encode(ss[left:right], alphabet), alphabet, self._spec.task, self._spec.ss3_map
        )
        first = self._spec.tokens.num_leading + left - start
        codes[first : first + len(scored)] = scored
        return tokens, codes, self._stored(split, item)

    def _nothing(self) -> "_Window":
        # A rank with nothing to do still runs one residue without a label: all ranks must join each collective.
        tokens = self._spec.tokens.encode(NOTHING)
        return tokens, np.full(len(tokens), labels.IGNORE_INDEX, dtype=np.int64), self._stored(TRAIN, None)

    def _stored(self, split: str, item: int | None) -> npt.NDArray[np.uint8] | None:
        return None if self._spec.prefix is None else self._spec.prefix.read(split, item)


_Window = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.uint8] | None]


def _row(
    split: str, epoch: int, step: int, number: int, scored: int, items: npt.NDArray[np.int64]
) -> dict[str, Any]:
    return {
        "split": split,
        "epoch": epoch,
        "step": step,
        "micro": number,
        "scored": scored,
        "items": items.tolist(),
    }
