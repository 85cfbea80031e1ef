"""Packed batches: several windows laid end to end in one row of tokens, without padding.

Invariant: a layout is lengths and borders alone; it holds no states. Read by `attention`, the encoders, heads and
losses.
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class WindowLayout:
    """Where the windows of a packed batch begin and end (T tokens in B windows).

    Attributes:
        lengths: Tokens of each window, special tokens included.
        cu_lens: (B + 1,) int32 on the device, where each window begins.
    """

    lengths: tuple[int, ...]
    cu_lens: Tensor

    @classmethod
    def of(cls, lengths: tuple[int, ...], device: torch.device | str = "cpu") -> "WindowLayout":
        """Lay out windows of these lengths."""
        starts = torch.tensor((0, *lengths)).cumsum(0).to(torch.int32)
        return cls(lengths, starts.to(device, non_blocking=True))

    @property
    def longest(self) -> int:
        """Tokens of the longest window."""
        return max(self.lengths)

    @cached_property
    def window_T(self) -> Tensor:
        """(T,) number of the window that each token belongs to."""
        device, total = self.cu_lens.device, sum(self.lengths)
        counts = self.cu_lens.diff()
        # With the size given, the host does not wait for the device to compute it.
        return torch.repeat_interleave(
            torch.arange(len(self.lengths), device=device), counts, output_size=total
        )

    @cached_property
    def position_T(self) -> Tensor:
        """(T,) position of each token in its window, from 0."""
        count = torch.arange(sum(self.lengths), device=self.cu_lens.device)
        return count - self.cu_lens[self.window_T]

    @cached_property
    def mask_BL(self) -> Tensor:
        """True where `pad` puts a token."""
        place_L = torch.arange(self.longest, device=self.cu_lens.device)
        return place_L < self.cu_lens.diff()[:, None]

    def pad(self, packed: Tensor) -> Tensor:
        """Lay windows out as rows of equal length: (T, ...) -> (B, L, ...), zero where there is no token."""
        rows = packed.new_zeros(len(self.lengths), self.longest, *packed.shape[1:])
        return rows.index_put((self.window_T, self.position_T), packed)

    def unpad(self, rows: Tensor) -> Tensor:
        """Undo `pad`: (B, L, ...) -> (T, ...)."""
        return rows[self.window_T, self.position_T]

    def window_mean(self, packed_TX: Tensor) -> Tensor:
        """The mean of each window's tokens, in float32: (T, X) -> (B, X)."""
        sums_BX = packed_TX.new_zeros(len(self.lengths), packed_TX.shape[1], dtype=torch.float32)
        return sums_BX.index_add(0, self.window_T, packed_TX.float()) / self.cu_lens.diff()[:, None]

    def longer(self, by: int) -> "WindowLayout":
        """The layout of the same windows with so many more places in front of each."""
        window = torch.arange(len(self.cu_lens), dtype=torch.int32, device=self.cu_lens.device)
        return WindowLayout(tuple(length + by for length in self.lengths), self.cu_lens + by * window)

    def join(self, before_BPX: Tensor, packed: Tensor) -> Tensor:
        """Put P rows in front of each window's own: (B, P, ...) and (T, ...) -> (T + B P, ...), as `longer(P)`."""
        count, device = before_BPX.shape[1], packed.device
        window_B = torch.arange(len(self.lengths), device=device)
        place_BP = (self.cu_lens[:-1] + count * window_B)[:, None] + torch.arange(count, device=device)
        place_T = torch.arange(len(packed), device=device) + count * (self.window_T + 1)
        both = torch.cat((before_BPX.flatten(0, 1).to(packed.dtype), packed))
        return torch.empty_like(both).index_put((torch.cat((place_BP.flatten(), place_T)),), both)

    def residues(self, num_leading: int, num_trailing: int) -> Tensor:
        """(T,) True on residues, False on the special tokens at both ends of each window."""
        left_T = self.cu_lens.diff()[self.window_T] - self.position_T
        return (self.position_T >= num_leading) & (left_T > num_trailing)
