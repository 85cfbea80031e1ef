"""The decisions about one labelled chain: taken unchanged, or quarantined with a reason.

Invariant: `check` is pure and never changes a letter; a record leaves it as it came, or as a BadRecord. Every
reader's output passes here. Flow: formats -> [this] -> ingest -> Parquet.

The first rule that applies gives the reason:

| reason             | the record                                                                            |
|--------------------|---------------------------------------------------------------------------------------|
| `missing-id`       | has no name                                                                           |
| `bad-encoding`     | has a name that is not UTF-8 (other UTF-8 letters are fine in a name)                 |
| `bad-id`           | has control or unseen characters in its name, or over 255 characters of it            |
| `empty`            | has no residues, or no labels                                                         |
| `too-long`         | has over 100,000 residues (no known protein chain has half of that)                   |
| `non-ascii`        | has a letter outside ASCII in its sequence or labels                                  |
| `lower-case`       | has a lower-case residue: masked, unaligned, disordered or a bridge?                  |
| `stop-codon`       | has `*`, at the end or inside: a translation's stop or a masked residue               |
| `gap`              | has `-`, `.` or `~` in its sequence: an alignment row, not a chain                    |
| `unknown-residue`  | has any other letter outside the 20 and `B O U X Z`; `J` too, which no backbone knows |
| `length-mismatch`  | has more or fewer labels than residues                                                |
| `ambiguous-coil`   | spells coil `C`, `-`, `.`, `_` or blank in an 8- or 9-state alphabet                  |
| `unknown-label`    | has any other label outside its alphabet and `X`                                      |

Coil is `L` in ss8 and ss9, `C` in ss3. `C`, `-` or a blank there may as well be "no label", so only a reader whose
format fixes the meaning turns it into `L` (see columns, fasta), or the user does with `--labels`. `X` among residues
is an unknown residue and is taken; `X` among labels is "no label". A chain whose labels are all `X` is taken and
counted.
"""

import re
from dataclasses import replace

from liftray import limits
from liftray.data.labels import STATES, UNLABELLED
from liftray.data.records import BadRecord, ProteinRecord
from liftray.plain_text import shown

RESIDUES = "ACDEFGHIKLMNPQRSTVWYBOUXZ"
MAX_RESIDUES = limits.RESIDUES
MAX_ID = limits.ID_CHARACTERS

LABEL_REASONS = ("ambiguous-coil", "unknown-label")

_SHOWN_ID = 80
_SHOWN_LABELS = 20
COIL_SPELLINGS = frozenset("C-._ ")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_BAD_RESIDUE = re.compile(f"[^{RESIDUES}]")
_BAD_LABEL = {name: re.compile(f"[^{states}{UNLABELLED}]") for name, states in STATES.items()}


def check(record: ProteinRecord | BadRecord, alphabet: str, file: str) -> ProteinRecord | BadRecord:
    """Apply the table above to one record.

    Args:
        record: What a reader gave; a BadRecord passes through, made safe to print.
        alphabet: The alphabet that its labels must be in.
        file: The file to name if it is refused.

    Returns:
        The same record, or a BadRecord in its place.
    """
    if isinstance(record, BadRecord):
        return replace(record, id=printable(record.id), detail=printable(record.detail, 500))
    flaw = _id_flaw(record.id) or _sequence_flaw(record.sequence, record.ss) or _label_flaw(record, alphabet)
    if flaw is None:
        return record
    reason, detail = flaw
    foreign = _foreign(record.ss, alphabet) if reason in LABEL_REASONS else ""
    return BadRecord(file, record.line, printable(record.id), reason, printable(detail, 500), foreign)


def printable(text: str, limit: int = _SHOWN_ID) -> str:
    """At most `limit` characters of the text; control characters and bytes that were not UTF-8 show as escapes."""
    return shown(f"{text[: limit - 3]}..." if len(text) > limit else text)


def _id_flaw(record_id: str) -> tuple[str, str] | None:
    if not record_id.strip():
        return "missing-id", "the record has no id"
    if _SURROGATE.search(record_id):
        return "bad-encoding", "the id is not UTF-8"
    if len(record_id) > MAX_ID:
        return "bad-id", f"the id has {len(record_id)} characters; {MAX_ID} is the most"
    if not record_id.isprintable():
        return "bad-id", "the id holds a control character, or one that is not seen"
    return None


def _sequence_flaw(sequence: str, ss: str) -> tuple[str, str] | None:
    if not sequence or not ss:
        return "empty", "no residues" if not sequence else "no labels"
    if len(sequence) > MAX_RESIDUES:
        return "too-long", f"{len(sequence)} residues; {MAX_RESIDUES} is the most"
    for name, text in (("residue", sequence), ("label", ss)):
        if not text.isascii():
            at = next(i for i, letter in enumerate(text) if ord(letter) > 127)
            return "non-ascii", f"{name} {text[at]!r} at position {at + 1} is not an ASCII letter"
    bad = _BAD_RESIDUE.search(sequence)
    if bad is None:
        return None
    letter, where = bad.group(), f"at position {bad.start() + 1}"
    if letter.islower():
        return "lower-case", f"residue {letter!r} {where} is lower case"
    if letter == "*":
        return "stop-codon", f"'*' {where}"
    if letter in "-.~":
        return "gap", f"gap {letter!r} {where}"
    return "unknown-residue", f"{letter!r} {where} is not one of {RESIDUES}"


def _label_flaw(record: ProteinRecord, alphabet: str) -> tuple[str, str] | None:
    if len(record.sequence) != len(record.ss):
        return "length-mismatch", f"{len(record.sequence)} residues and {len(record.ss)} labels"
    bad = _BAD_LABEL[alphabet].search(record.ss)
    if bad is None:
        return None
    letter, where = bad.group(), f"at position {bad.start() + 1}"
    shown = "blank label" if letter == " " else f"label {letter!r}"
    if alphabet != "ss3" and letter in COIL_SPELLINGS:
        return "ambiguous-coil", f"{shown} {where}: coil is 'L' in {alphabet}, no label is 'X'"
    return "unknown-label", f"{shown} {where} is not in {alphabet} ({STATES[alphabet]} or {UNLABELLED})"


def _foreign(ss: str, alphabet: str) -> str:
    """The labels outside the alphabet, each once, sorted."""
    return "".join(sorted(set(ss) - set(STATES[alphabet]) - {UNLABELLED}))[:_SHOWN_LABELS]
