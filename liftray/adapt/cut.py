"""The cut: the place in the backbone where the frozen part ends and training begins.

Invariant: `skipped <= entry <= depth`; the states at `entry` are the same in every step and every trial. Pure.
Flow: settings and backbone -> `prepare` -> [this] -> cache key, feed, worker, memory estimate, search, reports.
"""

from dataclasses import dataclass

from liftray.adapt import kinds
from liftray.sections import AdapterSettings


@dataclass(frozen=True)
class Cut:
    """Where the frozen part of a backbone ends.

    Attributes:
        skipped: Blocks without adapters and without gradient, counted from the lowest (`adapter.skip_layers`); all of
            them where the backbone stays frozen and the head reads its last block alone.
        entry: Block whose input is the last constant state. It equals `depth` where every block is constant.
        depth: Blocks of the backbone.

    Raises:
        ValueError: The three numbers contradict each other.
    """

    skipped: int
    entry: int
    depth: int

    def __post_init__(self) -> None:
        if not 0 <= self.skipped <= self.entry <= self.depth:
            raise ValueError(f"no cut: {self.skipped} <= {self.entry} <= {self.depth} must hold")

    @classmethod
    def of(
        cls, method: str, adapter: AdapterSettings, family: str, num_blocks: int, mix_blocks: bool = False
    ) -> "Cut":
        """Find the cut of a run.

        Args:
            method: `adapter`: the adapter kind decides (`kinds.entry`); `full`: block k; `features`: the end, or
                block k + 1 where the head mixes blocks, because the output of block k is the first that it reads.
            adapter: Kind, its settings and k.
            family: Family of the backbone.
            num_blocks: Blocks of the backbone.
            mix_blocks: Whether the head reads the outputs of all blocks above the skipped ones.
        """
        if method == "features" and not mix_blocks:
            return cls(num_blocks, num_blocks, num_blocks)
        skipped = adapter.skip_layers
        if method == "adapter":
            return cls(skipped, kinds.entry(adapter, family), num_blocks)
        return cls(skipped, skipped if method == "full" else skipped + 1, num_blocks)

    @property
    def above(self) -> int:
        """Blocks that are not skipped: those with adapters, or whose outputs a head mixes."""
        return self.depth - self.skipped

    @property
    def has_prefix(self) -> bool:
        """Whether at least one block is constant."""
        return self.entry > 0

    @property
    def enters_behind_block(self) -> bool:
        """Whether the last constant state is the output of block `skipped`, not its input."""
        return self.entry > self.skipped
