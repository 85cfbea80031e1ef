"""Writers of predictions, one module a format, and the table of them.

Invariant: a writer streams: it holds a bounded part of its output, keeps the order of what it is given, and
names the model in every file. Flow: predictor -> [this] -> files. The caller gives a directory of its own and
publishes it when all is well.

| format       | output                      | made of                                                       |
|--------------|-----------------------------|---------------------------------------------------------------|
| `three-line` | predictions.3line.txt       | header, residues, states                                      |
| `csv`        | predictions.csv             | a row a residue, columns as in NetSurfP                       |
| `json`       | predictions.json            | an object a chain, fields as in NetSurfP                      |
| `parquet`    | predictions.parquet         | a row a chain                                                 |
| `ss2`        | predictions_ss2/N_ID.ss2    | a PSIPRED vertical file a chain                               |
| `horiz`      | predictions_horiz/N_ID.horiz| a PSIPRED horizontal file a chain                             |
"""

import difflib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from liftray.errors import ConfigError
from liftray.predict.prediction import ModelStamp
from liftray.predict.writers.base import Writer
from liftray.predict.writers.csv_table import CsvWriter
from liftray.predict.writers.horiz import HorizWriter
from liftray.predict.writers.json_document import JsonWriter
from liftray.predict.writers.parquet import ParquetWriter
from liftray.predict.writers.ss2 import Ss2Writer
from liftray.predict.writers.three_line import ThreeLineWriter

FORMATS: dict[str, type[Writer]] = {
    "three-line": ThreeLineWriter,
    "csv": CsvWriter,
    "json": JsonWriter,
    "parquet": ParquetWriter,
    "ss2": Ss2Writer,
    "horiz": HorizWriter,
}


def check_formats(formats: Sequence[str]) -> list[str]:
    """The wanted formats, each once, in the order given.

    Raises:
        ConfigError: None is given, or one is not a format.
    """
    valid = f"valid: {', '.join(FORMATS)}"
    if not formats:
        raise ConfigError("no output format", where="--formats", remedy=valid)
    for name in formats:
        if name == "html":
            raise ConfigError("format 'html' is not available yet", where="--formats", remedy=valid)
        if name not in FORMATS:
            near = difflib.get_close_matches(name, FORMATS, n=1)
            hint = f"did you mean {near[0]}? {valid}" if near else valid
            raise ConfigError(f"unknown format {name!r}", where="--formats", remedy=hint)
    return list(dict.fromkeys(formats))


@contextmanager
def open_writers(formats: Sequence[str], directory: Path, stamp: ModelStamp) -> Iterator[dict[str, Writer]]:
    """Open one writer for each format; each is closed when the block ends, well or not.

    Args:
        formats: Names from `FORMATS`.
        directory: An existing directory for their output.
        stamp: The model that the predictions are from.

    Yields:
        Format -> writer.

    Raises:
        ConfigError: As `check_formats`.
    """
    with ExitStack() as stack:
        yield {name: stack.enter_context(FORMATS[name](directory, stamp)) for name in check_formats(formats)}
