"""Predicts chains in this process with PyTorch alone: no Ray, no DeepSpeed, no MLflow.

Invariant: each chain gives exactly one item, in the order of the input. An item does not depend on the other chains
(on a GPU: to rounding). Memory is that of `_AHEAD_CHAINS` chains, not of the input.
Flow: fasta, pyfunc -> [this] -> writers.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, cast

import numpy as np
import numpy.typing as npt
import torch

from liftray.backbone.packed import WindowLayout
from liftray.data.labels import STATES, check_alphabet, decode
from liftray.data.windows import Windows, divide
from liftray.predict import training_sketch
from liftray.predict.fasta import BadChain, Flaw, tidy
from liftray.predict.prediction import Prediction
from liftray.predict.temperature import temperature_of
from liftray.predict.training_sketch import TrainingSketch

TOKENS_PER_BATCH = 4096
# Enough chains to fill batches of similar lengths; few enough that a CPU shows results often.
_AHEAD_CHAINS = 128
_AHEAD_RESIDUES = 1 << 17
# Errors that one chain can cause in PyTorch or a tokeniser: no memory (a RuntimeError), an unknown letter.
_CHAIN_FAILURES = (RuntimeError, MemoryError, IndexError, KeyError, ValueError)

Probabilities = npt.NDArray[np.float32]


class Tokenizer(Protocol):
    """The token table of a backbone; a sequence becomes `num_leading + L + num_trailing` tokens."""

    @property
    def num_leading(self) -> int:
        """Special tokens before the residues."""

    @property
    def num_trailing(self) -> int:
        """Special tokens after the residues."""

    @property
    def pad_id(self) -> int:
        """Padding token."""

    def encode(self, sequence: str) -> Any:
        """(num_leading + L + num_trailing,) int64 token ids."""


class WindowModel(Protocol):
    """The part of a model that prediction needs; a `torch.nn.Module`."""

    @property
    def alphabet(self) -> str:
        """Task: ss3, ss8 or ss9."""

    @property
    def max_length(self) -> int:
        """Residues in the longest window."""

    @property
    def tokens(self) -> Tokenizer:
        """The token table of its backbone."""

    def logits(self, tokens_T: torch.Tensor, layout: WindowLayout) -> torch.Tensor:
        """(T, C) float32 logits over all tokens of packed windows."""


class Predictor:
    """A model ready to predict.

    Attributes:
        training: What its bundle keeps of the training chains; empty for a model in memory and a bundle of before.

    Args:
        tagger: The model, a `torch.nn.Module`; it is set to evaluation mode.
        info: `bundle.json` of the model; `calibration.temperature` divides the logits (1 where absent).
        tokens_per_batch: Padded tokens of a batch, special tokens included; a longer window is a batch of its own.

    Raises:
        BundleError: The temperature is not a positive number.
    """

    def __init__(
        self, tagger: WindowModel, info: Mapping[str, Any], *, tokens_per_batch: int = TOKENS_PER_BATCH
    ) -> None:
        check_alphabet(tagger.alphabet, where="the bundle")
        self.tagger = tagger
        self.info = info
        self.training: tuple[TrainingSketch, ...] = ()
        self.alphabet = tagger.alphabet
        self._tokens_per_batch = tokens_per_batch
        self._temperature = temperature_of(info)
        module = cast(torch.nn.Module, tagger).eval()
        self._device = next((tensor.device for tensor in module.parameters()), torch.device("cpu"))

    @classmethod
    def load(
        cls,
        bundle_dir: str | Path,
        *,
        sources: Sequence[str] | None = None,
        tokens_per_batch: int = TOKENS_PER_BATCH,
    ) -> "Predictor":
        """Load a bundle and its backbone, on the GPU where there is one.

        Args:
            bundle_dir: The bundle's directory.
            sources: Backbone sources that replace those in the bundle.
            tokens_per_batch: See the class.

        Raises:
            BundleError: The bundle is missing, damaged or does not match its backbone.
            BackboneError: No backbone source is reachable.
        """
        from liftray.predict import bundle

        loaded = bundle.load(bundle_dir, sources=sources)
        predictor = cls.of(loaded.tagger, loaded.info, tokens_per_batch=tokens_per_batch)
        predictor.training = training_sketch.load(Path(bundle_dir))
        return predictor

    @classmethod
    def of(
        cls,
        tagger: torch.nn.Module,
        info: Mapping[str, Any],
        *,
        use_gpu: bool = True,
        tokens_per_batch: int = TOKENS_PER_BATCH,
    ) -> "Predictor":
        """Make a predictor of a model in memory.

        Args:
            tagger: The model; it is moved to the device.
            info: See the class.
            use_gpu: Whether the GPU may be used where there is one.
            tokens_per_batch: See the class.
        """
        tagger.to("cuda" if use_gpu and torch.cuda.is_available() else "cpu")
        return cls(cast(WindowModel, tagger), info, tokens_per_batch=tokens_per_batch)

    def predict(self, chains: Iterable[tuple[str, str]]) -> Iterator[Prediction | BadChain]:
        """Predict chains as they come.

        Args:
            chains: (id, sequence) pairs. `fasta.tidy` first cleans each sequence.

        Yields:
            A Prediction for each chain, as long as the clean sequence; or a BadChain with a reason of `fasta.tidy`,
            `out-of-memory`, `model-failed` or `not-finite`.
        """
        for group in _groups(chains):
            yield from self._predict_group(group)

    def _predict_group(self, group: list[tuple[str, str]]) -> Iterator[Prediction | BadChain]:
        tidied = [tidy(letters) for _, letters in group]
        flaws = {row: sequence for row, sequence in enumerate(tidied) if isinstance(sequence, Flaw)}
        sequences = {row: sequence for row, sequence in enumerate(tidied) if isinstance(sequence, str)}
        probabilities = self._score(sequences, flaws)
        for row, (name, _) in enumerate(group):
            if row in flaws:
                yield BadChain(name, *flaws[row])
            else:
                states = decode(probabilities[row].argmax(axis=1), self.alphabet)
                yield Prediction(name, sequences[row], states, probabilities[row], self.alphabet)

    def _score(self, sequences: dict[int, str], flaws: dict[int, Flaw]) -> dict[int, Probabilities]:
        """Probabilities of each chain, joined from its windows; failures are added to `flaws`."""
        rows = list(sequences)
        windows = divide(
            np.array([len(sequences[row]) for row in rows], dtype=np.int64), self.tagger.max_length
        )
        classes = len(STATES[self.alphabet])
        whole = {row: np.empty((len(sequences[row]), classes), dtype=np.float32) for row in rows}
        extra = self.tagger.tokens.num_leading + self.tagger.tokens.num_trailing
        for index in _batches(windows.lengths, extra, self._tokens_per_batch):
            pieces = _pieces(windows.take(index), rows, sequences)
            for piece, scored in zip(pieces, self._try(pieces), strict=True):
                if isinstance(scored, Flaw):
                    flaws.setdefault(piece.row, scored)
                else:
                    whole[piece.row][piece.score] = scored[piece.inside]
        return whole

    def _try(self, pieces: "list[_Piece]") -> list[Probabilities | Flaw]:
        """Run a batch; if it fails, run its halves, so that only the window at fault is lost."""
        try:
            scored = self._run([piece.letters for piece in pieces])
        except _CHAIN_FAILURES as error:
            if len(pieces) == 1:
                return [_flaw(error)]
        else:
            return [piece if np.isfinite(piece).all() else _NOT_FINITE for piece in scored]
        middle = len(pieces) // 2
        return self._try(pieces[:middle]) + self._try(pieces[middle:])

    @torch.inference_mode()
    def _run(self, batch: list[str]) -> list[Probabilities]:
        tokens = self.tagger.tokens
        encoded = [torch.as_tensor(tokens.encode(letters), dtype=torch.int64) for letters in batch]
        layout = WindowLayout.of(tuple(len(ids) for ids in encoded), self._device)
        logits_TC = self.tagger.logits(torch.cat(encoded).to(self._device), layout).float()
        probabilities_TC = torch.softmax(logits_TC / self._temperature, dim=-1).cpu()
        first = tokens.num_leading
        return [
            window_LC[first : first + len(letters)].numpy()
            for window_LC, letters in zip(probabilities_TC.split(layout.lengths), batch, strict=True)
        ]


class _Piece(NamedTuple):
    """One window: row of its chain, its residues, and the scored part in the chain and in the window."""

    row: int
    letters: str
    score: slice
    inside: slice


_NOT_FINITE = Flaw("not-finite", "the model gave a probability that is not a number")


def _pieces(windows: Windows, rows: list[int], sequences: dict[int, str]) -> list[_Piece]:
    return [
        _Piece(
            rows[chain],
            sequences[rows[chain]][start:stop],
            slice(left, right),
            slice(left - start, right - start),
        )
        for chain, start, stop, left, right in zip(*(column.tolist() for column in windows), strict=True)
    ]


def _flaw(error: Exception) -> Flaw:
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "not enough memory" in str(error):
        return Flaw("out-of-memory", "the chain does not fit into memory")
    text = " ".join(str(error).split())
    return Flaw("model-failed", f"{type(error).__name__}: {text[:300]}")


def _groups(chains: Iterable[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    group: list[tuple[str, str]] = []
    residues = 0
    for chain in chains:
        group.append(chain)
        residues += len(chain[1])
        if len(group) == _AHEAD_CHAINS or residues >= _AHEAD_RESIDUES:
            yield group
            group, residues = [], 0
    if group:
        yield group


def _batches(lengths: npt.NDArray[np.int64], extra: int, budget: int) -> Iterator[npt.NDArray[np.int64]]:
    """Window numbers in batches of similar lengths whose padded tokens stay within the budget."""
    order = np.argsort(lengths, kind="stable")
    start = 0
    for stop in range(1, len(order) + 1):
        # Windows are sorted by length, so the next window would set the padded length of the batch.
        if stop == len(order) or (stop + 1 - start) * (int(lengths[order[stop]]) + extra) > budget:
            yield order[start:stop]
            start = stop
