"""One process of a fill: it computes and commits the chunks that Ray Data hands it.

Invariant: a chunk's entries are committed whole, at each of its blocks, or are missing. Flow: fill -> [this] -> store.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from liftray.backbone.sources import resolve
from liftray.cache.key import PrefixKey, entry_id
from liftray.cache.reader import Reader as StoredReader
from liftray.cache.store import Store
from liftray.data.feed import NOTHING
from liftray.data.index import ChainReader, SplitIndex
from liftray.errors import BackboneError, CacheError
from liftray.progress import show_line

TOKENS_PER_BATCH = 16_384  # on a GPU; a CPU runs window by window


@dataclass(frozen=True)
class FillJob:
    """A fill as its actors need it.

    Attributes:
        source: The backbone source that the driver reached.
        backbone_digest: Digest that each node's copy must have.
        key: The key of the stores, except the blocks, which each row names.
        root: The cache's directory.
        splits: Windows by split.
    """

    source: str
    backbone_digest: str
    key: PrefixKey
    root: str
    splits: dict[str, SplitIndex]


class PrefixActor:
    """One actor of a fill: a backbone, and a writer for each chunk.

    Args:
        job: The fill.
    """

    def __init__(self, job: FillJob) -> None:
        from liftray.backbone import model as backbones

        resolved = resolve([job.source])
        if resolved.digest != job.backbone_digest:
            raise BackboneError(
                "this node's copy of the backbone differs from the driver's",
                where=job.source,
                remedy="give every node the same files",
            )
        self._job = job
        self._backbone = backbones.load(resolved, dtype=job.key.compute, device=job.key.device)  # type: ignore[arg-type]
        self._readers = {name: ChainReader(split) for name, split in job.splits.items()}

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Compute and commit one chunk."""
        [split], [start], [items], [blocks] = batch["split"], batch["start"], batch["items"], batch["blocks"]
        residues = [NOTHING] if not split else list(self._residues(str(split), items))
        key = self._job.key
        with self._below(residues, int(start)) as below, ExitStack() as commits:
            writers = {
                block: commits.enter_context(Store.open(self._job.root, key.at(block)).writer())
                for block in blocks
            }
            for group in _batches(residues, 1 if key.device == "cpu" else TOKENS_PER_BATCH):
                for block, states in self._states(group, int(start), list(writers), below):
                    for one, rows_LR in zip(group, states, strict=True):
                        writers[block].add(entry_id(one), rows_LR)
        return {"residues": batch["residues"]}

    def _residues(self, split: str, items: bytes) -> Iterator[str]:
        windows = self._job.splits[split].windows
        for item in np.frombuffer(items, dtype=np.int64).tolist():
            sequence = self._readers[split].chain(int(windows.row[item]))[0]
            yield sequence[int(windows.start[item]) : int(windows.stop[item])]

    def _states(
        self, group: list[str], start: int, blocks: list[int], below: StoredReader | None
    ) -> Iterator[tuple[int, list[Any]]]:
        """Each block, the lowest first, and rows_LR of each window there."""
        import torch

        from liftray.backbone.packed import WindowLayout
        from liftray.cache import codec

        key, backbone = self._job.key, self._backbone
        tokens = [torch.from_numpy(backbone.tokens.encode(one)) for one in group]
        layout = WindowLayout.of(tuple(len(each) for each in tokens), key.device)
        tokens_T = torch.cat(tokens).to(key.device)
        hidden_TD = None if below is None else self._stored(group, below)
        if hidden_TD is None:
            start = 0
        for block in blocks:
            with backbone.autocast(key.device):
                hidden_TD = backbone.run_frozen(tokens_T, layout, block, start, hidden_TD)
            start = block
            yield block, np.split(codec.encode(hidden_TD, key.stored), np.cumsum(layout.lengths)[:-1])

    def _stored(self, group: list[str], below: StoredReader) -> Any:
        """Stored hidden_TD of the windows; None where an entry is damaged, and the residues are the start."""
        import torch

        from liftray.cache import codec

        try:
            rows_TR = np.concatenate([below.read(entry_id(one)) for one in group])
        except CacheError as error:
            show_line(f"cache: {error}")
            return None
        return codec.decode(torch.from_numpy(rows_TR).to(self._job.key.device), self._job.key.stored)

    def _below(self, residues: list[str], start: int) -> AbstractContextManager[StoredReader | None]:
        """A reader of the stored hidden states at a lower block; None where the residues are the start."""
        if start == 0:
            return nullcontext()
        return Store.open(self._job.root, self._job.key.at(start)).reader([entry_id(one) for one in residues])


def _batches(residues: list[str], budget: int) -> Iterator[list[str]]:
    """Groups of neighbours whose residues are within a budget; at least one each."""
    group: list[str] = []
    size = 0
    for one in residues:
        if group and size + len(one) > budget:
            yield group
            group, size = [], 0
        group.append(one)
        size += len(one)
    if group:
        yield group
