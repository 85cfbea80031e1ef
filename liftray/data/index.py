"""Where each window of a split is in its Parquet data sets, and how many of its residues are scored.

Invariant: memory is a few integers a chain, never the chains themselves. The planner reads `tokens` and `groups`; the
feed reads chains through `ChainReader`. Flow: Parquet -> [this] -> packing -> feed.
"""

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from liftray.data import labels
from liftray.data.dataset import ProteinDataset
from liftray.data.windows import Windows, divide
from liftray.errors import DataError


@dataclass(frozen=True)
class SplitIndex:
    """All windows of one split, which has N chains.

    Attributes:
        datasets: The split's Parquet data sets, in the order of their names.
        windows: The windows; `row` counts chains over all data sets.
        groups: (N,) row group of each chain, counted over all data sets.
        group_starts: (groups + 1,) first chain of each row group.
        scored: (windows,) labelled residues in each window's scored part.
    """

    datasets: tuple[ProteinDataset, ...]
    windows: Windows
    groups: npt.NDArray[np.int64]
    group_starts: npt.NDArray[np.int64]
    scored: npt.NDArray[np.int64]

    @property
    def row_groups(self) -> npt.NDArray[np.int64]:
        """(windows,) row group of each window."""
        return self.groups[self.windows.row]

    def class_counts(self, task: str, ss3_map: str) -> list[int]:
        """Count the labelled residues of each state, from the data sets' own histograms.

        Args:
            task: Alphabet to count in.
            ss3_map: How 9 states become 3.

        Returns:
            (C,) counts in the order of `STATES[task]`.

        Raises:
            DataError: A histogram is missing, or does not count the labelled residues that there are.
        """
        counts_C = np.zeros(len(labels.STATES[task]), dtype=np.int64)
        try:
            for dataset in self.datasets:
                histogram, states = dataset.info["label_histogram"], labels.STATES[dataset.alphabet]
                found = np.array([histogram[state] for state in states], dtype=np.int64)
                np.add.at(counts_C, labels.class_map(dataset.alphabet, task, ss3_map), found)
            if counts_C.min() < 0 or counts_C.sum() != self.scored.sum():
                raise ValueError(f"{counts_C.sum()} of {self.scored.sum()} labelled residues")
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise DataError(
                f"the label histogram does not count the labels ({error})",
                where=", ".join(dataset.path for dataset in self.datasets),
                remedy="make it again with 'liftray ingest'",
            ) from error
        return [int(count) for count in counts_C]


def build(paths: dict[str, str], *, max_length: int, task: str, ss3_map: str) -> SplitIndex:
    """Index the data sets of one split.

    Args:
        paths: Name -> directory of a Parquet data set.
        max_length: Widest window, in residues.
        task: Alphabet that is trained; every data set must map to it.
        ss3_map: How 9 states become 3.

    Returns:
        The index; chains without a single label are in it and score nothing.

    Raises:
        DataError: A data set is missing, damaged, empty of labels or of a poorer alphabet than the task.
    """
    datasets = tuple(ProteinDataset.open(paths[name]) for name in sorted(paths))
    lengths, labelled, groups, starts = [], [], [], [0]
    for dataset in datasets:
        _check_task(dataset, task, ss3_map)
        chains = dataset.index()
        groups.append(chains.row_group.astype(np.int64) + len(starts) - 1)
        sizes = np.bincount(chains.row_group, minlength=dataset.num_row_groups)
        starts.extend((starts[-1] + np.cumsum(sizes)).tolist())
        lengths.append(chains.lengths)
        labelled.append(chains.labelled)
    all_lengths = np.concatenate(lengths) if lengths else np.zeros(0, dtype=np.int32)
    windows = divide(all_lengths, max_length)
    index = SplitIndex(
        datasets=datasets,
        windows=windows,
        groups=np.concatenate(groups) if groups else np.zeros(0, dtype=np.int64),
        group_starts=np.array(starts, dtype=np.int64),
        scored=np.concatenate(labelled).astype(np.int64)[windows.row]
        if labelled
        else np.zeros(0, dtype=np.int64),
    )
    _count_windowed(index, all_lengths, max_length)
    if datasets and not index.scored.any():
        where = ", ".join(sorted(paths.values()))
        raise DataError("no labelled residue", where=where, remedy="give chains with labels other than X")
    return index


class ChainReader:
    """Reads chains by number, keeping the row groups used last.

    Args:
        index: The split.
        keep: Row groups held in memory.
    """

    def __init__(self, index: SplitIndex, keep: int = 48) -> None:
        self._index, self._keep = index, keep
        self._held: OrderedDict[int, pa.Table] = OrderedDict()
        counts = [dataset.num_row_groups for dataset in index.datasets]
        self._first_group = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

    def chain(self, row: int) -> tuple[str, str, str]:
        """Give one chain.

        Args:
            row: Its number over all data sets of the split.

        Returns:
            Sequence, labels, and the alphabet of the labels.
        """
        group = int(self._index.groups[row])
        offset = row - int(self._index.group_starts[group])
        which = int(np.searchsorted(self._first_group, group, side="right")) - 1
        table = self._table(which, group)
        return (
            table.column("sequence")[offset].as_py(),
            table.column("ss")[offset].as_py(),
            self._index.datasets[which].alphabet,
        )

    def _table(self, which: int, group: int) -> pa.Table:
        if group in self._held:
            self._held.move_to_end(group)
            return self._held[group]
        table = self._index.datasets[which].read_row_group(group - int(self._first_group[which]))
        self._held[group] = table.select(["sequence", "ss"]).combine_chunks()
        if len(self._held) > self._keep:
            self._held.popitem(last=False)
        return self._held[group]


def _check_task(dataset: ProteinDataset, task: str, ss3_map: str) -> None:
    try:
        labels.class_map(dataset.alphabet, task, ss3_map)
    except DataError as error:
        raise DataError(error.what, where=dataset.path, remedy=error.remedy) from error


def _count_windowed(index: SplitIndex, lengths: npt.NDArray[np.integer], max_length: int) -> None:
    reader = ChainReader(index)
    long = (
        np.flatnonzero(lengths[index.windows.row] > max_length)
        if len(lengths)
        else np.zeros(0, dtype=np.int64)
    )
    for window in long.tolist():
        _, ss, _ = reader.chain(int(index.windows.row[window]))
        part = ss[index.windows.score_start[window] : index.windows.score_stop[window]]
        index.scored[window] = len(part) - part.count(labels.UNLABELLED)
