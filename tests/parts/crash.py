"""A disk that records its operations, and all states that a crash at any point could leave of them.

Recorded operations are replayed into a model of a file system, which separates what is in memory from what is on disk:
`fsync` writes a file's bytes, `sync_directory` a directory's names. After each operation the next start may meet:

- all names and bytes as the process saw them (it was killed);
- the last write cut off at several lengths (it was killed in it);
- all names, but of each file only the bytes that were synced (power was lost; names often reach the disk first);
- the synced names only, with all bytes or only the synced ones;
- all names but one rename, creation or removal that was not synced.

Bytes written by other code, such as safetensors, are recorded when `DISK.fsync` is called for them, not before.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from liftray.files import Disk

Operation = tuple[str, str, object]


class RecordingDisk(Disk):
    """A `Disk` that records its operations below one directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.log: list[Operation] = []
        self._known = {"."}
        for path in sorted(root.rglob("*")):
            self._meet(path)
        self.log.append(("settle", ".", None))

    def create(self, path: Path) -> int:
        self._meet(path.parent)
        file = super().create(path)
        self._note("create", path)
        return file

    def append(self, file: int, path: Path, content: bytes | memoryview) -> None:
        self._note("append", path, bytes(content))
        super().append(file, path, content)

    def fsync(self, path: Path) -> None:
        self._meet(path)
        self._note("fsync", path)
        super().fsync(path)

    def sync_directory(self, path: Path) -> None:
        self._meet(path)
        self._note("sync_directory", path)
        super().sync_directory(path)

    def replace(self, source: Path, target: Path) -> None:
        super().replace(source, target)
        self._rename(source, target)
        self.log.append(("replace", self._name(source), self._name(target)))

    def exchange(self, one: Path, other: Path) -> None:
        super().exchange(one, other)
        self.log.append(("exchange", self._name(one), self._name(other)))

    def remove(self, path: Path) -> None:
        super().remove(path)
        self._known.discard(self._name(path))
        self.log.append(("remove", self._name(path), None))

    def mkdir(self, path: Path) -> None:
        self._meet(path.parent)
        super().mkdir(path)
        self._note("mkdir", path)

    def _note(self, kind: str, path: Path, content: object = None) -> None:
        self._known.add(self._name(path))
        self.log.append((kind, self._name(path), content))

    def _rename(self, source: Path, target: Path) -> None:
        old, new = self._name(source), self._name(target)
        moved = {name for name in self._known if name == old or name.startswith(old + "/")}
        self._known = (self._known - moved) | {new + name[len(old) :] for name in moved}

    def _meet(self, path: Path) -> None:
        """Record a file or directory that was created by other code."""
        if self._name(path) in self._known or self.root not in path.parents:
            return
        self._meet(path.parent)
        if path.is_dir():
            self._note("mkdir", path)
        else:
            self._note("create", path)
            self._note("append", path, path.read_bytes())

    def _name(self, path: Path) -> str:
        return os.path.relpath(path, self.root)


@dataclass
class _File:
    seen: bytes = b""
    synced: bytes = b""


@dataclass
class _Directory:
    synced: dict[str, "_File | _Directory"] = field(default_factory=dict)
    pending: list[dict[str, "_File | _Directory | None"]] = field(default_factory=list)

    def names(self, *, synced_only: bool = False, lost: int = -1) -> dict[str, "_File | _Directory"]:
        found: dict[str, _File | _Directory | None] = dict(self.synced)
        for number, change in enumerate([] if synced_only else self.pending):
            if number != lost:
                found.update(change)
        return {name: node for name, node in found.items() if node is not None}


def states(log: list[Operation], into: Path) -> Iterator[tuple[str, Path]]:
    """Write each state that a crash could leave into a fresh directory.

    Yields:
        What happened (the number of operations done, the last one, what was lost) and the directory.
    """
    start = next(at for at, operation in enumerate(log) if operation[0] == "settle")
    seen: set[object] = set()
    number = 0
    for count in range(start + 1, len(log) + 1):
        for lost, tree in _trees(log[:count]):  # logs are short: each prefix is replayed from its start
            key = frozenset(tree.items())
            if key in seen and count < len(log):  # the states at the end are always yielded
                continue
            seen.add(key)
            number += 1
            place = into / f"state-{number:05d}"
            _lay_out(tree, place)
            yield f"after {count} ({log[count - 1][0]} {log[count - 1][1]}), {lost}", place


