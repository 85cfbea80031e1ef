"""From FASTA files to prediction files, in this process: what `jobs/predict.py` runs.

Invariant: every record of every input is either in each prediction file or in `errors.jsonl`, both in input
order; the output directory gets all of a run's files or none. Flow: fasta -> predictor -> writers.
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
from liftray.files import sha256_file, write_json
from liftray.predict import fasta
from liftray.predict.fasta import BadChain, Chain
from liftray.predict.prediction import UNREGISTERED, ModelStamp, Prediction, one_line
from liftray.predict.writers import check_formats, open_writers
from liftray.progress import Advance, progress

if TYPE_CHECKING:
    from liftray.predict.predictor import Predictor

ERRORS = "errors.jsonl"
SUMMARY = "summary.json"
# Inputs of this size are read through once before the run, which takes a second, so that progress has an end.
_COUNT_UP_TO_BYTES = 1 << 27


def predict_files(
    model_dir: str | Path,
    inputs: Sequence[str | Path],
    out: str | Path,
    formats: Sequence[str],
    *,
    on_progress: Advance | None = None,
    sources: Sequence[str] | None = None,
    tokens_per_batch: int = 4096,
    name: str | None = None,
    version: str | None = None,
) -> dict[str, Any]:
    """Predict every chain of some FASTA files.

    Args:
        model_dir: A bundle's directory.
        inputs: FASTA files, taken in this order; gzip-compressed or not.
        out: Directory for the results. What stands there under other names stays.
        formats: Names from `writers.FORMATS`.
        on_progress: Called with the number of residues just predicted; default: shown on stderr.
        sources: Where to look for the backbone instead of the sources that the bundle names.
        tokens_per_batch: Budget of padded tokens of a batch.
        name: The model's registered name; default: the bundle's own, else that of its directory.
        version: Its registered version; default: the bundle's own, else `unregistered`.

    Returns:
        What `summary.json` holds: `model`, `inputs`, `records`, `predicted`, `refused`, `reasons`,
        `residues`, `seconds`, `residues_per_s`, `files` (of each format, `errors` and `summary`).

    Raises:
        ConfigError: A format is unknown.
        DataError: An input is missing, empty or not FASTA.
        BundleError: The bundle is missing or damaged.
        BackboneError: Its backbone is not reachable.
        LiftrayError: The model failed on every chain.
    """
    # Before the model is loaded, which takes longest: what is at fault is told at once.
    check_formats(formats)
    check_inputs(inputs)
    from liftray.predict.predictor import Predictor

    predictor = Predictor.load(model_dir, sources=sources, tokens_per_batch=tokens_per_batch)
    stamp = stamp_of(predictor, model_dir, name=name, version=version)
    return predict_with(predictor, stamp, inputs, out, formats, on_progress=on_progress)


def predict_with(
    predictor: "Predictor",
    stamp: ModelStamp,
    inputs: Sequence[str | Path],
    out: str | Path,
    formats: Sequence[str],
    *,
    on_progress: Advance | None = None,
) -> dict[str, Any]:
    """Like `predict_files`, with a model that is loaded already and the stamp that its files get."""
    wanted = check_formats(formats)
    check_inputs(inputs)
    total = _count_residues([Path(path) for path in inputs])
    show = nullcontext(on_progress) if on_progress else progress("predict", total, "residues")
    with _staged(Path(out)) as stage, show as advance:
        tally = _write_all(predictor, inputs, wanted, stage, stamp, advance)
        if not tally.predicted and tally.model_failure:
            raise LiftrayError(
                f"the model failed on every chain ({tally.model_failure})",
                where=stamp.name,
                remedy="check the bundle with `evaluate`, or free memory",
            )
        summary = _summary(tally, stamp, inputs, wanted)
        write_json(stage / SUMMARY, summary)
    return summary


@dataclass
class _Tally:
    predicted: int = 0
    residues: int = 0
    seconds: float = 0.0
    reasons: Counter[str] = field(default_factory=Counter)
    model_failure: str = ""
    outputs: dict[str, str] = field(default_factory=dict)


def _write_all(
    predictor: "Predictor",
    inputs: Sequence[str | Path],
    formats: Sequence[str],
    stage: Path,
    stamp: ModelStamp,
    advance: Advance,
) -> _Tally:
    tally = _Tally()
    start = time.perf_counter()
    items = (item for path in inputs for item in fasta.read(path))
    errors_path = stage / ERRORS
    with open_writers(formats, stage, stamp) as writers, errors_path.open("w", encoding="utf-8") as errors:
        tally.outputs = {format_: writer.output for format_, writer in writers.items()}
        for record, result in _results(predictor, items):
            if isinstance(result, BadChain):
                tally.reasons[result.reason] += 1
                if result.reason in ("model-failed", "out-of-memory", "not-finite"):
                    tally.model_failure = result.detail
                errors.write(_error_line(record, result))
                continue
            for writer in writers.values():
                writer.write(result, record)
            tally.predicted += 1
            tally.residues += len(result.sequence)
            advance(len(result.sequence))
    tally.seconds = time.perf_counter() - start
    return tally


def _results(
    predictor: "Predictor", items: Iterable[Chain | BadChain]
) -> Iterator[tuple[int, Prediction | BadChain]]:
    """Number each item from 1 and pair it with its outcome; what waits is what the predictor reads ahead."""
    waiting: deque[Chain | BadChain] = deque()

    def feed() -> Iterator[tuple[str, str]]:
        for item in items:
            waiting.append(item)
            # A bad record goes through as a chain without residues, so that it keeps its place.
            yield item.id, item.sequence if isinstance(item, Chain) else ""

    for record, result in enumerate(predictor.predict(feed()), start=1):
        item = waiting.popleft()
        if isinstance(item, BadChain):
            yield record, item
        elif isinstance(result, BadChain):
            yield record, replace(result, file=item.file, line=item.line)
        else:
            yield record, result


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
        "inputs": [printable(str(path), 4096) for path in inputs],
        "records": tally.predicted + refused,
        "predicted": tally.predicted,
        "refused": refused,
        "reasons": dict(sorted(tally.reasons.items())),
        "residues": tally.residues,
        "seconds": round(tally.seconds, 3),
        "residues_per_s": round(tally.residues / max(tally.seconds, 1e-9), 1),
        "files": {**{name: tally.outputs[name] for name in formats}, "errors": ERRORS, "summary": SUMMARY},
    }


def stamp_of(
    predictor: "Predictor", model_dir: str | Path, *, name: str | None = None, version: str | None = None
) -> ModelStamp:
    """The stamp of a loaded model; name and version as in `predict_files`.

    The digest is the sha256 of `bundle.json`, which holds those of all other files of the bundle.
    """
    model_dir = Path(model_dir)
    info = predictor.info
    return ModelStamp(
        name=one_line(name or info.get("name") or model_dir.resolve().name),
        version=one_line(version or info.get("version") or UNREGISTERED),
        digest=sha256_file(model_dir / "bundle.json"),
        alphabet=predictor.alphabet,
        ss3_map=str(info.get("ss3_map", "dssp")),
    )


def check_inputs(inputs: Sequence[str | Path]) -> None:
    """Refuse files that cannot be read as FASTA, by their first records.

    Raises:
        DataError: None is given, or one is missing, empty or not FASTA.
    """
    if not inputs:
        raise DataError("no input file", where="--input", remedy="name one or more FASTA files")
    for path in inputs:
        next(fasta.read(path))


def _count_residues(paths: Sequence[Path]) -> int | None:
    """Residues that can be predicted; None where the files are too large to count."""
    if sum(path.stat().st_size for path in paths) > _COUNT_UP_TO_BYTES:
        return None
    return sum(len(item.sequence) for path in paths for item in fasta.read(path) if isinstance(item, Chain))


@contextmanager
def _staged(out: Path) -> Iterator[Path]:
    """A directory inside `out` whose entries move to `out` when the block ends well, `summary.json` last."""
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
    finally:
        shutil.rmtree(stage, ignore_errors=True)
        if fresh and not any(out.iterdir()):
            out.rmdir()


def _publish(entry: Path, target: Path) -> None:
    if target.is_dir() and not target.is_symlink():
        old = Path(tempfile.mkdtemp(dir=entry.parent, prefix="old."))
        os.replace(target, old / target.name)
    os.replace(entry, target)
