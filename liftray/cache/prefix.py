"""The stored hidden states of a run's windows, as its feed reads them.

Invariant: the states belong to the requested window, under the key that the run computed for its own backbone and cut.
Flow: fill -> [this] -> feed.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from liftray.cache.key import ID_BYTES, PrefixKey, entry_id
from liftray.cache.reader import Reader
from liftray.cache.store import Store
from liftray.data.feed import NOTHING
from liftray.data.index import ChainReader, SplitIndex

Ids = npt.NDArray[np.uint8]


class StoredPrefix:
    """A filled store, and the entry of each window in it.

    Args:
        root: The cache's directory, on storage that all nodes share.
        key: What the stored bytes depend on.
        ids: Split -> (N, 16) entry ids of its windows.
    """

    def __init__(self, root: str, key: PrefixKey, ids: Mapping[str, Ids]) -> None:
        self.root, self.key, self.ids = root, key, dict(ids)
        self._nothing = entry_id(NOTHING)
        self._reader: Reader | None = None

    @property
    def block(self) -> int:
        """Block whose input is stored."""
        return self.key.block

    @property
    def stored(self) -> str:
        """How a number is stored."""
        return self.key.stored

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_reader": None}

    def all_ids(self) -> list[bytes]:
        """Every entry that a run reads, each once."""
        return list(dict.fromkeys([self._nothing, *self._windows()]))

    def _windows(self) -> Iterator[bytes]:
        for ids in self.ids.values():
            for row in ids:
                yield row.tobytes()

    def hold(self) -> Reader:
        """Take leases on this run's shards, so that none is removed while this object lives in this process.

        Raises:
            CacheError: An entry is missing.
        """
        if self._reader is None:
            self._reader = Store(self.root, self.key).reader(self.all_ids())
        return self._reader

    def read(self, split: str, item: int | None) -> npt.NDArray[np.uint8]:
        """Read one window's rows.

        Args:
            split: Name of the split.
            item: Number of the window within it; None: what an empty turn runs.

        Returns:
            rows_LR, (tokens, bytes a token).

        Raises:
            CacheError: An entry is missing or damaged.
        """
        return self.hold().read(self._nothing if item is None else self.ids[split][item].tobytes())


def ids_of(split: SplitIndex) -> Ids:
    """(N, 16) entry ids of a split's windows; reads every chain once."""
    reader = ChainReader(split)
    windows = split.windows
    ids = np.empty((len(windows.row), ID_BYTES), dtype=np.uint8)
    for item, (row, start, stop) in enumerate(
        zip(windows.row.tolist(), windows.start.tolist(), windows.stop.tolist(), strict=True)
    ):
        ids[item] = np.frombuffer(entry_id(reader.chain(row)[0][start:stop]), dtype=np.uint8)
    return ids
