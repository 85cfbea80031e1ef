"""Decoder of BinaryCIF, the packed form of mmCIF that gemmi's Python module does not read.

Invariant: a decoded category has exactly the rows that its header states, or ValueError is raised. Every stated size is
checked before memory is allocated for it: no array may have more values than the file has bytes (or than
`limits.BINARYCIF_ROWS_FREE`). Flow: bytes -> [this] -> structures. The encodings are those of the BinaryCIF
specification 0.3 (Sehnal et al. 2020, PLoS Comput Biol 16:e1008247).
"""

from collections.abc import Callable, Collection, Mapping
from itertools import pairwise
from typing import Any

import gemmi
import msgpack
import numpy as np
import numpy.typing as npt

from liftray import limits

Array = npt.NDArray[Any]

_TYPES = {1: "i1", 2: "<i2", 3: "<i4", 4: "u1", 5: "<u2", 6: "<u4", 32: "<f4", 33: "<f8"}
_ATOM_BYTES = 8  # of the file for each atom at least; files of the PDB have 45 and more
_TEXT_RATIO = 16  # characters of a column's texts for each value that it may have
_ABSENT = {1: ".", 2: "?"}


def decode_block(data: bytes, categories: Mapping[str, Collection[str] | None]) -> gemmi.cif.Block:
    """Decode chosen categories into a gemmi CIF block: of the first data block that has atoms, else of the first.

    Args:
        data: The file's bytes, already inflated.
        categories: Names such as `_atom_site`, each with the items to decode; None for all its items.

    Returns:
        A block with one loop for each category that was found.

    Raises:
        ValueError: The bytes are not BinaryCIF, are damaged, or state sizes that do not agree or are over the limit.
    """
    try:
        content = msgpack.unpackb(data, raw=False)
    except (ValueError, TypeError, RecursionError, msgpack.UnpackException) as error:
        raise ValueError(f"not BinaryCIF, or cut short ({error})") from error
    decoder = _Decoder(max(len(data), limits.BINARYCIF_ROWS_FREE))
    try:
        blocks = content["dataBlocks"]
        with_atoms = (one for one in blocks if any(c["name"] == "_atom_site" for c in one["categories"]))
        source = next(with_atoms, None) or blocks[0]
        block = gemmi.cif.Block(str(source["header"]) or "structure")
        for category in source["categories"]:
            name, rows = category["name"], int(category["rowCount"])
            if name in categories and rows:
                if name == "_atom_site":
                    decoder.check_atoms(rows)
                items = categories[name]
                columns = {
                    column["name"]: decoder.column(column, rows)
                    for column in category["columns"]
                    if items is None or column["name"] in items
                }
                if columns:
                    block.init_loop(f"{name}.", list(columns)).set_all_values(list(columns.values()))
    except (LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError, MemoryError) as error:
        raise ValueError(f"damaged BinaryCIF ({type(error).__name__}: {error})") from error
    return block


def _text(value: str | int | float) -> str:
    if isinstance(value, str):
        return str(gemmi.cif.quote(value))
    return f"{value:.10g}" if isinstance(value, float) else str(value)


