"""The alphabet of the labels of some files, where the user does not name it.

Invariant: the answer comes from something written in the files or their names, never from a default; what can be read
in two ways is asked for. Flow: before ingest.

Three sources decide, in this order:
1. The user's `--alphabet`.
2. What formats, headers and file names declare: `train.ss9.txt`, a `q8` column, the metadata of a LiftRay data
   set; structures are ss9. All files must agree.
3. The letters, in a first streaming pass over all files, after the user's label map. The chains are counted by what
   they can be:

| labels of a chain                                     | counts as                                     |
|-------------------------------------------------------|-----------------------------------------------|
| `C`, otherwise only `H E X`                           | three states                                  |
| `L`, otherwise only `H E X`                           | three states with coil `L`, or eight          |
| any of `B G I S T P`, otherwise `L H E X`             | eight states, nine with `P`                   |
| any of these with `C`                                 | eight or nine states with coil `C`            |
| any of these with `-`, `.`, `_` or a blank            | an unknown spelling of coil, or no label      |

The answer is ss3, ss8 or ss9 where the first or the third kind is the most frequent and no other reading of the whole
set is as likely. Otherwise the error names the readings, each with its command. Chains of `H`, `E` and `X` alone do not
count.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from liftray.data.formats import FORMATS, spelled
from liftray.data.formats.parts import PartGuard
from liftray.data.formats.spelling import check_labels
from liftray.data.labels import STATES, check_alphabet
from liftray.data.records import ProteinRecord
from liftray.data.remedy import IngestCommand, alternatives
from liftray.data.validate import COIL_SPELLINGS
from liftray.errors import DataError

_SILENT = frozenset("EHX")
_EIGHT = frozenset("BGISTP")
_SIGNS = COIL_SPELLINGS - {"C"}
_KNOWN = frozenset(STATES["ss9"]) | {"X", "C"}


def choose_alphabet(
    files: list[tuple[Path, str]],
    alphabet: str | None = None,
    *,
    labels: Mapping[str, str] | None = None,
    command: IngestCommand | None = None,
) -> tuple[str, str]:
    """Choose the alphabet of some files.

    Args:
        files: Paths with the names of their formats.
        alphabet: The user's choice; None where there is none.
        labels: The user's label map.
        command: The call, for remedies.

    Returns:
        The alphabet, and its source: `argument`, `declared` or `letters`.

    Raises:
        DataError: The name is unknown, files declare different alphabets, the letters do not decide, or the label map
            has a state of another alphabet.
    """
    chosen, source = _choose(files, alphabet, labels or {}, command)
    check_labels(labels or {}, chosen)
    return chosen, source


def _choose(
    files: list[tuple[Path, str]],
    alphabet: str | None,
    labels: Mapping[str, str],
    command: IngestCommand | None,
) -> tuple[str, str]:
    if alphabet is not None:
        check_alphabet(alphabet)
        return alphabet, "argument"
    declared = {path: FORMATS[name].declared_alphabet(path) for path, name in files}
    named = sorted({name for name in declared.values() if name})
    if len(named) > 1:
        one, other = (next(path for path, name in declared.items() if name == kind) for kind in named[:2])
        raise DataError(
            f"files of different alphabets: {one} is {named[0]}, {other} is {named[1]}",
            remedy="ingest them separately, or set --alphabet",
        )
    if named:
        return named[0], "declared"
    return _from_letters(files, labels, command), "letters"


@dataclass
class _Votes:
    """Chains by what their labels can be; see the table above."""

    three: int = 0
    coil_l: int = 0
    eight: int = 0
    nine: int = 0
    coil_c: int = 0
    sign: int = 0
    signs: set[str] = field(default_factory=set)
    refused: Counter[str] = field(default_factory=Counter)
    example: str = ""

    def add(self, ss: str) -> None:
        letters = set(ss)
        if letters & _SIGNS and letters <= _KNOWN | _SIGNS:
            self.sign += 1
            self.signs |= letters & _SIGNS
        elif letters <= _SILENT or not letters <= _KNOWN:
            return
        elif letters & _EIGHT and "C" in letters:
            self.coil_c += 1
            self.nine += "P" in letters
        elif letters & _EIGHT:
            self.eight += 1
            self.nine += "P" in letters
        else:
            # Neither is there with both: `C` and `L` in one chain fit no reading.
            self.three += "L" not in letters
            self.coil_l += "C" not in letters


def _from_letters(
    files: list[tuple[Path, str]], labels: Mapping[str, str], command: IngestCommand | None
) -> str:
    votes = _Votes()
    guard = PartGuard(command.set if command else None, command)
    for path, name in files:
        # No alphabet was declared, so the reader passes the labels on unchanged, whichever alphabet it is given.
        for record in spelled(path, format=name, alphabet="ss9", labels=labels, parts=guard):
            if isinstance(record, ProteinRecord):
                votes.add(record.ss)
            else:
                votes.refused[record.reason] += 1
                votes.example = votes.example or record.detail
    return _decide(votes, str(files[0][0]), command)


def _decide(votes: _Votes, where: str, command: IngestCommand | None) -> str:
    with_l, rich = votes.coil_l + votes.eight, "ss9" if votes.nine else "ss8"
    most = max(votes.three, with_l, votes.coil_c, votes.sign)
    if not most:
        raise _silent(votes, where, command)
    if votes.sign == most:
        raise _sign(votes, rich, where, command)
    if votes.coil_c and votes.coil_c + votes.three >= with_l:
        raise DataError(
            f"the labels have 'C' among the letters of {rich}, where coil is 'L'",
            where=where,
            remedy=alternatives(
                command,
                ("if 'C' is coil", {"alphabet": rich, "labels": {"C": "L"}}),
                ("if 'C' means no label", {"alphabet": rich, "labels": {"C": "X"}}),
            ),
        )
    if votes.three >= with_l:
        return "ss3"
    if votes.coil_l > votes.eight:
        raise DataError(
            "cannot tell the alphabet: the labels are E, H and L, three states or eight of which some do not occur",
            where=where,
            remedy=alternatives(
                command,
                ("for three states", {"alphabet": "ss3", "labels": {"L": "C"}}),
                ("for eight", {"alphabet": "ss8"}),
            ),
        )
    return rich


def _silent(votes: _Votes, where: str, command: IngestCommand | None) -> DataError:
    if votes.refused:
        reason, count = votes.refused.most_common(1)[0]
        return DataError(
            f"no labelled chain: {votes.refused.total()} records refused ({reason} {count}; {votes.example})",
            where=where,
            remedy="give labels: a third line under each header, a file x.ss.fasta next to x.fasta, a second record "
            "of the same id or x_ss, or TARGET= in the header",
        )
    return DataError(
        "cannot tell the alphabet from the labels",
        where=where,
        remedy="set --alphabet, for example: " + _example(command, {"alphabet": "ss3"}),
    )


def _sign(votes: _Votes, rich: str, where: str, command: IngestCommand | None) -> DataError:
    shown = " and ".join("blanks" if sign == " " else repr(sign) for sign in sorted(votes.signs))
    few = not votes.nine and not votes.eight and not votes.coil_c
    alphabet = "ss3" if few and votes.three else rich
    coil = {sign: "C" if alphabet == "ss3" else "L" for sign in sorted(votes.signs)}
    return DataError(
        f"cannot tell the alphabet: {shown} among the labels",
        where=where,
        remedy=alternatives(
            command,
            (
                f"if that is coil in {'three' if alphabet == 'ss3' else 'eight'} states",
                {"alphabet": alphabet, "labels": coil},
            ),
            ("if it means no label", {"alphabet": alphabet, "labels": dict.fromkeys(coil, "X")}),
        ),
    )


def _example(command: IngestCommand | None, changes: dict[str, Any]) -> str:
    return command(changes) if command else "--alphabet ss3"
