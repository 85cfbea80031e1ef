"""The `predict` job: FASTA files to prediction files, in this process.

Invariant: every record of every input is either in each prediction file or in `errors.jsonl`, both in the order of the
input. The output directory gets all files of a run or none. Flow: fasta -> model -> writers.
"""

import json
import os
import shutil
import tempfile
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from liftray.data.validate import printable
from liftray.errors import DataError, InputError, LiftrayError
from liftray.files import write_json
from liftray.predict import fasta
from liftray.predict.fasta import BadChain, Chain
from liftray.predict.prediction import ModelStamp, Prediction
from liftray.predict.suspicion import Suspicions
from liftray.predict.writers import check_formats, open_writers
from liftray.progress import Advance, progress, show_line
from liftray.standard_streams import shown

if TYPE_CHECKING:
    from liftray.predict.model import Model, OnError, Predictions
    from liftray.predict.predictor import Predictor

ERRORS = "errors.jsonl"
SUMMARY = "summary.json"
# Inputs up to this size are read once before the run, which takes a second, so that progress has a total.
_COUNT_UP_TO_BYTES = 1 << 27


def check(inputs: Sequence[str | Path], formats: Sequence[str] | None) -> list[str]:
    """Check inputs and formats; call it before the model is loaded, which takes longest.

    Args:
        inputs: FASTA files, gzip-compressed or not; their first records are read.
        formats: Names from `writers.FORMATS`; None where no file is written.

    Returns:
        The formats, each once.

    Raises:
        ConfigError: A format is unknown, or none is given.
        DataError: No input is given, or one is missing, empty or not FASTA.
    """
    wanted = [] if formats is None else check_formats(formats)
    if not inputs:
        raise DataError("no input file", where="--input", remedy="name one or more FASTA files")
    for path in inputs:
        next(fasta.read(path))
    return wanted


def predict_in_memory(model: "Model", inputs: Sequence[str | Path], on_error: "OnError") -> "Predictions":
    """Predict every chain of FASTA files without writing anything.

    Args:
        model: The loaded model.
        inputs: FASTA files.
        on_error: `raise` at the first record that cannot be predicted, or `collect` such records.

    Raises:
        DataError: An input is missing, empty or not FASTA; or a record is refused, and `on_error` is `raise`.
    """
    from liftray.predict.model import gather

    check(inputs, None)
    items = (item for path in inputs for item in fasta.read(path))
    return gather((result for *_, result in _results(model.predictor, items)), on_error)


def predict_files(
    model: "Model",
    inputs: Sequence[str | Path],
    out: str | Path,
    formats: Sequence[str],
    *,
    on_progress: Advance | None = None,
) -> dict[str, Any]:
    """Predict every chain of FASTA files.

    Args:
        model: The loaded model.
        inputs: FASTA files, read in this order; gzip-compressed or not.
        out: Directory for the results. Files there under other names stay.
        formats: Names from `writers.FORMATS`.
        on_progress: Called with the number of residues just predicted; default: shown on stderr.

    Returns:
        The content of `summary.json`: `model`, `inputs`, `records`, `predicted`, `refused`, `reasons`, `residues`,
        `seconds`, `residues_per_s`, `files` (of each format, `errors` and `summary`), `warnings` (sentences) and
        `suspicious` (counts) about sequences that are probably no proteins, which stderr shows too.

    Raises:
        ConfigError: A format is unknown.
        DataError: An input is missing, empty or not FASTA.
        InputError: The output directory cannot be written.
        LiftrayError: The model failed on every chain.
    """
    wanted = check(inputs, formats)
    total = _count_residues([Path(path) for path in inputs])
    show = nullcontext(on_progress) if on_progress else progress("predict", total, "residues")
    with _staged(Path(out)) as stage, show as advance:
        tally = _write_all(model, inputs, wanted, stage, advance)
        if not tally.predicted and tally.model_failure:
            raise LiftrayError(
                f"the model failed on every chain ({tally.model_failure})",
                where=model.stamp.name,
                remedy="check the bundle with `evaluate`, or free memory",
            )
        summary = _summary(tally, model.stamp, inputs, wanted)
        write_json(stage / SUMMARY, summary)
    for warning in summary["warnings"]:
        show_line(f"warning: {warning}")
    return summary


@dataclass
class _Tally:
    predicted: int = 0
    residues: int = 0
    seconds: float = 0.0
    reasons: Counter[str] = field(default_factory=Counter)
    model_failure: str = ""
    outputs: dict[str, str] = field(default_factory=dict)
    suspicions: Suspicions = field(default_factory=Suspicions)


