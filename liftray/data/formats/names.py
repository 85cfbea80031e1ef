"""What a file name contains: the alphabet of the labels and the plain stem.

Invariant: pure functions of the name; no file is opened. Used by every text reader and by detection.
"""

import re
from collections.abc import Sequence
from itertools import count
from pathlib import Path

_CIF_EXTENSIONS = (".cif", ".mmcif", ".bcif")
_PDB_NAME = re.compile(r"\.(pdb\d*|ent)$")  # .pdb1: the PDB's first biological assembly
_COMPRESSED = (".gz", ".bz2", ".xz", ".zst", ".zip")
FASTA_EXTENSIONS = (".fasta", ".fa", ".faa", ".fas", ".fsa", ".seq")

_ALPHABET = re.compile(r"(?:^|[._-])(ss[389])(?=[._-]|$)", re.IGNORECASE)


def alphabet_in_name(name: str) -> str | None:
    """`ss9` for `train.ss9.txt`; None where the name has no alphabet or several."""
    found = {match.lower() for match in _ALPHABET.findall(name)}
    return found.pop() if len(found) == 1 else None


def plain_name(name: str) -> str:
    """The name in lower case without the extension of a compression."""
    return _uncompressed(name).lower()


def is_structure(name: str) -> bool:
    """Whether the name is that of a structure file, compressed or not."""
    return plain_name(name).endswith(_CIF_EXTENSIONS) or is_pdb(name)


def is_pdb(name: str) -> bool:
    """Whether the name is that of a file in the PDB format, compressed or not."""
    return _PDB_NAME.search(plain_name(name)) is not None


def structure_stem(name: str) -> str:
    """The name without its extensions: `1ake` for `1ake.cif.gz`."""
    return _uncompressed(name).rpartition(".")[0] or name


def folder_prefixes(paths: Sequence[Path]) -> dict[Path, str]:
    """What the ids of structure files get before them, so that files of one name in several folders do not collide.

    Args:
        paths: The structure files of one call.

    Returns:
        `FOLDER.` for each file whose stem a file in another folder has too, with as many folders as tell them
        apart; no entry for any other file.
    """
    folders: dict[str, set[tuple[str, ...]]] = {}
    for path in paths:
        folders.setdefault(structure_stem(path.name), set()).add(path.absolute().parent.parts)
    prefixes: dict[Path, str] = {}
    for path in paths:
        same = folders[structure_stem(path.name)]
        if len(same) > 1:
            depth = next(n for n in count(1) if len({parts[-n:] for parts in same}) == len(same))
            prefixes[path] = "".join(f"{part.strip('/')}." for part in path.absolute().parent.parts[-depth:])
    return prefixes


def _uncompressed(name: str) -> str:
    return next((name[: -len(end)] for end in _COMPRESSED if name.lower().endswith(end)), name)
