"""Blocks of several FASTA files brought together by id, whatever the order of each file.

Invariant: every block of every file is in exactly one result. With equal orders one block of each file is in memory;
else those that wait for their partner are, up to `MAX_WAITING` characters. Flow: blocks -> [this] -> fasta.
"""

from collections.abc import Iterator, Sequence

from liftray.data.formats.blocks import Block
from liftray.data.records import BadRecord
from liftray.errors import DataError

MAX_WAITING = 1 << 28

Joined = list[Block | BadRecord | None]


def join_by_id(streams: Sequence[Iterator[Block | BadRecord]]) -> Iterator[Joined]:
    """Yield the blocks of one id, in the order in which they are complete.

    Args:
        streams: The blocks of each file.

    Yields:
        For each file the block or BadRecord, None where the file has none of this id.

    Raises:
        DataError: The orders differ so much that too much would be in memory.
    """
    waiting: dict[str, list[Joined]] = {}
    size = 0
    while True:
        now: Joined = [next(stream, None) for stream in streams]
        if not any(now):
            break
        ids = {one.id for one in now if one}
        # The files whose turn it is no more hold no partner for a new id.
        alone = sum(map(bool, now)) == 1 and not ids & waiting.keys()
        broken = any(isinstance(one, BadRecord) for one in now)
        # In equal order the place alone tells what a broken block, whose id may be cut, belongs to.
        if alone or (not waiting and (broken or (len(ids) == 1 and all(now)))):
            yield now
            continue
        for at, one in enumerate(now):
            if one:
                size += _size(one)
                done = _place(waiting, at, one, len(streams))
                if done:
                    size -= sum(map(_size, done))
                    yield done
        if size > MAX_WAITING:
            raise DataError(
                f"the files list the chains in other orders, over {MAX_WAITING >> 20} MiB apart",
                remedy="sort them by id",
            )
    for entries in waiting.values():
        yield from entries


def _place(waiting: dict[str, list[Joined]], at: int, one: Block | BadRecord, width: int) -> Joined | None:
    """Put a block into the first entry of its id that lacks it; the entry where it is complete now."""
    entries = waiting.setdefault(one.id, [])
    entry = next((entry for entry in entries if entry[at] is None), None)
    if entry is None:
        entry = [None] * width
        entries.append(entry)
    entry[at] = one
    if not all(entry):
        return None
    entries.remove(entry)
    if not entries:
        del waiting[one.id]
    return entry


def _size(one: Block | BadRecord | None) -> int:
    return sum(map(len, one.body)) if isinstance(one, Block) else 0
