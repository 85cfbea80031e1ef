"""The scores of each arm's runs, chain by chain, in the form that the statistics need.

Invariant: the runs of an arm have the same labelled chains in the same order, or are refused. Flow:
validation.parquet and held_out/*.parquet of each run -> [this] -> inference.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from liftray import sealed
from liftray.errors import DataError
from liftray.statistics.paired import ChainCounts

ACCURACIES = ("q9", "q8", "q3", "q3_dssp", "q3_lift")
CHAIN_MEANS = ("sov99",)
"""Scores that are averaged over the chains of a set with equal weights; accuracies are pooled over residues."""

ArmCounts = dict[str, ChainCounts]
"""Score -> counts, of one arm on one set."""


def read(files: Sequence[Path]) -> ArmCounts:
    """Read one set's chains as the runs of one arm predicted them.

    Args:
        files: Tables that `evaluation_report.per_protein` made, one for each seed.

    Returns:
        The accuracies that all tables have, and SOV'99 as the mean over chains. Chains without a label are left out.

    Raises:
        DataError: The runs predicted different chains.
    """
    tables = [_labelled(sealed.read_table(file)) for file in files]
    first = tables[0]
    chains = tuple(first.column("id").to_pylist())
    for file, table in zip(files, tables, strict=True):
        if tuple(table.column("id").to_pylist()) != chains or table.column("labelled") != first.column(
            "labelled"
        ):
            raise DataError("the runs of an arm predicted different chains", where=str(file))
    labelled_N = first.column("labelled").to_numpy().astype(np.float64)
    counts: ArmCounts = {}
    for score in (*ACCURACIES, *CHAIN_MEANS):
        if all(score in table.column_names for table in tables):
            share_JN = np.stack([table.column(score).to_numpy().astype(np.float64) for table in tables])
            if score in ACCURACIES:
                counts[score] = ChainCounts(chains, np.rint(share_JN * labelled_N), labelled_N)
            else:
                counts[score] = ChainCounts(chains, share_JN, np.ones(len(chains)))
    return counts


def pooled(sets: Mapping[str, ArmCounts]) -> ArmCounts:
    """Several sets as one; only the scores that all of them have.

    Args:
        sets: Name -> counts of one arm.
    """
    scores = [
        score for score in next(iter(sets.values())) if all(score in samples for samples in sets.values())
    ]
    return {score: _joined({name: samples[score] for name, samples in sets.items()}) for score in scores}


def _joined(samples: Mapping[str, ChainCounts]) -> ChainCounts:
    chains = [f"{name}/{chain}" for name, one in samples.items() for chain in one.chains]
    hits_JN = np.concatenate([one.hits_JN for one in samples.values()], axis=1)
    return ChainCounts(tuple(chains), hits_JN, np.concatenate([one.size_N for one in samples.values()]))


def _labelled(table: pa.Table) -> pa.Table:
    return table.filter(pa.array(table.column("labelled").to_numpy() > 0))
