"""A small real model for the tests of prediction: embedding and convolution, deterministic, no backbone."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from liftray.backbone.packed import WindowLayout
from liftray.data.labels import STATES


class LetterTokens:
    """Start token 1, end token 2, padding 0, letters from 3; anything else is refused."""

    num_leading = 1
    num_trailing = 1
    pad_id = 0

    def encode(self, sequence: str) -> npt.NDArray[np.int64]:
        return np.array([1, *(ord(letter) - ord("A") + 3 for letter in sequence), 2], dtype=np.int64)


class TinyTagger(nn.Module):
    """Sees `width` residues around each; width 1 makes a prediction a function of the residue alone."""

    def __init__(self, alphabet: str = "ss9", width: int = 5, max_length: int = 64, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.alphabet = alphabet
        self.max_length = max_length
        self.tokens = LetterTokens()
        self.embedding = nn.Embedding(29, 16)
        self.dropout = nn.Dropout(0.5)
        self.convolution = nn.Conv1d(16, len(STATES[alphabet]), width, padding=width // 2)
        self.seen: list[tuple[int, int]] = []

    def logits(self, tokens_T: torch.Tensor, layout: WindowLayout) -> torch.Tensor:
        self.seen.append((len(layout.lengths), layout.longest))
        hidden_BLD = layout.pad(self.dropout(self.embedding(tokens_T)))
        return 3 * layout.unpad(self.convolution(hidden_BLD.transpose(1, 2)).transpose(1, 2))


class FailingTagger(TinyTagger):
    """Fails as PyTorch does on batches that hold a W, and gives NaN for chains of C alone."""

    error: Exception = RuntimeError("shape mismatch")

    def logits(self, tokens_T: torch.Tensor, layout: WindowLayout) -> torch.Tensor:
        if (tokens_T == ord("W") - ord("A") + 3).any():
            raise self.error
        logits_TC: Any = super().logits(tokens_T, layout)
        other_T = (tokens_T > 2) & (tokens_T != ord("C") - ord("A") + 3)
        cysteine_B = ~layout.pad(other_T).any(dim=1)
        return torch.where(cysteine_B[layout.window_T, None], torch.nan, logits_TC)