class _Decoder:
    """Decodes the columns of one file.

    Args:
        most: The most values that an array may have, and characters of text a value on average.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._steps: dict[str, Callable[[Any, dict[str, Any]], Array]] = {
            "ByteArray": _byte_array,
            "FixedPoint": _fixed_point,
            "IntervalQuantization": _interval_quantization,
            "RunLength": self._run_length,
            "Delta": _delta,
            "IntegerPacking": _integer_packing,
            "StringArray": self._string_array,
        }

    def check_atoms(self, rows: int) -> None:
        """Refuse more atoms than the file can have coordinates for."""
        if rows > max(limits.BINARYCIF_ROWS_FREE, self._most // _ATOM_BYTES):
            raise ValueError(f"BinaryCIF states {rows} atoms in a file of {self._most} bytes")

    def column(self, column: dict[str, Any], rows: int) -> list[str]:
        """Decode one column to CIF values, quoted where they must be."""
        if not 0 < rows <= self._most:
            raise ValueError(f"BinaryCIF states {rows} rows; a file of this size has {self._most} at most")
        values = self._decode(column["data"])
        mask = self._decode(column["mask"]) if column.get("mask") else np.zeros(rows, dtype=np.uint8)
        if values.shape != (rows,) or mask.shape != (rows,):
            raise ValueError(f"BinaryCIF column {column['name']} has {len(values)} values for {rows} rows")
        if values.dtype == object and sum(map(len, values)) > _TEXT_RATIO * self._most:
            raise ValueError(f"BinaryCIF column {column['name']} repeats long texts")
        texts: dict[Any, str] = {}  # a value that is repeated is held once
        found = []
        for value, absent in zip(values.tolist(), mask.tolist(), strict=True):
            text = _ABSENT.get(absent) or texts.get(value)
            if text is None:
                text = texts[value] = _text(value)
            found.append(text)
        return found

    def _decode(self, packed: dict[str, Any]) -> Array:
        """Undo the encodings of `packed`, the last applied first."""
        value: Any = packed["data"]
        with np.errstate(all="ignore"):  # what a damaged number gives is found later, as a coordinate
            for encoding in reversed(packed["encoding"]):
                value = self._steps[encoding["kind"]](value, encoding)
        return np.asarray(value)

    def _run_length(self, data: Array, encoding: dict[str, Any]) -> Array:
        values, counts = data[0::2], data[1::2].astype(np.int64)
        # A sum of 64-bit numbers can wrap, one of Python's cannot.
        total = sum(counts.tolist()) if counts.size and counts.min() >= 0 else 0
        if total != encoding["srcSize"] or total > self._most:
            raise ValueError(
                f"BinaryCIF runs hold {total} values where {encoding['srcSize']} are stated "
                f"and {self._most} are the most"
            )
        return np.repeat(values, counts)

    def _string_array(self, data: bytes, encoding: dict[str, Any]) -> Array:
        offsets = self._decode({"data": encoding["offsets"], "encoding": encoding["offsetEncoding"]})
        text = encoding["stringData"]
        if offsets.size and (offsets[0] < 0 or offsets[-1] > len(text) or (np.diff(offsets) < 0).any()):
            raise ValueError("BinaryCIF string offsets do not rise within the text")
        words = [text[start:end] for start, end in pairwise(offsets.tolist())] + [""]
        index = self._decode({"data": data, "encoding": encoding["dataEncoding"]})
        if index.size and (index.min() < -1 or index.max() >= len(words) - 1):
            raise ValueError("BinaryCIF string index out of range")
        # -1 means "no string" and so picks the empty word that was appended last.
        return np.array(words, dtype=object)[index]


def _byte_array(data: bytes, encoding: dict[str, Any]) -> Array:
    return np.frombuffer(data, dtype=_TYPES[encoding["type"]])


def _fixed_point(data: Array, encoding: dict[str, Any]) -> Array:
    return data.astype(np.float64) / encoding["factor"]


def _interval_quantization(data: Array, encoding: dict[str, Any]) -> Array:
    step = (encoding["max"] - encoding["min"]) / (encoding["numSteps"] - 1)
    return encoding["min"] + data.astype(np.float64) * step


def _delta(data: Array, encoding: dict[str, Any]) -> Array:
    return np.cumsum(data, dtype=np.int64) + encoding["origin"]


def _integer_packing(data: Array, encoding: dict[str, Any]) -> Array:
    """Sum runs of saturated small integers: a value ends at the first item not at its type's limit."""
    if encoding["byteCount"] not in (1, 2):
        raise ValueError(f"BinaryCIF packs integers in {encoding['byteCount']} bytes; 1 or 2 are possible")
    bits = 8 * encoding["byteCount"]
    upper = 2**bits - 1 if encoding["isUnsigned"] else 2 ** (bits - 1) - 1
    lower = upper if encoding["isUnsigned"] else -upper - 1
    ends = np.flatnonzero((data != upper) & (data != lower))
    if len(ends) != encoding["srcSize"] or (data.size and (not ends.size or ends[-1] != data.size - 1)):
        raise ValueError(f"BinaryCIF packs {len(ends)} integers where {encoding['srcSize']} are stated")
    sums = np.concatenate([[0], np.cumsum(data, dtype=np.int64)[ends]])
    return np.diff(sums)
