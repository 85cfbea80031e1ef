"""FASTA with labels, in the forms that are in use; lines may be wrapped.

1. Files in one folder with the same ids: `x.fasta` with `x.ss.fasta`, `x.labels.fasta` or `x.ss3|ss8|ss9.fasta`;
   `sequences.fasta` with `labels.fasta` (biotrainer) or `sampled.fasta` (FLIP). A `mask.fasta` or `x.mask.fasta` next
   to them has one 0 or 1 a residue. See `companions`.
2. One file where each id comes twice in a row, first the sequence, then the labels; the second may be `x_ss`.
3. The labels in the header: `>a TARGET=HHE MASK=110` (biotrainer).
4. The PDB's ss.txt: `>101M:A:sequence`, `>101M:A:secstr`. There DSSP's blank is coil, so a blank reads as
   `L`: a rule of that format alone. The id is `101M:A`, the alphabet ss8.

`SET=` and `VALIDATION=` in a header name the part of a split (see `parts`).

Invariant: one sequence header gives one record or one BadRecord; labels without a sequence give one BadRecord.
Flow: blocks, fasta_files -> [this] -> spelling -> validate -> ingest. The id is the first word after `>`.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, pairwise
from pathlib import Path

from liftray.data.formats.blocks import Block, read_blocks
from liftray.data.formats.fasta_files import companion, mask_file
from liftray.data.formats.joins import Joined, join_by_id
from liftray.data.formats.names import alphabet_in_name
from liftray.data.formats.parts import part_of
from liftray.data.formats.spelling import joined
from liftray.data.records import BadRecord, ProteinRecord, WrittenRecord

_SEQUENCE, _LABELS = ":sequence", ":secstr"
_LABEL_ENDS = ("_ss", "_ss3", "_ss8", "_ss9", "_labels", "_label")


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
    return _read_files(path, labels) if labels else _read_single(path)


def declared_alphabet(path: Path) -> str | None:
    """The alphabet in the name of the file or of its label file; ss8 for the PDB's ss.txt; else None."""
    labels = companion(path, None)
    if labels:
        return alphabet_in_name(labels.name) or alphabet_in_name(path.name)
    first = next(iter(read_blocks(path)))
    if isinstance(first, Block) and first.id.endswith(_SEQUENCE):
        return "ss8"
    return alphabet_in_name(path.name)


def holds_labels(headers: list[str]) -> bool:
    """Whether the first headers of a file are those of form 2, 3 or 4."""
    blocks = [Block(header.removeprefix(">"), 0) for header in headers]
    if "TARGET" in blocks[0].fields or blocks[0].id.endswith(_SEQUENCE):
        return True
    return any(_labels_of(one.id, other.id) for one, other in pairwise(blocks[:3]))


def _labels_of(sequence_id: str, label_id: str) -> bool:
    """Whether the second of two records in a row holds the labels of the first."""
    if sequence_id.endswith(_SEQUENCE):
        return label_id == sequence_id.removesuffix(_SEQUENCE) + _LABELS
    return label_id == sequence_id or label_id in [sequence_id + end for end in _LABEL_ENDS]


def _read_files(path: Path, labels: Path) -> Iterator[ProteinRecord | BadRecord]:
    mask = mask_file(path)
    files = [path, labels, *([mask] if mask else [])]
    stray, streams = [], []
    for file in files:
        strange, blocks = _split_stray(read_blocks(file))
        stray += strange
        streams.append(blocks)
    yield from stray
    for together in join_by_id(streams):
        yield _of_files(together, files)


def _split_stray(
    blocks: Iterator[Block | BadRecord],
) -> tuple[list[BadRecord], Iterator[Block | BadRecord]]:
    """Part the text before the first header from the blocks, so that it does not shift the pairs."""
    first = next(blocks)
    if isinstance(first, BadRecord) and first.reason == "no-header":
        return [first], blocks
    return [], chain([first], blocks)


def _of_files(together: Joined, files: list[Path]) -> ProteinRecord | BadRecord:
    """One chain from its blocks in the files of sequences, labels and mask; its fault is reported once."""
    names = ("sequence", "labels", "mask")
    broken = next((one for one in together if isinstance(one, BadRecord)), None)
    known = next((one for one in together if isinstance(one, Block)), None)
    if broken:
        return replace(broken, id=broken.id or (known.id if known else ""))
    blocks = [one if isinstance(one, Block) else None for one in together]
    for name, block, file in zip(names, blocks, files, strict=False):
        if block is None and known:
            there = files[blocks.index(known)]
            return known.bad(there, f"missing-{name}", f"{file.name} has no record of this id")
    sequence, labels, *mask = [block for block in blocks if block]
    fields = {**sequence.fields, **labels.fields}
    part = part_of(fields.get("SET"), fields.get("VALIDATION"))
    return _join(sequence, labels, files[0], _text(mask[0].body) if mask else "", part)


def _read_single(path: Path) -> Iterator[ProteinRecord | BadRecord]:
    waiting: Block | None = None
    for block in read_blocks(path):
        if waiting and _labels_of(waiting.id, block.id):
            yield (
                replace(block, line=waiting.line, id=_key(waiting.id))
                if isinstance(block, BadRecord)
                else _join(waiting, block, path, waiting.fields.get("MASK", ""), waiting.part or block.part)
            )
            waiting = None
            continue
        if waiting:
            yield _unlabelled(waiting, path)
            waiting = None
        if isinstance(block, BadRecord):
            yield replace(block, id=_key(block.id))
        elif "TARGET" in block.fields:
            yield _of_header(block, path)
        elif block.id.endswith(_LABELS):
            yield replace(
                block.bad(path, "missing-sequence", "labels without the sequence before them"),
                id=_key(block.id),
            )
        else:
            waiting = block
    if waiting:
        yield _unlabelled(waiting, path)


def _of_header(block: Block, path: Path) -> ProteinRecord | BadRecord:
    target = replace(block, body=[block.fields["TARGET"]])
    return _join(block, target, path, block.fields.get("MASK", ""), block.part)


def _unlabelled(block: Block, path: Path) -> BadRecord:
    bad = block.bad(path, "missing-labels", "no labels under the same id follow the sequence")
    return replace(bad, id=_key(block.id))


def _key(record_id: str) -> str:
    return record_id.removesuffix(_SEQUENCE).removesuffix(_LABELS)


def _join(sequence: Block, label: Block, path: Path, mask: str, part: str) -> ProteinRecord | BadRecord:
    key = _key(sequence.id)
    if sequence.too_long or label.too_long:
        return replace(sequence.bad(path, "too-long", "longer than any chain that is taken"), id=key)
    coil = " " if label.id.endswith(_LABELS) else ""
    residues = _text(sequence.body)
    return WrittenRecord(
        key, residues, _states(label.body, residues), path.name, sequence.line, coil, mask, part
    )


def _text(body: list[str]) -> str:
    """Wrapped lines as one; single letters with blanks between them stay apart."""
    lines = [line.strip() for line in body]
    return (" " if any(line[1:2].isspace() for line in lines) else "").join(lines)


def _states(body: list[str], residues: str) -> str:
    """The labels of wrapped lines; the blanks at the ends of lines are labels where that gives one a residue."""
    size = len(joined(residues))
    whole, trimmed, listed = "".join(body), "".join(line.rstrip() for line in body), _text(body)
    if len(whole.rstrip()) <= size <= len(whole):
        return whole
    if len(trimmed) == size:
        return trimmed
    return listed if len(joined(listed)) == size else whole
