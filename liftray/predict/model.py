"""A trained model that can be called: sequences in, predictions out.

Invariant: a model predicts the same for a chain alone and among others (on a GPU: to rounding). Its stamp names the
model. Flow: bundle -> predictor -> [this] -> `liftray.api`, predict_job.
"""

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

from liftray.data.labels import STATES
from liftray.errors import DataError
from liftray.files import sha256_file
from liftray.predict.fasta import BadChain
from liftray.predict.prediction import UNREGISTERED, ModelStamp, Prediction, one_line
from liftray.predict.predictor import TOKENS_PER_BATCH, Predictor
from liftray.predict.suspicion import Suspicions

if TYPE_CHECKING:
    import pandas as pd

OnError = Literal["raise", "collect"]


@dataclass(frozen=True)
class Predictions:
    """The predictions of several chains, in the order of the input.

    Attributes:
        predictions: One for each chain that was predicted.
        refused: The chains that could not be predicted, each with a reason.
        warnings: Sentences about sequences that are probably no proteins; see `suspicion`.
    """

    predictions: tuple[Prediction, ...]
    refused: tuple[BadChain, ...] = ()
    warnings: tuple[str, ...] = ()

    def __len__(self) -> int:
        """Number of predicted chains."""
        return len(self.predictions)

    def __iter__(self) -> Iterator[Prediction]:
        """Iterate over the predictions in the order of the input."""
        return iter(self.predictions)

    def __getitem__(self, key: int | str) -> Prediction:
        """Get a prediction by its place from 0, or the first with an id.

        Raises:
            IndexError: There is no such place.
            KeyError: No predicted chain has this id.
        """
        if isinstance(key, int):
            return self.predictions[key]
        for prediction in self.predictions:
            if prediction.id == key:
                return prediction
        raise KeyError(key)

    def __repr__(self) -> str:
        """Counts of predicted and refused chains."""
        refused = f", {len(self.refused)} refused" if self.refused else ""
        return f"Predictions({len(self)} chains, {sum(map(len, self.predictions))} residues{refused})"

    def to_pandas(self) -> "pd.DataFrame":
        """Give the predictions as a table with a row for each predicted chain.

        Returns:
            Columns `id`, `description`, `sequence`, `length`, `ss` and `mean_confidence`. For a row for each residue
            use `Prediction.to_pandas`.
        """
        import pandas as pd

        columns = ["id", "description", "sequence", "length", "ss", "mean_confidence"]
        rows = [
            (one.id, one.description, one.sequence, len(one), one.states, float(np.mean(one.confidence)))
            for one in self.predictions
        ]
        return pd.DataFrame(rows, columns=columns)


