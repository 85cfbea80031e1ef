"""One packed batch: token ids and labels of several windows, end to end, and their borders.

Invariant: only a residue that counts in this batch has a label. Every other position holds IGNORE_INDEX: special
tokens, residues outside a window's scored part, residues without a label. Flow: feed -> [this], one Arrow row -> rank.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

TRAIN, VALID = "train", "valid"

ROW_SCHEMA = pa.schema(
    [
        ("split", pa.string()),
        ("epoch", pa.int32()),
        ("step", pa.int32()),
        ("micro", pa.int64()),
        ("scored", pa.int64()),
        ("tokens", pa.large_list(pa.int32())),
        ("labels", pa.large_list(pa.int16())),
        ("cu_lens", pa.large_list(pa.int32())),
        ("items", pa.large_list(pa.int64())),
        ("hidden", pa.large_binary()),
    ]
)


@dataclass(frozen=True)
class PackedBatch:
    """A micro-batch (T packed tokens, B windows).

    Attributes:
        split: `train` or `valid`.
        epoch: Epoch it belongs to, from 0.
        step: Global step within the epoch, from 0.
        micro: Micro-batch number within the epoch; -1 for an empty turn.
        scored: Labelled residues of the whole global step: the mean loss divides by it.
        tokens_T: Token ids, special tokens included.
        labels_T: Class codes or IGNORE_INDEX.
        cu_lens: (B + 1,) where each window begins.
        items: (B,) window numbers within the split.
        hidden_TR: Stored hidden states at the cut, R bytes a token, where the run has a cache.
    """

    split: str
    epoch: int
    step: int
    micro: int
    scored: int
    tokens_T: npt.NDArray[np.int64]
    labels_T: npt.NDArray[np.int64]
    cu_lens: npt.NDArray[np.int64]
    items: npt.NDArray[np.int64]
    hidden_TR: npt.NDArray[np.uint8] | None = None

    @property
    def lengths(self) -> tuple[int, ...]:
        """Tokens of each window."""
        return tuple(np.diff(self.cu_lens).tolist())

    def row(self) -> dict[str, Any]:
        """The batch as a row of ROW_SCHEMA."""
        return {
            "split": self.split,
            "epoch": self.epoch,
            "step": self.step,
            "micro": self.micro,
            "scored": self.scored,
            "tokens": self.tokens_T.astype(np.int32),
            "labels": self.labels_T.astype(np.int16),
            "cu_lens": self.cu_lens.astype(np.int32),
            "items": self.items,
            "hidden": None if self.hidden_TR is None else self.hidden_TR.tobytes(),
        }


def from_arrow(table: pa.Table) -> list[PackedBatch]:
    """Read packed batches from a table of ROW_SCHEMA, one a row."""
    batches = []
    for record in table.to_batches():
        columns = {name: record.column(name) for name in ROW_SCHEMA.names}
        for row in range(record.num_rows):
            lists = {
                name: columns[name][row].values.to_numpy(zero_copy_only=False).astype(np.int64)
                for name in ("tokens", "labels", "cu_lens", "items")
            }
            scalars = {
                name: columns[name][row].as_py() for name in ("split", "epoch", "step", "micro", "scored")
            }
            batches.append(
                PackedBatch(
                    **scalars,
                    tokens_T=lists["tokens"],
                    labels_T=lists["labels"],
                    cu_lens=lists["cu_lens"],
                    items=lists["items"],
                    hidden_TR=_bytes(columns["hidden"][row], len(lists["tokens"])),
                )
            )
    return batches


def _bytes(stored: pa.Scalar, tokens: int) -> npt.NDArray[np.uint8] | None:
    if not stored.is_valid:
        return None
    # A view of Arrow's memory, no copy: hidden states are by far the largest part of a batch.
    return np.frombuffer(stored.as_buffer(), dtype=np.uint8).reshape(tokens, -1)