def _write_all(
    model: "Model", inputs: Sequence[str | Path], formats: Sequence[str], stage: Path, advance: Advance
) -> _Tally:
    tally = _Tally()
    start = time.perf_counter()
    items = (item for path in inputs for item in fasta.read(path))
    errors_path = stage / ERRORS
    with (
        open_writers(formats, stage, model.stamp) as writers,
        errors_path.open("w", encoding="utf-8") as errors,
    ):
        tally.outputs = {format_: writer.output for format_, writer in writers.items()}
        for record, item, result in _results(model.predictor, items):
            if isinstance(result, BadChain):
                tally.reasons[result.reason] += 1
                if result.reason in ("model-failed", "out-of-memory", "not-finite"):
                    tally.model_failure = result.detail
                errors.write(_error_line(record, result))
                continue
            tally.suspicions.add(result.sequence, result.id, f"{item.file}:{item.line}")
            for writer in writers.values():
                writer.write(result, record)
            tally.predicted += 1
            tally.residues += len(result.sequence)
            advance(len(result.sequence))
    tally.seconds = time.perf_counter() - start
    return tally


def _results(
    predictor: "Predictor", items: Iterable[Chain | BadChain]
) -> Iterator[tuple[int, Chain | BadChain, Prediction | BadChain]]:
    """Number each record from 1 and join it with its result; the queue holds what the predictor reads ahead."""
    waiting: deque[Chain | BadChain] = deque()

    def feed() -> Iterator[tuple[str, str]]:
        for item in items:
            waiting.append(item)
            # A bad record goes through as a chain without residues, so that it keeps its place.
            yield item.id, item.sequence if isinstance(item, Chain) else ""

    for record, result in enumerate(predictor.predict(feed()), start=1):
        item = waiting.popleft()
        if isinstance(item, BadChain):
            yield record, item, item
        elif isinstance(result, BadChain):
            yield record, item, replace(result, file=item.file, line=item.line)
        else:
            yield record, item, replace(result, description=item.description)


def _error_line(record: int, bad: BadChain) -> str:
    fields = {
        key: printable(value, 500) if isinstance(value, str) else value for key, value in asdict(bad).items()
    }
    return json.dumps({"record": record, **fields}, ensure_ascii=False) + "\n"


def _summary(
    tally: _Tally, stamp: ModelStamp, inputs: Sequence[str | Path], formats: Sequence[str]
) -> dict[str, Any]:
    refused = sum(tally.reasons.values())
    return {
        "model": stamp.as_dict(),
        "inputs": [printable(shown(path), 4096) for path in inputs],
        "records": tally.predicted + refused,
        "predicted": tally.predicted,
        "refused": refused,
        "reasons": dict(sorted(tally.reasons.items())),
        "warnings": tally.suspicions.sentences(),
        "suspicious": dict(sorted(tally.suspicions.counts.items())),
        "residues": tally.residues,
        "seconds": round(tally.seconds, 3),
        "residues_per_s": round(tally.residues / max(tally.seconds, 1e-9), 1),
        "files": {**{name: tally.outputs[name] for name in formats}, "errors": ERRORS, "summary": SUMMARY},
    }


def _count_residues(paths: Sequence[Path]) -> int | None:
    """Residues that can be predicted; None where the files are too large to count them first."""
    if sum(path.stat().st_size for path in paths) > _COUNT_UP_TO_BYTES:
        return None
    return sum(len(item.sequence) for path in paths for item in fasta.read(path) if isinstance(item, Chain))


@contextmanager
def _staged(out: Path) -> Iterator[Path]:
    """A directory inside `out` whose entries move to `out` when the block succeeds, `summary.json` last."""
    fresh = not out.exists()
    try:
        out.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(dir=out, prefix=".predict."))
    except OSError as error:
        raise InputError(
            f"cannot write there ({error.strerror})", where=str(out), remedy="give another --out directory"
        ) from error
    try:
        yield stage
        for entry in sorted(stage.iterdir(), key=lambda entry: entry.name == SUMMARY):
            _publish(entry, out / entry.name)
    except OSError as error:
        error.filename = error.filename or str(out)  # open files have no name, and the user needs one
        raise
    finally:
        shutil.rmtree(stage, ignore_errors=True)
        if fresh and not any(out.iterdir()):
            out.rmdir()


def _publish(entry: Path, target: Path) -> None:
    if target.is_dir() and not target.is_symlink():
        old = Path(tempfile.mkdtemp(dir=entry.parent, prefix="old."))
        os.replace(target, old / target.name)
    os.replace(entry, target)