class Model:
    """A loaded model; call it with one sequence or with several.

    Attributes:
        predictor: The model and its backbone in memory.
        stamp: Name, version, digest, alphabet and map, as every prediction file names them.
        uri: The address that it was loaded from.
    """

    def __init__(self, predictor: Predictor, stamp: ModelStamp, uri: str = "") -> None:
        self.predictor, self.stamp, self.uri = predictor, stamp, uri or stamp.name

    @classmethod
    def load(
        cls,
        directory: str | Path,
        *,
        uri: str | None = None,
        name: str | None = None,
        version: str | None = None,
        sources: Sequence[str] | None = None,
        tokens_per_batch: int = TOKENS_PER_BATCH,
    ) -> "Model":
        """Load a bundle and its backbone, on the GPU where there is one.

        Args:
            directory: The bundle.
            uri: Its address; default: the directory.
            name: Registered name; default: the bundle's own, else the name of its directory.
            version: Registered version; default: the bundle's own, else `unregistered`.
            sources: Backbone sources that replace those in the bundle.
            tokens_per_batch: Padded tokens in a batch.

        Raises:
            BundleError: The bundle is missing, damaged or does not match its backbone.
            BackboneError: No backbone source is reachable.
        """
        directory = Path(directory)
        predictor = Predictor.load(directory, sources=sources, tokens_per_batch=tokens_per_batch)
        stamp = stamp_of(predictor, directory, name=name, version=version)
        return cls(predictor, stamp, uri or str(directory))

    @property
    def info(self) -> Mapping[str, Any]:
        """The content of `bundle.json`: task, backbone, data digests, metrics."""
        return self.predictor.info

    @property
    def name(self) -> str:
        """Registered name, or the name of the bundle's directory."""
        return self.stamp.name

    @property
    def version(self) -> str:
        """Registered version, or `unregistered`."""
        return self.stamp.version

    @property
    def alphabet(self) -> str:
        """The task: ss3, ss8 or ss9."""
        return self.stamp.alphabet

    @property
    def classes(self) -> str:
        """(C,) letters of the states in the order of the probabilities' columns, such as `CEH`."""
        return STATES[self.alphabet]

    def __repr__(self) -> str:
        """Name, version, alphabet and backbone."""
        backbone = (self.info.get("backbone") or {}).get("name", "unknown")
        return f"Model({self.name!r}, version {self.version}, {self.alphabet}, backbone {backbone})"

    @overload
    def __call__(self, sequences: str) -> Prediction: ...  # type: ignore[overload-overlap]  # a str is one sequence

    @overload
    def __call__(
        self, sequences: Iterable[str] | Mapping[str, str], *, on_error: OnError = "raise"
    ) -> Predictions: ...

    def __call__(
        self, sequences: str | Iterable[str] | Mapping[str, str], *, on_error: OnError = "raise"
    ) -> Prediction | Predictions:
        """Predict sequences.

        Args:
            sequences: One sequence, several, or a mapping from id to sequence. Without a mapping the ids are 1, 2, ...
                Both cases, blanks and one final `*` are allowed in a sequence.
            on_error: `raise` at the first sequence that cannot be predicted, or `collect` such sequences in `refused`.

        Returns:
            A Prediction for one sequence, else Predictions.

        Raises:
            DataError: A sequence cannot be predicted, and `on_error` is `raise`.
        """
        if isinstance(sequences, str):
            return self._predict([("1", sequences)], "raise").predictions[0]
        if isinstance(sequences, Mapping):
            chains = [(str(name), sequence) for name, sequence in sequences.items()]
        else:
            chains = [(str(number), sequence) for number, sequence in enumerate(sequences, start=1)]
        return self._predict(chains, on_error)

    def _predict(self, chains: Sequence[tuple[str, str]], on_error: OnError) -> Predictions:
        for name, sequence in chains:
            if not isinstance(sequence, str):
                raise DataError(f"sequence {name} is {type(sequence).__name__}, not text")
        return gather(self.predictor.predict(chains), on_error)


def gather(results: Iterable[Prediction | BadChain], on_error: OnError) -> Predictions:
    """Gather results in memory; a Python warning is issued for sequences that are probably no proteins.

    Args:
        results: What the predictor gave, in the order of the input.
        on_error: `raise` at the first refused chain, or `collect` them.

    Raises:
        DataError: A chain was refused, and `on_error` is `raise`.
    """
    predictions, refused, suspicions = [], [], Suspicions()
    for result in results:
        if isinstance(result, Prediction):
            predictions.append(result)
            suspicions.add(result.sequence, result.id)
        elif on_error == "raise":
            raise DataError(
                f"chain {result.id} cannot be predicted: {result.reason} ({result.detail})",
                where=f"{result.file}:{result.line}" if result.file else None,
                remedy='correct it, or collect such chains with on_error="collect"',
            )
        else:
            refused.append(result)
    sentences = suspicions.sentences()
    for sentence in sentences:
        warnings.warn(sentence, stacklevel=3)
    return Predictions(tuple(predictions), tuple(refused), tuple(sentences))


def stamp_of(
    predictor: Predictor, directory: str | Path, *, name: str | None = None, version: str | None = None
) -> ModelStamp:
    """Make the stamp of a loaded model.

    The digest is the sha256 of `bundle.json`, which holds those of all other files of the bundle.

    Args:
        predictor: The loaded model.
        directory: Its bundle.
        name: Registered name; default: the bundle's own, else the name of its directory.
        version: Registered version; default: the bundle's own, else `unregistered`.
    """
    directory, info = Path(directory), predictor.info
    return ModelStamp(
        name=one_line(name or info.get("name") or directory.resolve().name),
        version=one_line(version or info.get("version") or UNREGISTERED),
        digest=sha256_file(directory / "bundle.json"),
        alphabet=predictor.alphabet,
        ss3_map=str(info.get("ss3_map", "dssp")),
    )
