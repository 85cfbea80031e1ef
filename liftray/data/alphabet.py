"""The alphabet of the labels of some files, where the user does not name it.

Invariant: the answer comes from something written in the files or their names, never from a default. Flow:
before ingest.

Three sources decide, in this order:
1. The user's `--alphabet`.
2. What formats, headers and file names declare: `train.ss9.txt`, a `q8` column, the metadata of a LiftRay data
   set; structures are ss9. All files must agree.
3. The letters, in a first streaming pass over all files. A chain counts for ss3 if it has `C` and otherwise only
   `H E X`. It counts for ss9 if it has `P` and no `C`, and for ss8 if it has any of `L B G I S T`, no `P` and no
   `C`. The kind with more chains wins (ss9 and ss8 are one kind; it is ss9 if any chain has `P`). Chains of the
   other kind are then quarantined one by one. Chains of `H`, `E` and `X` alone do not count.
"""

from pathlib import Path

from liftray.data.formats import FORMATS
from liftray.data.labels import STATES, check_alphabet
from liftray.data.records import ProteinRecord
from liftray.errors import DataError

_SS3 = frozenset("CEHX")
_SS9 = frozenset(STATES["ss9"]) | {"X"}
_SILENT = frozenset("EHX")


def choose_alphabet(files: list[tuple[Path, str]], alphabet: str | None = None) -> tuple[str, str]:
    """Choose the alphabet of some files.

    Args:
        files: Paths with the names of their formats.
        alphabet: The user's choice; None where there is none.

    Returns:
        The alphabet, and its source: `argument`, `declared` or `letters`.

    Raises:
        DataError: The name is unknown, files declare different alphabets, or the letters do not decide.
    """
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
    return _from_letters(files), "letters"


def _from_letters(files: list[tuple[Path, str]]) -> str:
    votes = dict.fromkeys(STATES, 0)
    for path, name in files:
        # No alphabet was declared, so the reader passes the labels on unchanged, whichever alphabet it is given.
        for record in FORMATS[name](path, alphabet="ss9"):
            kind = _vote(record.ss) if isinstance(record, ProteinRecord) else None
            if kind:
                votes[kind] += 1
    rich = votes["ss9"] + votes["ss8"]
    if not rich and not votes["ss3"]:
        where = str(files[0][0])
        raise DataError("cannot tell the alphabet from the labels", where=where, remedy="set --alphabet")
    if votes["ss3"] >= rich:
        return "ss3"
    return "ss9" if votes["ss9"] else "ss8"


def _vote(ss: str) -> str | None:
    letters = set(ss)
    if letters <= _SILENT:
        return None
    if letters <= _SS3:
        return "ss3"
    if letters <= _SS9:
        return "ss9" if "P" in letters else "ss8"
    return None
