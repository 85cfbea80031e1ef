"""Secondary-structure alphabets, the maps between them, and the code for "no label".

Invariant: a map goes from a richer alphabet to a poorer one, never up. Pure NumPy; every stage uses these codes.
States are those of DSSP (Kabsch & Sander 1983; mkdssp 4 adds P, the polyproline helix); `L` is coil in ss8 and ss9.
"""

from typing import Literal

import numpy as np
import numpy.typing as npt

from liftray.errors import DataError

Alphabet = Literal["ss3", "ss8", "ss9"]
Ss3Map = Literal["dssp", "lift"]

STATES: dict[str, str] = {"ss9": "LBEGIHSTP", "ss8": "LBEGIHST", "ss3": "CEH"}
UNLABELLED = "X"
IGNORE_INDEX = -100

# P is coil by DSSP's own reading; the LIFT_SS code counts it as helix. The two differ by up to 2 points of Q3.
_TO_SS3 = {"H": "H", "G": "H", "I": "H", "E": "E", "B": "E", "L": "C", "S": "C", "T": "C"}
_P_TO_SS3 = {"dssp": "C", "lift": "H"}
_RICHNESS = {"ss3": 0, "ss8": 1, "ss9": 2}


def check_alphabet(name: str, where: str | None = None) -> None:
    """Raise DataError unless `name` is an alphabet LiftRay knows."""
    if name not in STATES:
        raise DataError(f"unknown alphabet {name!r}", where=where, remedy=f"use one of {', '.join(STATES)}")


def encode(ss: str, alphabet: str) -> npt.NDArray[np.int64]:
    """Turn a label string into class codes.

    Args:
        ss: One letter per residue; `X` where there is no label.
        alphabet: Name of the alphabet the letters are from.

    Returns:
        (L,) codes in 0..C-1 in the order of `STATES[alphabet]`, IGNORE_INDEX where `X`.

    Raises:
        DataError: A letter is outside the alphabet.
    """
    try:
        codes = _ENCODE[alphabet][np.frombuffer(ss.encode("ascii"), dtype=np.uint8)]
    except UnicodeEncodeError as error:
        raise DataError(f"non-ASCII label {ss[error.start]!r} at position {error.start + 1}") from error
    bad = np.flatnonzero(codes == _INVALID)
    if bad.size:
        at = int(bad[0])
        raise DataError(
            f"label {ss[at]!r} at position {at + 1} is not in {alphabet} ({STATES[alphabet]} or {UNLABELLED})"
        )
    return codes


def decode(codes: npt.ArrayLike, alphabet: str) -> str:
    """Turn class codes back into a label string; IGNORE_INDEX becomes `X`."""
    letters = np.frombuffer((STATES[alphabet] + UNLABELLED).encode("ascii"), dtype=np.uint8)
    index = np.asarray(codes)
    return letters[np.where(index == IGNORE_INDEX, len(STATES[alphabet]), index)].tobytes().decode("ascii")


def class_map(source: str, target: str, ss3_map: str = "dssp") -> npt.NDArray[np.int64]:
    """Give, for each state of `source`, the code it has in `target`.

    Args:
        source: The richer alphabet (or the same).
        target: The poorer alphabet.
        ss3_map: `dssp` (P is coil) or `lift` (P is helix); matters only from ss9 to ss3.

    Returns:
        (C_source,) codes of `target`.

    Raises:
        DataError: `target` is richer than `source`.
    """
    if _RICHNESS[target] > _RICHNESS[source]:
        raise DataError(
            f"{source} labels cannot be mapped up to {target}",
            remedy=f"choose task={source} or give data labelled in {target}",
        )
    letters = [_map_letter(letter, source, target, ss3_map) for letter in STATES[source]]
    return np.array([STATES[target].index(letter) for letter in letters], dtype=np.int64)


def map_codes(
    codes: npt.NDArray[np.int64], source: str, target: str, ss3_map: str = "dssp"
) -> npt.NDArray[np.int64]:
    """Map class codes from one alphabet to another; IGNORE_INDEX stays."""
    mapped = class_map(source, target, ss3_map)[np.where(codes == IGNORE_INDEX, 0, codes)]
    return np.where(codes == IGNORE_INDEX, IGNORE_INDEX, mapped)


def map_string(ss: str, source: str, target: str, ss3_map: str = "dssp") -> str:
    """Map a label string from one alphabet to another; `X` stays."""
    return decode(map_codes(encode(ss, source), source, target, ss3_map), target)


def map_probabilities(
    probabilities_LC: npt.NDArray[np.floating], source: str, target: str, ss3_map: str = "dssp"
) -> npt.NDArray[np.floating]:
    """Sum class probabilities (..., C_source) into those of a poorer alphabet (..., C_target)."""
    codes = class_map(source, target, ss3_map)
    summed = np.zeros((*probabilities_LC.shape[:-1], len(STATES[target])), dtype=probabilities_LC.dtype)
    for state, code in enumerate(codes):
        summed[..., code] += probabilities_LC[..., state]
    return summed


def _map_letter(letter: str, source: str, target: str, ss3_map: str) -> str:
    if source == target:
        return letter
    if target == "ss8":
        return "L" if letter == "P" else letter
    return _P_TO_SS3[ss3_map] if letter == "P" else _TO_SS3[letter]


_INVALID = -1


def _encode_table(states: str) -> npt.NDArray[np.int64]:
    table = np.full(256, _INVALID, dtype=np.int64)
    for code, letter in enumerate(states):
        table[ord(letter)] = code
    table[ord(UNLABELLED)] = IGNORE_INDEX
    return table


_ENCODE = {name: _encode_table(states) for name, states in STATES.items()}
