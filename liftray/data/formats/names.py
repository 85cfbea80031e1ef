"""What a file name contains: the alphabet of the labels and the plain stem.

Invariant: pure functions of the name; no file is opened. Used by every text reader and by detection.
"""

import re

STRUCTURE_EXTENSIONS = (".cif", ".mmcif", ".bcif", ".pdb", ".ent")
FASTA_EXTENSIONS = (".fasta", ".fa", ".faa", ".fas", ".fsa", ".seq")

_ALPHABET = re.compile(r"(?:^|[._-])(ss[389])(?=[._-]|$)", re.IGNORECASE)


def alphabet_in_name(name: str) -> str | None:
    """`ss9` for `train.ss9.txt`; None where the name has no alphabet or several."""
    found = {match.lower() for match in _ALPHABET.findall(name)}
    return found.pop() if len(found) == 1 else None


def plain_name(name: str) -> str:
    """The name in lower case without `.gz`."""
    return name.lower().removesuffix(".gz")


def is_structure(name: str) -> bool:
    """Whether the name is that of a structure file, compressed or not."""
    return plain_name(name).endswith(STRUCTURE_EXTENSIONS)