def _trees(log: list[Operation]) -> Iterator[tuple[str, dict[str, bytes | None]]]:
    root = _Directory()
    for operation in log:
        _apply(root, operation)
    yield "killed", _tree(root)
    yield "unsynced bytes lost", _tree(root, synced_bytes=True)
    yield "unsynced names lost", _tree(root, synced_names=True)
    yield "all unsynced lost", _tree(root, synced_bytes=True, synced_names=True)
    for directory in _directories(root):
        for number in range(len(directory.pending)):
            yield "one name lost", _tree(root, lost=(directory, number))
    kind, _, content = log[-1]
    if kind == "append" and isinstance(content, bytes):
        for length in sorted({0, 1, len(content) // 2, len(content) - 1} & set(range(len(content)))):
            torn = _Directory()
            for operation in log[:-1]:
                _apply(torn, operation)
            _apply(torn, (kind, log[-1][1], content[:length]))
            yield f"cut to {length} bytes", _tree(torn)


def _apply(root: _Directory, operation: Operation) -> None:
    kind, path, more = operation
    parent, name = _parent(root, path)
    node = root if path == "." else parent.names().get(name)
    match kind:
        case "create":
            parent.pending.append({name: _File()})
        case "mkdir":
            parent.pending.append({name: _Directory()})
        case "append":
            assert isinstance(node, _File)
            assert isinstance(more, bytes)
            node.seen += more
        case "fsync":
            assert isinstance(node, _File)
            node.synced = node.seen
        case "sync_directory":
            assert isinstance(node, _Directory)
            node.synced, node.pending = node.names(), []
        case "remove":
            parent.pending.append({name: None})
        case "replace":
            target, new = _parent(root, str(more))
            assert target is parent, "a rename stays in its directory"
            parent.pending.append({name: None, new: node})
        case "exchange":
            other = _parent(root, str(more))[1]
            parent.pending.append({name: parent.names()[other], other: node})
        case "settle":
            _settle(root)
        case _:
            raise AssertionError(kind)


def _settle(node: _File | _Directory) -> None:
    """Everything that existed before the recording is on disk."""
    if isinstance(node, _File):
        node.synced = node.seen
    else:
        node.synced, node.pending = node.names(), []
        for inside in node.synced.values():
            _settle(inside)


def _parent(root: _Directory, path: str) -> tuple[_Directory, str]:
    *above, name = Path(path).parts or ("",)
    directory = root
    for part in above:
        inside = directory.names()[part]
        assert isinstance(inside, _Directory)
        directory = inside
    return directory, name


def _directories(root: _Directory) -> Iterator[_Directory]:
    yield root
    for node in root.names().values():
        if isinstance(node, _Directory):
            yield from _directories(node)


def _tree(
    directory: _Directory,
    *,
    synced_bytes: bool = False,
    synced_names: bool = False,
    lost: tuple[_Directory, int] | None = None,
) -> dict[str, bytes | None]:
    """Path -> bytes of a file, None of a directory."""
    number = lost[1] if lost is not None and lost[0] is directory else -1
    tree: dict[str, bytes | None] = {}
    for name, node in directory.names(synced_only=synced_names, lost=number).items():
        if isinstance(node, _File):
            tree[name] = node.synced if synced_bytes else node.seen
            continue
        tree[name] = None
        below = _tree(node, synced_bytes=synced_bytes, synced_names=synced_names, lost=lost)
        tree.update({f"{name}/{path}": content for path, content in below.items()})
    return tree


def _lay_out(tree: dict[str, bytes | None], place: Path) -> None:
    place.mkdir(parents=True)
    for path, content in sorted(tree.items()):
        if content is None:
            (place / path).mkdir()
        else:
            (place / path).write_bytes(content)
