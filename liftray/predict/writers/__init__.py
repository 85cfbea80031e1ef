"""Writers of predictions, one module for each format, and the table of formats.

Invariant: a writer streams: it holds a bounded part of its output, keeps the order of its input, and names the model in
every file. Flow: predictor -> [this] -> files. The caller passes a directory of its own and publishes it at the end.

| format       | output                       | content                                             |
|--------------|------------------------------|-----------------------------------------------------|
| `three-line` | predictions.3line.txt        | header, residues, states                            |
| `csv`        | predictions.csv              | a row for each residue                              |
| `json`       | predictions.json             | an object for each chain                            |
| `parquet`    | predictions.parquet          | a row for each chain                                |
| `ss2`        | predictions_ss2/N_ID.ss2     | a PSIPRED vertical file for each chain              |
| `horiz`      | predictions_horiz/N_ID.horiz | a PSIPRED horizontal file for each chain            |
| `netsurfp`   | predictions.netsurfp.csv     | a row for each residue, with NetSurfP's columns     |

One vocabulary, in csv, json, parquet, the MLflow model and `to_pandas`: `record`, `id`, `description`, `sequence`,
`length`, `ss` (states in the model's own alphabet), `ss8` and `ss3` (reduced, where the model has more states),
`confidence` (probability of the predicted state of each residue), `mean_confidence` (of a chain), `probabilities`. One
order of states: that of a data set, `L B E G I H S T P`, without `P` for ss8, and `C E H`. Formats that other programs
define keep their own: ss2 has coil, helix, strand; netsurfp has helix, strand, coil.
"""

import difflib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from liftray.errors import ConfigError
from liftray.predict.prediction import ModelStamp
from liftray.predict.writers.base import ChainFiles, Writer
from liftray.predict.writers.csv_table import CsvWriter
from liftray.predict.writers.horiz import HorizWriter
from liftray.predict.writers.json_document import JsonWriter
from liftray.predict.writers.netsurfp import NetSurfPWriter
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
    "netsurfp": NetSurfPWriter,
}


def check_formats(formats: Sequence[str]) -> list[str]:
    """The requested formats, each once, in the order of the request.

    Raises:
        ConfigError: No format is given, or one is unknown.
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


def check_stream(formats: Sequence[str]) -> None:
    """Check the formats for standard output.

    Raises:
        ConfigError: There is not exactly one, or it makes a file for each chain.
    """
    files = [name for name, writer in FORMATS.items() if not issubclass(writer, ChainFiles)]
    chosen = check_formats(formats)
    if len(chosen) != 1 or chosen[0] not in files:
        raise ConfigError(
            f"--formats {','.join(chosen)} is not one file, and only one goes to standard output",
            where="--out -",
            remedy=f"choose one of {', '.join(files)}",
        )


@contextmanager
def open_writers(formats: Sequence[str], directory: Path, stamp: ModelStamp) -> Iterator[dict[str, Writer]]:
    """Open one writer for each format; each is closed when the block ends, also after an error.

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
