"""From the spelling of a file to residues and labels: lists of letters, blank labels, label maps, masks.

Invariant: one rule for every format. A letter is moved or renamed only where the format, the file's mask or the user's
label map says so; what stays unclear is left as it is, for validation to refuse. Flow: readers -> [this] -> validate.

Rules, in this order:
1. Residues: blanks are layout (`MKTAY IAKQR`), and a list of single letters (`M K T`, `M,K,T`, `['M', 'K']`) is joined.
2. Labels: with as many characters as there are residues they stay as they are, so a blank is a label, at the end too.
   Blanks after the last residue are layout. Else they are joined like residues, if that gives one label a residue.
3. The format's own letters for coil read as `L`; the user's map goes before them.
4. Where the mask has 0 the label is `X`.
"""

import re
from collections.abc import Iterable, Mapping

from liftray.data.labels import STATES, UNLABELLED
from liftray.data.records import BadRecord, ProteinRecord, WrittenRecord
from liftray.errors import DataError

BLANK = "blank"
_QUOTES = str.maketrans("", "", "'\"")
_SEPARATOR = re.compile(r"[\s,]+")
_NO_MASK = frozenset({"", "nan", "none", "null"})


def plain(record: WrittenRecord, labels: Mapping[str, str], file: str) -> ProteinRecord | BadRecord:
    """Apply the rules above to one chain.

    Args:
        record: What a reader gave.
        labels: Label of the file -> state or `X`, as `parse_labels` gives it.
        file: The file to name if the mask does not fit or coil is spelled in two ways.
    """
    sequence = joined(record.sequence)
    ss = _fitted(record.ss, len(sequence))
    coil = [letter for letter in record.coil if letter not in labels]
    if "L" not in labels and "L" in ss and any(letter in ss for letter in coil):
        detail = f"coil is spelled both 'L' and {coil[0]!r}"
        return BadRecord(file, record.line, record.id, "ambiguous-coil", detail, "".join(coil))
    if coil or labels:
        ss = "".join(map({**dict.fromkeys(coil, "L"), **labels}.get, ss, ss))
    flags = mask_flags(record.mask)
    if flags is not None:
        wrong = next((flag for flag in flags if flag not in _USED and flag not in _MASKED), None)
        if len(flags) != len(ss) or wrong is not None:
            detail = f"{len(flags)} values of the mask and {len(ss)} labels"
            detail = detail if wrong is None else f"{wrong[:20]!r} in the mask, which has only 0 and 1"
            return BadRecord(file, record.line, record.id, "mask-mismatch", detail)
        pairs = zip(flags, ss, strict=True)
        ss = "".join(label if is_used(flag) else UNLABELLED for flag, label in pairs)
    return ProteinRecord(record.id, sequence, ss, record.source, record.line)


def joined(text: str) -> str:
    """Letters without the blanks, commas, quotes and brackets between them."""
    if text.isalpha():
        return text
    letters = _SEPARATOR.split(text.translate(_QUOTES).strip("[]() \t"))
    single = len(letters) > 1 and all(len(letter) == 1 for letter in letters)
    return "".join(letters if single else text.split())


def parse_labels(pairs: Iterable[str] | Mapping[str, str]) -> dict[str, str]:
    """Read a label map such as `C=L` or `C=L,-=L,blank=X`.

    Args:
        pairs: Texts with one pair or several, separated by commas; or the map itself. The left side is one character
            of the file or `blank`, the right side a state or `X`.

    Returns:
        Label of the file -> state or `X`.

    Raises:
        DataError: A pair is malformed, or a label has two meanings.
    """
    listed = pairs.items() if isinstance(pairs, Mapping) else map(_pair, _split(pairs))
    found: dict[str, str] = {}
    for written, state in listed:
        letter = " " if written == BLANK else written
        if len(letter) != 1 or state not in _TARGETS:
            raise _bad_pair(f"{written}={state}")
        if found.setdefault(letter, state) != state:
            raise DataError(
                f"label {letter!r} has two meanings", where="--labels", remedy="give each label once"
            )
    return found


def check_labels(labels: Mapping[str, str], alphabet: str) -> None:
    """Raise DataError if a label map has a state that is not in the alphabet."""
    for letter, state in labels.items():
        if state not in STATES[alphabet] + UNLABELLED:
            raise DataError(
                f"{spell(letter)}={state}: {state!r} is no state of {alphabet}",
                where="--labels",
                remedy=f"use one of {STATES[alphabet]}{UNLABELLED}, or set --alphabet",
            )


def spell(letter: str) -> str:
    """A label as the user writes it in `--labels`."""
    return BLANK if letter == " " else letter


_TARGETS = frozenset("".join(STATES.values()) + UNLABELLED)
_MASKED = frozenset({"0", "0.", "0.0", "false"})
_USED = frozenset({"1", "1.", "1.0", "true"})


def _split(pairs: Iterable[str]) -> Iterable[str]:
    texts = [pairs] if isinstance(pairs, str) else pairs
    return (pair for text in texts for pair in re.split(r",(?!=)", text) if pair.strip())


def _pair(text: str) -> tuple[str, str]:
    written, _, state = text.rpartition("=")
    if not written:
        raise _bad_pair(text)
    return (written if len(written) == 1 else written.strip() or " "), state.strip()


def _bad_pair(text: str) -> DataError:
    return DataError(
        f"{text!r} is no pair of a label and a state",
        where="--labels",
        remedy="write C=L, or blank=X for a blank; the right side is one of LBEGIHSTP, C or X",
    )


def _fitted(ss: str, length: int) -> str:
    """Labels with one character a residue where rule 2 gives that, else as they are."""
    if len(ss) > length and not ss[length:].strip():
        return ss[:length]
    if len(ss) == length:
        return ss
    for candidate in (joined(ss), ss.strip()):
        if len(candidate) == length:
            return candidate
    return ss


def mask_flags(mask: str) -> list[str] | None:
    """The values of a mask, such as `0110`, `0 1 1 0` or `[0.0, 1.0]`; None where there is no mask."""
    text = mask.translate(_QUOTES).strip("[]() \t\n").lower()
    if text in _NO_MASK:
        return None
    flags = [flag for flag in _SEPARATOR.split(text) if flag]
    return list(flags[0]) if len(flags) == 1 and set(flags[0]) <= set("01") else flags


def is_used(flag: str) -> bool:
    """Whether a value of a mask leaves the label as it is."""
    return flag in _USED
