"""FASTA with labels, in the three forms that are in use; lines may be wrapped.

1. A file of sequences and a file of labels in the same folder, same ids in the same order: `x.fasta` with
   `x.ss.fasta`, `x.labels.fasta` or `x.ss3|ss8|ss9.fasta`; or `sequences.fasta` with `labels.fasta`.
2. One file where each id comes twice in a row: first the sequence, then the labels.
3. The PDB's ss.txt: `>101M:A:sequence`, `>101M:A:secstr`. There DSSP's blank is coil, so a blank reads as
   `L`: a rule of that format alone. The id is `101M:A`, the alphabet ss8.

Invariant: one sequence header gives one ProteinRecord or one BadRecord; labels without a sequence give one
BadRecord. Flow: blocks -> [this] -> validate -> ingest. The id is the first word after `>`.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, zip_longest
from pathlib import Path

from liftray.data.formats.blocks import Block, read_blocks
from liftray.data.formats.names import FASTA_EXTENSIONS, alphabet_in_name, plain_name
from liftray.data.records import BadRecord, ProteinRecord
from liftray.errors import DataError

_LABEL_MARKS = ("ss", "labels", "label", "ss3", "ss8", "ss9")
_SEQUENCE, _LABELS = ":sequence", ":secstr"


def read(path: Path, *, alphabet: str) -> Iterator[ProteinRecord | BadRecord]:
    """Yield the records of a labelled FASTA file, not yet validated.

    Args:
        path: The file of sequences (or of both), gzip-compressed or not.
        alphabet: Chooses among several label files; the labels are passed on unchanged.

    Yields:
        A record for each chain, in file order.

    Raises:
        DataError: A file cannot be read or is empty, or several label files could be meant.
    """
    labels = companion(path, alphabet)
    return _read_pair(path, labels) if labels else _read_single(path)


def declared_alphabet(path: Path) -> str | None:
    """The alphabet in the name of the file or of its label file; ss8 for the PDB's ss.txt; else None."""
    labels = companion(path, None)
    if labels:
        return alphabet_in_name(labels.name) or alphabet_in_name(path.name)
    first = next(iter(read_blocks(path)))
    if isinstance(first, Block) and first.id.endswith(_SEQUENCE):
        return "ss8"
    return alphabet_in_name(path.name)


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
    """All label files next to a file of sequences, by name."""
    stem = _stem(path.name)
    if stem is None:
        return []
    wanted = {f"{stem}.{mark}" for mark in _LABEL_MARKS} | ({"labels"} if stem == "sequences" else set())
    return sorted(other for other in path.parent.iterdir() if _stem(other.name) in wanted)


def _stem(name: str) -> str | None:
    plain = plain_name(name)
    return next((plain.removesuffix(end) for end in FASTA_EXTENSIONS if plain.endswith(end)), None)


def _read_pair(path: Path, labels: Path) -> Iterator[ProteinRecord | BadRecord]:
    stray_text, sequence_blocks = _split_stray(read_blocks(path))
    stray_labels, label_blocks = _split_stray(read_blocks(labels))
    yield from stray_text + stray_labels
    for sequence, label in zip_longest(sequence_blocks, label_blocks):
        if isinstance(sequence, BadRecord) or isinstance(label, BadRecord):
            yield from _worst(sequence, label)
        elif label is None:
            yield sequence.bad(path, "missing-labels", f"{labels.name} ends before this record")
        elif sequence is None:
            yield label.bad(labels, "missing-sequence", f"{path.name} ends before this record")
        elif sequence.id != label.id:
            yield sequence.bad(path, "label-id-mismatch", f"{labels.name} has {label.id!r} at this place")
        else:
            yield _join(sequence, label, path)


def _split_stray(
    blocks: Iterator[Block | BadRecord],
) -> tuple[list[BadRecord], Iterator[Block | BadRecord]]:
    """Part the text before the first header from the blocks, so that it does not shift the pairs."""
    first = next(blocks)
    if isinstance(first, BadRecord) and first.reason == "no-header":
        return [first], blocks
    return [], chain([first], blocks)


def _worst(sequence: Block | BadRecord | None, label: Block | BadRecord | None) -> Iterator[BadRecord]:
    """One pair is one record: its fault is reported once, with the id of whichever side has it."""
    for bad, other in ((sequence, label), (label, sequence)):
        if isinstance(bad, BadRecord):
            yield replace(bad, id=bad.id or (other.id if other else ""))
            return


def _read_single(path: Path) -> Iterator[ProteinRecord | BadRecord]:
    waiting: Block | None = None
    for block in read_blocks(path):
        key = _key(block.id)
        if waiting and key == _key(waiting.id) and not block.id.endswith(_SEQUENCE):
            yield (
                replace(block, line=waiting.line, id=key)
                if isinstance(block, BadRecord)
                else _join(waiting, block, path)
            )
            waiting = None
            continue
        if waiting:
            yield _unlabelled(waiting, path)
            waiting = None
        if isinstance(block, BadRecord):
            yield replace(block, id=key)
        elif block.id.endswith(_LABELS):
            yield replace(
                block.bad(path, "missing-sequence", "labels without the sequence before them"), id=key
            )
        else:
            waiting = block
    if waiting:
        yield _unlabelled(waiting, path)


def _unlabelled(block: Block, path: Path) -> BadRecord:
    bad = block.bad(path, "missing-labels", "no labels under the same id follow the sequence")
    return replace(bad, id=_key(block.id))


def _key(record_id: str) -> str:
    return record_id.removesuffix(_SEQUENCE).removesuffix(_LABELS)


def _join(sequence: Block, label: Block, path: Path) -> ProteinRecord | BadRecord:
    key = _key(sequence.id)
    if sequence.too_long or label.too_long:
        return replace(sequence.bad(path, "too-long", "longer than any chain that is taken"), id=key)
    residues = "".join(line.rstrip() for line in sequence.body)
    if label.id.endswith(_LABELS):
        states = "".join(label.body).replace(" ", "L")
    else:
        states = "".join(line.rstrip() for line in label.body)
    return ProteinRecord(key, residues, states, path.name, sequence.line)
