"""Compare LiftRay's residues and states with those of mkdssp on whole structure files, and write a dated report.

    python -m tests.agreement FOLDER... --out reports/YYYY-MM-DD-mkdssp-agreement.md

Each FOLDER is one source of files, such as an unpacked source distribution; its name is that of the source. Nothing is
downloaded. Exit code 1 where a label or residue differs and nothing explains it.
"""

import argparse
import datetime
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from liftray.data.formats.dssp import assigner
from liftray.data.formats.names import is_structure, plain_name
from liftray.data.formats.structures.residue_names import is_standard
from liftray.errors import DataError
from liftray.input_files import DamagedStreamError, open_input
from tests.agreement.compare import SHARED, Comparison, compare

_MARKS = (b"ATOM  ", b"HETATM", b"_atom_site")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the comparison from the command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.agreement", description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    parser.add_argument("--out", type=Path, required=True, help="the report, Markdown")
    parser.add_argument("--jobs", type=int, default=2, help="files at a time")
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds for mkdssp on one whole file")
    options = parser.parse_args(arguments)
    with ThreadPoolExecutor(options.jobs) as pool:
        found = {
            folder: list(pool.map(lambda path: compare(path, options.timeout), _files(folder)))
            for folder in options.folders
        }
    unexplained = sum(_unexplained(one) for group in found.values() for one in group)
    options.out.write_text(_report(found, unexplained, options.timeout))
    print(f"{sum(map(len, found.values()))} files, {unexplained} residues unexplained -> {options.out}")
    return 1 if unexplained else 0


def _files(folder: Path) -> list[Path]:
    """The structure files with atoms below a folder."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file() and is_structure(path.name))
    return [path for path in paths if _has_atoms(path)]


def _has_atoms(path: Path) -> bool:
    if plain_name(path.name).endswith(".bcif"):
        return True
    try:
        with open_input(path) as stream:
            return any(line.lstrip().startswith(_MARKS) for line in stream)
    except (DamagedStreamError, DataError):
        return True


def _explained(one: Comparison) -> Iterable[str]:
    """Why the residues of a compared file are not exactly those of mkdssp."""
    if one.differing and not one.differing_on_same_residues:
        yield (
            f"{one.differing} states differ only because mkdssp leaves residues out: on its own residues all are equal"
        )
    names = Counter(one.only_ours)
    for name, count in names.items():
        if name == SHARED:
            yield f"{count} places with several residues that mkdssp leaves out"
        elif not is_standard(name):
            yield f"{count} {name} that mkdssp's PDB reader does not know"
    if one.twins and one.only_theirs:
        yield f"{min(one.twins, one.only_theirs)} residues share the place of another, which has the row"


def _unexplained(one: Comparison) -> int:
    """Residues without an explanation."""
    if one.reference is None:
        return 0
    ours = sum(name != SHARED and is_standard(name) for name in one.only_ours)
    return one.differing_on_same_residues + ours + max(one.only_theirs - one.twins, 0)


def _report(found: dict[Path, list[Comparison]], unexplained: int, timeout_s: float) -> str:
    every = [one for group in found.values() for one in group]
    compared = [one for one in every if one.reference is not None]
    lines = [
        "# Agreement with mkdssp on whole files",
        "",
        f"{datetime.date.today()}, {assigner()}. Made by `python -m tests.agreement FOLDER... --out FILE`.",
        "",
        "Residues are those with N, CA, C and O. mkdssp gets each file as it is; where it cannot read that, the",
        "nearest form that it reads (BinaryCIF as mmCIF text; a PDB file with a HEADER line, or its SEQRES and atoms",
        "alone).",
        f"mkdssp had {timeout_s:.0f} s for a whole file.",
        "",
        f"**{len(compared)} of {len(every)} files compared: {sum(one.same for one in compared)} residues with the same"
        f" state, {sum(one.differing for one in compared)} with another, {unexplained} residues unexplained.**",
        "",
        "| source | files | compared | records | residues | same state | differing | unexplained |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for folder, group in found.items():
        both = [one for one in group if one.reference is not None]
        sums = [
            sum(one.chains for one in group),
            sum(one.residues for one in group),
            sum(one.same for one in both),
            sum(one.differing for one in both),
            sum(map(_unexplained, both)),
        ]
        lines.append(f"| {folder.name} | {len(group)} | {len(both)} | {' | '.join(map(str, sums))} |")
    lines += ["", "## Files that mkdssp was given in another form", ""]
    forms = Counter(one.form for one in compared)
    lines += [f"- {form}: {count} files" for form, count in sorted(forms.items())]
    lines += [
        "",
        "## Files with a difference",
        "",
        "| file | ours | mkdssp | explanation |",
        "|---|---|---|---|",
    ]
    for folder, group in found.items():
        for one in group:
            why = "; ".join(_explained(one)) if one.reference is not None else ""
            why += f" **{_unexplained(one)} unexplained**" if _unexplained(one) else ""
            if why:
                lines.append(f"| {_name(folder, one)} | {one.residues} | {one.reference} | {why} |")
    lines += ["", "## Files without a comparison", "", "| file | ours | why |", "|---|---|---|"]
    for folder, group in found.items():
        lines += [
            f"| {_name(folder, one)} | {_ours(one)} | mkdssp: {one.message.replace('|', '/')} |"
            if one.message
            else f"| {_name(folder, one)} | {_ours(one)} | not read by ours |"
            for one in group
            if one.reference is None
        ]
    return "\n".join([*lines, ""])


def _name(folder: Path, one: Comparison) -> str:
    return f"{folder.name}/{one.file.relative_to(folder)}"


def _ours(one: Comparison) -> str:
    refused = [f"{count} {reason}" for reason, count in Counter(one.refused).items()]
    return ", ".join([f"{one.chains} records, {one.residues} residues", *refused])


if __name__ == "__main__":
    raise SystemExit(main())
