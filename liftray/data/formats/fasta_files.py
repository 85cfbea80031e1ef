"""Which FASTA files belong together: sequences, their labels and their mask.

Invariant: pure functions of the names in one folder; no file is opened. Used by fasta, sniff and ingest.
"""

import re
from pathlib import Path

from liftray.data.formats.names import FASTA_EXTENSIONS, alphabet_in_name, plain_name
from liftray.errors import DataError

_LABEL_MARKS = ("ss", "labels", "label", "ss3", "ss8", "ss9")
_LABEL_WORDS = ("labels", "sampled")
_WORD = re.compile(r"(?:(?<=[._-])|^)(sequences|sequence|seqs)(?=[._-]|$)")


def companion(path: Path, alphabet: str | None) -> Path | None:
    """Find the label file that belongs to a file of sequences.

    Args:
        path: The file of sequences.
        alphabet: Preferred where there is one label file for each of several alphabets.

    Returns:
        The label file, or None where there is none.

    Raises:
        DataError: There are several and `alphabet` does not choose one.
    """
    found = companions(path)
    chosen = [other for other in found if alphabet and alphabet_in_name(other.name) == alphabet]
    if len(found) > 1 and len(chosen) != 1:
        names = ", ".join(other.name for other in found)
        raise DataError(
            f"several label files ({names})", where=str(path), remedy="name one with --alphabet, or keep one"
        )
    return next(iter(chosen or found), None)


def companions(path: Path) -> list[Path]:
    """All label files next to a file of sequences, by name.

    `x.fasta` has `x.ss.fasta`, `x.labels.fasta` and the like; `sequences.fasta` has `labels.fasta` and
    `sampled.fasta`, and so has any name with the word `sequences` in it.
    """
    return _named(path, _LABEL_MARKS, _LABEL_WORDS)


def mask_file(path: Path) -> Path | None:
    """The mask of a file of sequences: `mask.fasta` for `sequences.fasta`, `x.mask.fasta` for `x.fasta`."""
    return next(iter(_named(path, ("mask",), ("mask",))), None)


def owner(path: Path) -> Path | None:
    """The file of sequences that a label or mask file belongs to; None for other files."""
    if stem(path.name) is None:
        return None
    others = (other for other in path.parent.iterdir() if stem(other.name) and other.name != path.name)
    return next((other for other in sorted(others) if path in belonging(other)), None)


def belonging(path: Path) -> list[Path]:
    """The label files and the mask of a file of sequences; empty where there are no labels."""
    labels, mask = companions(path), mask_file(path)
    return [*labels, *([mask] if labels and mask else [])]


def is_sequences(name: str) -> bool:
    """Whether a name is that of FLIP's or biotrainer's file of sequences, such as `sequences.fasta`."""
    own = stem(name)
    return own is not None and bool(_WORD.search(own))


def stem(name: str) -> str | None:
    """The name without `.gz` and the extension of FASTA files; None for other names."""
    plain = plain_name(name)
    return next((plain.removesuffix(end) for end in FASTA_EXTENSIONS if plain.endswith(end)), None)


def _named(path: Path, marks: tuple[str, ...], words: tuple[str, ...]) -> list[Path]:
    own = stem(path.name)
    if own is None:
        return []
    wanted = {f"{own}.{mark}" for mark in marks}
    if _WORD.search(own):
        wanted |= {_WORD.sub(word, own) for word in words}
    return sorted(other for other in path.parent.iterdir() if stem(other.name) in wanted)
