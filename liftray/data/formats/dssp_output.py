"""What DSSP writes: the classic format and annotated mmCIF; the states are read, not computed again.

Invariant: each chain of the file gives one record or one BadRecord. Flow: file -> [this] -> spelling -> validate.

Decisions:
- The id is FILESTEM_CHAIN, with the author's chain name where the file has it; a second chain under one name gets `-2`.
- DSSP lists observed residues only, so a chain is what was observed. A blank (`.` in mmCIF) is coil.
- Lower-case residues are half cystines: `C`. A state of DSSP is known, so it maps down to a poorer alphabet (`dssp`
  map).
- The alphabet is ss9 where the program knows P (mkdssp 4 and newer) or P occurs, else ss8.
- mmCIF without `_dssp_struct_summary` (mkdssp 4.2 and older) has no states that can be read back: they are computed
  from its atoms, as for any structure.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from liftray import limits
from liftray.data.formats.lines import BrokenStreamError, no_records, read_lines
from liftray.data.labels import map_string
from liftray.data.records import BadRecord, ProteinRecord
from liftray.errors import DataError
from liftray.input_files import read_input

_TABLE = "  #  RESIDUE AA STRUCTURE"
_VERSION = re.compile(r"version (\d+)")
_STATES = frozenset("LBEGIHSTP")


def read(path: Path, *, alphabet: str) -> Iterator[ProteinRecord | BadRecord]:
    """Yield the chains of a DSSP file.

    Args:
        path: The file, gzip-compressed or not.
        alphabet: `ss9`, `ss8` or `ss3`; richer states are mapped down.

    Yields:
        A record for each chain, in file order.

    Raises:
        DataError: The file cannot be read, is empty, or is not DSSP's.
    """
    chains = _mmcif(path) if _is_mmcif(path) else _classic(path)
    if chains is None:
        from liftray.data.formats import structures

        yield from structures.read(path, alphabet=alphabet)
        return
    stem, seen = path.name.split(".")[0], dict[str, int]()
    for chain in chains:
        if isinstance(chain, BadRecord):
            yield chain
            continue
        name, sequence, ss = chain
        seen[name] = seen.get(name, 0) + 1
        record_id = f"{stem}_{name}" + (f"-{seen[name]}" if seen[name] > 1 else "")
        strange = sorted(set(ss) - _STATES)
        if strange:
            detail = f"{strange[0]!r} is no state of DSSP"
            yield BadRecord(str(path), 0, record_id, "unknown-label", detail, "".join(strange))
        else:
            mapped = ss if alphabet == "ss9" else map_string(ss, "ss9", alphabet)
            yield ProteinRecord(record_id, sequence, mapped, path.name)


def declared_alphabet(path: Path) -> str:
    """`ss9` for a program that knows P, else `ss8`."""
    if _is_mmcif(path):
        return "ss9"
    first = next((line.text for line in read_lines(path) if line.text.strip()), "")
    version = _VERSION.search(first)
    if version and int(version.group(1)) >= 4:
        return "ss9"
    states = (chain[2] for chain in _classic(path) if not isinstance(chain, BadRecord))
    return "ss9" if any("P" in ss for ss in states) else "ss8"


def is_classic(lines: list[str]) -> bool:
    """Whether the first lines of a file are those of DSSP's classic format."""
    return any(line.startswith(("==== Secondary Structure Definition", _TABLE)) for line in lines[:40])


def _is_mmcif(path: Path) -> bool:
    first = next((line.text for line in read_lines(path) if line.text.strip() and line.text[0] != "#"), "")
    return first.startswith("data_")


def _classic(path: Path) -> Iterator[tuple[str, str, str] | BadRecord]:
    """Name, residues and states of each chain; a row with `!*` or another chain name ends one."""
    rows = _rows(path)
    name: str | None = None
    residues: list[str] = []
    states: list[str] = []
    try:
        for row in rows:
            ended = row[13:15] == "!*" or (row[13] != "!" and name is not None and _chain_name(row) != name)
            if ended and name is not None:
                yield name, "".join(residues), "".join(states)
                name, residues, states = None, [], []
            if row[13] != "!":
                name = _chain_name(row)
                residues.append("C" if row[13].islower() else row[13])
                states.append("L" if row[16] == " " else row[16])
    except BrokenStreamError as broken:
        yield broken.bad_record(path, record_id=path.name.split(".")[0])
        return
    if name is not None:
        yield name, "".join(residues), "".join(states)


def _rows(path: Path) -> Iterator[str]:
    """The rows below the header of the table."""
    inside = False
    count = 0
    for line in read_lines(path):
        if inside and line.text.strip():
            if len(line.text) < 17:
                raise DataError(
                    "a row of the DSSP table is cut",
                    where=f"{path}:{line.number}",
                    remedy="fetch the file again",
                )
            count += 1
            yield line.text
        inside = inside or line.text.startswith(_TABLE)
    if not count:
        if inside:
            raise no_records(path)
        raise DataError(
            "no table of DSSP's classic format", where=str(path), remedy=f"it begins with {_TABLE.strip()!r}"
        )


def _chain_name(row: str) -> str:
    """The author's chain name: column 12, or the longer name that newer programs write at the end of a row."""
    long = row[150:].split()
    return long[1] if len(long) > 1 else row[11].strip() or "A"


def _mmcif(path: Path) -> Iterator[tuple[str, str, str]] | None:
    """The same from `_dssp_struct_summary`; None where the file has none."""
    import gemmi

    from liftray.data.formats.structures.residue_names import letter

    text = read_input(path, max_bytes=limits.STRUCTURE_BYTES).decode("utf-8", "replace")
    try:
        block = gemmi.cif.read_string(text)[0]
    except (ValueError, RuntimeError, IndexError) as error:
        raise DataError(
            f"not readable as mmCIF ({' '.join(str(error).split())[:200]})",
            where=str(path),
            remedy="fetch the file again",
        ) from error
    table = block.find("_dssp_struct_summary.", ["label_asym_id", "label_comp_id", "secondary_structure"])
    if not len(table):
        return None
    named = block.find("_pdbx_poly_seq_scheme.", ["asym_id", "pdb_strand_id"])
    authors = {row.str(0): row.str(1) for row in named}
    chains: dict[str, list[tuple[str, str]]] = {}
    for row in table:
        state = row.str(2) or "L"
        chains.setdefault(row.str(0), []).append((letter(row.str(1)), state))
    return (
        (
            authors.get(name, name),
            "".join(residue for residue, _ in pairs),
            "".join(state for _, state in pairs),
        )
        for name, pairs in chains.items()
    )
