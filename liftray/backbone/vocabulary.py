"""Reading the vocabulary next to a backbone's weights, without the tokenizer libraries.

Invariant: a vocabulary is a plain map from piece to id; no file is executed or unpickled, none over 16 MiB is
read. Called by `sources`; `tokens` turns the map into a residue table.
"""

from collections.abc import Iterator
from pathlib import Path

from liftray import limits
from liftray.documents import parse_json
from liftray.errors import BackboneError
from liftray.input_files import read_input

VOCABULARY_FILES = ("vocab.txt", "tokenizer.json", "spiece.model")


def read_vocabulary(directory: Path) -> dict[str, int] | None:
    """Read the first vocabulary file found in a directory.

    Args:
        directory: Where the weights are.

    Returns:
        Piece -> id, or None where there is no such file.

    Raises:
        BackboneError: A file is there but cannot be read.
    """
    readers = (_read_lines, _read_tokenizer_json, _read_sentencepiece)
    for name, read in zip(VOCABULARY_FILES, readers, strict=True):
        path = directory / name
        if not path.is_file():
            continue
        raw = read_input(path, max_bytes=limits.VOCABULARY_BYTES, error=BackboneError, inflated=False)
        try:
            return read(raw)
        except (
            ValueError,
            KeyError,
            TypeError,
            IndexError,
            AttributeError,
            ArithmeticError,
            StopIteration,
        ) as error:
            raise BackboneError(
                f"unreadable vocabulary ({type(error).__name__}: {error})",
                where=str(path),
                remedy="download the file again",
            ) from error
    return None


def _read_lines(raw: bytes) -> dict[str, int]:
    pieces = [line.strip() for line in raw.decode("utf-8").splitlines()]
    return {piece: number for number, piece in enumerate(pieces)}


def _read_tokenizer_json(raw: bytes) -> dict[str, int]:
    content = parse_json(raw, where="tokenizer.json")
    listed = content["model"]["vocab"]
    if isinstance(listed, dict):  # WordPiece, WordLevel, BPE
        pieces = {str(piece): int(number) for piece, number in listed.items()}
    else:  # Unigram: [piece, score] in the order of ids
        pieces = {str(entry[0]): number for number, entry in enumerate(listed)}
    for token in content.get("added_tokens") or []:
        pieces[str(token["content"])] = int(token["id"])
    return pieces


def _read_sentencepiece(raw: bytes) -> dict[str, int]:
    """Read the pieces of a SentencePiece model.

    Such a file is one protocol-buffer message: its field 1, repeated, is a piece, whose own field 1 is the
    text (sentencepiece_model.proto). Ids follow the order of the pieces.
    """
    pieces: dict[str, int] = {}
    for number, piece in enumerate(value for field, value in _fields(raw) if field == 1):
        text = next((value for field, value in _fields(piece) if field == 1), None)
        if text is None:
            raise ValueError(f"piece {number} has no text")
        pieces[text.decode("utf-8")] = number
    if not pieces:
        raise ValueError("no pieces in it")
    return pieces


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Walk a protocol-buffer message: number and bytes of each length-delimited field."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        field, wire = tag >> 3, tag & 7
        if wire == 0:
            _, at = _varint(message, at)
        elif wire in (1, 5):
            at += 8 if wire == 1 else 4
        elif wire == 2:
            size, at = _varint(message, at)
            if at + size > len(message):
                raise ValueError("truncated")
            yield field, message[at : at + size]
            at += size
        else:
            raise ValueError(f"wire type {wire} at byte {at}")


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 64:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError(f"overlong number at byte {at}")
