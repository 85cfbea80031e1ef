"""What a residue's name says: an amino acid and its letter, or something that is no residue of a protein.

Invariant: only a name of an amino acid has a letter; a nucleotide, water, ion, lipid or cap never gets one. Names that
stand in no table are `UNKNOWN`: the atoms and bonds decide about them. gemmi's table of the PDB's components is the
base; it lacks what force fields call residues in their protonation states and at the ends of chains.
"""

from enum import Enum
from functools import cache

import gemmi

UNKNOWN_LETTER = "X"

_AMINO = frozenset(
    (gemmi.ResidueKind.AA, gemmi.ResidueKind.AAD, gemmi.ResidueKind.PAA, gemmi.ResidueKind.MAA)
)
_STANDARD = frozenset(
    "ALA ARG ASN ASP CYS GLN GLU GLY HIS ILE LEU LYS MET PHE PRO SER THR TRP TYR VAL ASX GLX SEC PYL UNK".split()  # noqa: SIM905
)
# AMBER, CHARMM, GROMOS and OPLS names of the PDB's residues in other protonation states or with other bonds.
_STATES = {
    "HIS": "HSD HSE HSP HID HIE HIP HISD HISE HISH HISA HISB HIS1 HIS2 HISP HIH HISN HISQ HSC HS2",
    "CYS": "CYX CYM CYSH CYS1 CYS2 CYSN CYSX CYSD CYH CSS CYSG",
    "ASP": "ASH ASPH ASPP AS4 ASPN",
    "GLU": "GLH GLUH GLUP GL4 GLUN",
    "LYS": "LYN LYSH LYSP LYSN LSN LYSC",
    "ARG": "ARGN ARN ARGP ARGH",
    "TYR": "TYM TYRU TYRH",
    "ASN": "ASN1 ASNH",
    "GLN": "GLNH",
    "SER": "SERD",
    "ILE": "ILEU",
    "MET": "METH",
}
_PARENT = {name: parent for parent, names in _STATES.items() for name in names.split()}
# Force fields mark a chain's first and last residue with a letter before its name (NLYS, CTHR, NHIE).
_TERMINAL = "NC"
# Solvent, ions and lipids whose names stand for nothing else; an amino acid's atoms inside would be chance.
_OTHER = frozenset(
    """
    SOL TIP TIP3 TIP4 TIP5 TP3 TP4 TP5 T3P T4P T3H T4H SPC SPCE WAT HOH DOD H2O OPC OH2 SWM4 SOD POT CLA
    CAL CES LIT RUB BAR MG2 ZN2 CL- NA+ K+ CIO IB CL NA K MG CA ZN POPC POPE POPS POPG DPPC DPPE DOPC
    DOPE DOPG DMPC DLPC DSPC DPC CHL CHL1 PA PC PE OL LA MY ST AR ACE NME NMA NH2 NHE FOR
    """.split()  # noqa: SIM905
)


class Kind(Enum):
    """What a residue of this name is."""

    PROTEIN = "protein"
    NUCLEOTIDE = "nucleotide"
    OTHER = "other"
    UNKNOWN = "unknown"


@cache
def kind(name: str) -> Kind:
    """What a residue of this name is; `UNKNOWN` where no table has it."""
    if parent(name) in _STANDARD:
        return Kind.PROTEIN
    if name in _OTHER:
        return Kind.OTHER
    found = gemmi.find_tabulated_residue(name)
    if found.kind in _AMINO:
        return Kind.PROTEIN
    if found.is_nucleic_acid():
        return Kind.NUCLEOTIDE
    return Kind.UNKNOWN if found.kind == gemmi.ResidueKind.UNKNOWN else Kind.OTHER


@cache
def parent(name: str) -> str:
    """The PDB's name of a residue that a force field renamed; any other name as it is."""
    if name in _PARENT:
        return _PARENT[name]
    if len(name) == 4 and name[0] in _TERMINAL:
        inner = _PARENT.get(name[1:], name[1:])
        if inner in _STANDARD:
            return inner
    return name


@cache
def letter(name: str) -> str:
    """One-letter code of an amino acid, of its parent if it is modified; `X` for any other name."""
    if kind(name) is not Kind.PROTEIN:
        return UNKNOWN_LETTER
    code: str = gemmi.find_tabulated_residue(parent(name)).one_letter_code
    return code.strip().upper() or UNKNOWN_LETTER


def is_standard(name: str) -> bool:
    """Whether it is one of the genetic code's amino acids, or an ambiguous or unknown one."""
    return name in _STANDARD


def fits(observed: str, stated: str) -> bool:
    """Whether an observed residue can be one that the full sequence states: same name, or the same amino acid."""
    if observed == stated:
        return True
    one = letter(observed)
    return one != UNKNOWN_LETTER and one == letter(stated)
