"""Decoder of BinaryCIF, the packed form of mmCIF that gemmi's Python module does not read.

Invariant: a decoded category has exactly the rows that its header states, or ValueError is raised. Every stated size is
checked before memory is allocated for it. Flow: bytes -> [this] -> structures. The encodings are those of the BinaryCIF
specification 0.3 (Sehnal et al. 2020, PLoS Comput Biol 16:e1008247).
"""

from collections.abc import Callable, Collection
from itertools import pairwise
from typing import Any

import gemmi
import msgpack
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

MAX_ROWS = 50_000_000
_TYPES = {1: "i1", 2: "<i2", 3: "<i4", 4: "u1", 5: "<u2", 6: "<u4", 32: "<f4", 33: "<f8"}
_ABSENT = {1: ".", 2: "?"}


def decode_block(data: bytes, categories: Collection[str]) -> gemmi.cif.Block:
    """Decode chosen categories of the first data block into a gemmi CIF block.

    Args:
        data: The file's bytes, already inflated.
        categories: Names such as `_atom_site`; others are skipped undecoded.

    Returns:
        A block with one loop for each category that was found.

    Raises:
        ValueError: The bytes are not BinaryCIF, are damaged, or state sizes that do not agree.
    """
    try:
        content = msgpack.unpackb(data, raw=False)
    except (ValueError, TypeError, msgpack.UnpackException) as error:
        raise ValueError(f"not BinaryCIF, or cut short ({error})") from error
    try:
        source = content["dataBlocks"][0]
        block = gemmi.cif.Block(str(source["header"]) or "structure")
        for category in source["categories"]:
            name, rows = category["name"], int(category["rowCount"])
            if name in categories and rows:
                columns = {column["name"]: _column(column, rows) for column in category["columns"]}
                block.init_loop(f"{name}.", list(columns)).set_all_values(list(columns.values()))
    except (LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError) as error:
        raise ValueError(f"damaged BinaryCIF ({type(error).__name__}: {error})") from error
    return block


def _column(column: dict[str, Any], rows: int) -> list[str]:
    """Decode one column to CIF values, quoted where they must be."""
    values = _decode(column["data"])
    mask = _decode(column["mask"]) if column.get("mask") else np.zeros(rows, dtype=np.uint8)
    if len(values) != rows or len(mask) != rows:
        raise ValueError(f"BinaryCIF column {column['name']} has {len(values)} values for {rows} rows")
    pairs = zip(values.tolist(), mask.tolist(), strict=True)
    return [_ABSENT.get(absent) or _text(value) for value, absent in pairs]


def _text(value: str | int | float) -> str:
    if isinstance(value, str):
        return str(gemmi.cif.quote(value))
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def _decode(packed: dict[str, Any]) -> Array:
    """Undo the encodings of `packed`, the last applied first."""
    value: Any = packed["data"]
    for encoding in reversed(packed["encoding"]):
        value = _DECODERS[encoding["kind"]](value, encoding)
    return np.asarray(value)


def _byte_array(data: bytes, encoding: dict[str, Any]) -> Array:
    return np.frombuffer(data, dtype=_TYPES[encoding["type"]])


def _fixed_point(data: Array, encoding: dict[str, Any]) -> Array:
    return data.astype(np.float64) / encoding["factor"]


def _interval_quantization(data: Array, encoding: dict[str, Any]) -> Array:
    step = (encoding["max"] - encoding["min"]) / (encoding["numSteps"] - 1)
    return encoding["min"] + data.astype(np.float64) * step


def _run_length(data: Array, encoding: dict[str, Any]) -> Array:
    values, counts = data[0::2], data[1::2].astype(np.int64)
    total = int(counts.sum()) if counts.size and counts.min() >= 0 else 0
    if total != encoding["srcSize"] or total > MAX_ROWS:
        raise ValueError(f"BinaryCIF runs hold {total} values where {encoding['srcSize']} are stated")
    return np.repeat(values, counts)


def _delta(data: Array, encoding: dict[str, Any]) -> Array:
    return np.cumsum(data, dtype=np.int64) + encoding["origin"]


def _integer_packing(data: Array, encoding: dict[str, Any]) -> Array:
    """Sum runs of saturated small integers: a value ends at the first item not at its type's limit."""
    bits = 8 * encoding["byteCount"]
    upper = 2**bits - 1 if encoding["isUnsigned"] else 2 ** (bits - 1) - 1
    lower = upper if encoding["isUnsigned"] else -upper - 1
    ends = np.flatnonzero((data != upper) & (data != lower))
    if len(ends) != encoding["srcSize"] or (data.size and (not ends.size or ends[-1] != data.size - 1)):
        raise ValueError(f"BinaryCIF packs {len(ends)} integers where {encoding['srcSize']} are stated")
    sums = np.concatenate([[0], np.cumsum(data, dtype=np.int64)[ends]])
    return np.diff(sums)


def _string_array(data: bytes, encoding: dict[str, Any]) -> Array:
    offsets = _decode({"data": encoding["offsets"], "encoding": encoding["offsetEncoding"]}).tolist()
    text = encoding["stringData"]
    words = [text[start:end] for start, end in pairwise(offsets)] + [""]
    index = _decode({"data": data, "encoding": encoding["dataEncoding"]})
    if index.size and (index.min() < -1 or index.max() >= len(words) - 1):
        raise ValueError("BinaryCIF string index out of range")
    # -1 means "no string" and so picks the empty word that was appended last.
    return np.array(words, dtype=object)[index]


_DECODERS: dict[str, Callable[[Any, dict[str, Any]], Array]] = {
    "ByteArray": _byte_array,
    "FixedPoint": _fixed_point,
    "IntervalQuantization": _interval_quantization,
    "RunLength": _run_length,
    "Delta": _delta,
    "IntegerPacking": _integer_packing,
    "StringArray": _string_array,
}
