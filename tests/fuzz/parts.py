"""Several files as one string of bytes, so that one mutator serves readers of files and of directories."""

import re
from collections.abc import Mapping
from pathlib import Path

_MARK = re.compile(rb"\n@@@ ([A-Za-z0-9_./-]{1,60})\n")


def pack(files: Mapping[str, bytes]) -> bytes:
    """Join files, each behind a line with its name."""
    return b"".join(b"\n@@@ %s\n" % name.encode() + content for name, content in files.items())


def unpack(packed: bytes) -> dict[str, bytes]:
    """The files of `pack`; names that lead out of a folder are left out, and of a name given twice the last counts."""
    pieces = _MARK.split(packed)
    named = zip(pieces[1::2], pieces[2::2], strict=True)
    return {name.decode(): content for name, content in named if b".." not in name and name[:1] != b"/"}


def write(packed: bytes, folder: Path) -> None:
    """Write the files of `pack` into a folder; of names that clash the first counts."""
    for name, content in unpack(packed).items():
        path = folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        except OSError:
            continue
