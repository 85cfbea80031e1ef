"""A smaller data set of the same kind: the first chains in the order of their digests.

Invariant: the choice of chains depends on their content and the number alone, not on files or their order. The chains
of a smaller number are among those of a larger one. Flow: Parquet data sets -> [this] -> Parquet data sets.
"""

import hashlib
import heapq
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from liftray.data.dataset import ProteinDataset
from liftray.data.digest import ContentDigest
from liftray.data.ingest import ingest
from liftray.data.records import ALPHABET_KEY, SCHEMA, ProteinRecord
from liftray.errors import DataError


def first_by_digest(paths: Mapping[str, str], count: int) -> dict[str, list[ProteinRecord]]:
    """Choose chains of several data sets together.

    Args:
        paths: Name -> data set.
        count: Chains in all.

    Returns:
        By the data set's name, in its order; a set of which none was chosen is left out.

    Raises:
        DataError: A data set is missing or damaged.
    """
    chains = (
        (hashlib.sha256("\0".join((one.id, one.sequence, one.ss)).encode()).hexdigest(), name, row, one)
        for name in sorted(paths)
        for row, one in enumerate(ProteinDataset.open(paths[name]).iter_records())
    )
    chosen = heapq.nsmallest(count, chains, key=lambda chain: chain[:3])
    found: dict[str, list[ProteinRecord]] = {}
    for _, name, _, record in sorted(chosen, key=lambda chain: chain[1:3]):
        found.setdefault(name, []).append(record)
    return found


def take(paths: Mapping[str, str], count: int, out: Path) -> dict[str, str]:
    """Write the chosen chains as data sets of their own.

    Args:
        paths: Name -> data set.
        count: Chains in all.
        out: Directory for the new data sets; one of the same content that is there already is kept.

    Returns:
        Name -> the new data set.

    Raises:
        DataError: A data set is missing or damaged, or the place of a new one is occupied.
    """
    return _written(paths, first_by_digest(paths, count), out)


def divide(
    paths: Mapping[str, str], count: int, first: Path, others: Path
) -> tuple[dict[str, str], dict[str, str]]:
    """Write the chosen chains, and the others, as data sets of their own.

    Args:
        paths: Name -> data set.
        count: Chains to choose, in all.
        first: Directory for the data sets of those.
        others: Directory for the data sets of the others.

    Returns:
        Name -> data set, of the chosen and of the others.

    Raises:
        DataError: As in `take`.
    """
    chosen = first_by_digest(paths, count)
    left: dict[str, list[ProteinRecord]] = {}
    for name, path in paths.items():
        taken = {record.id for record in chosen.get(name, [])}
        rest = [record for record in ProteinDataset.open(path).iter_records() if record.id not in taken]
        if rest:
            left[name] = rest
    return _written(paths, chosen, first), _written(paths, left, others)


def _written(
    paths: Mapping[str, str], chosen: Mapping[str, list[ProteinRecord]], out: Path
) -> dict[str, str]:
    for name, records in chosen.items():
        alphabet = ProteinDataset.open(paths[name]).alphabet
        digest = ContentDigest()
        for record in records:
            digest.add(record.id, record.sequence, record.ss)
        if _digest(out / name) != digest.hexdigest(alphabet):
            _write(records, alphabet, out / name)
    return {name: str(out / name) for name in chosen}


def _digest(directory: Path) -> str | None:
    """The digest of the data set that is there and whole; None where there is none."""
    try:
        return ProteinDataset.open(directory).digest
    except DataError:
        return None


def _write(records: list[ProteinRecord], alphabet: str, out: Path) -> None:
    """By `ingest`, so that what it promises of a data set holds for this one."""
    rows = [
        {"id": one.id, "sequence": one.sequence, "ss": one.ss, "length": len(one.ss), "source": one.source}
        for one in records
    ]
    schema = SCHEMA.with_metadata({ALPHABET_KEY: alphabet.encode("ascii")})
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "chosen.parquet"
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), file)
        ingest([file], out, format="parquet", alphabet=alphabet, on_error="fail")
