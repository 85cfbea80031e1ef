"""What a bundle keeps of its training chains, so that leakage can be checked without the training set.

Invariant: a chain that was trained on is always found again; near-duplicates are found as far as the kept 7-mers tell.
Used by bundle and leakage.

Of each distinct training chain are kept a hash of 16 bytes, and of its 7-mers those whose hash is divisible by
`scale`, 4 bytes each. Up to `MOST` 7-mers the scale is 1 and all are kept; it doubles with the data, so that the file
stays near a megabyte. The hashes have no secret: who has a sequence can ask whether it was trained on.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from liftray.errors import BundleError

K = 7
MOST = 1 << 18
FILE = "training.safetensors"

UIntArray = npt.NDArray[np.uint64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class TrainingSketch:
    """Hashes of training chains.

    Attributes:
        identical: Hashes of whole chains.
        kmers: Of each chain, the kept hashes of its 7-mers, sorted.
        scale: One in how many 7-mers is kept, on average.
    """

    identical: frozenset[bytes]
    kmers: tuple[UIntArray, ...]
    scale: int

    def holds(self, sequence: str) -> bool:
        """Whether the sequence was trained on."""
        return chain_hash(sequence) in self.identical

    def kept(self, sequence: str) -> UIntArray:
        """The hashes of a sequence's 7-mers that a sketch of this scale keeps."""
        return _kept(kmers_of(sequence), self.scale)

    def save(self, path: Path) -> None:
        """Write it as safetensors."""
        hashes = np.frombuffer(b"".join(sorted(self.identical)), dtype=np.int64).reshape(-1, 2)
        sizes = np.array([chain.size for chain in self.kmers], dtype=np.int64)
        every = np.concatenate([np.zeros(0, np.uint64), *self.kmers]).astype(np.uint32).view(np.int32)
        arrays = {"chains": hashes, "kmers": every, "sizes": sizes, "scale": np.array([self.scale])}
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, path)


def sketch(sequences: Iterable[str]) -> TrainingSketch:
    """Make the sketch of training chains; read once, a chain at a time.

    Args:
        sequences: Their residues.
    """
    seen: set[bytes] = set()
    kept: list[UIntArray] = []
    total, scale = 0, 1
    for sequence in sequences:
        key = chain_hash(sequence)
        if key in seen:
            continue
        seen.add(key)
        kept.append(_mixed(kmers_of(sequence), scale))
        total += kept[-1].size
        while total > MOST:
            scale *= 2
            kept = [chain[chain % np.uint64(scale) == 0] for chain in kept]
            total = sum(chain.size for chain in kept)
    chains = tuple(np.unique(chain >> np.uint64(32)) for chain in kept if chain.size)
    return TrainingSketch(frozenset(seen), chains, scale)


def load(directory: Path) -> tuple[TrainingSketch, ...]:
    """The sketches of a bundle: one, one for each member of an ensemble, or none in a bundle of before.

    Raises:
        BundleError: One is damaged.
    """
    places = [directory / FILE, *sorted(directory.glob(f"member-*/{FILE}"))]
    return tuple(_read(path) for path in places if path.is_file())


def kmers_of(sequence: str) -> UIntArray:
    """Distinct 7-mers without X as 56-bit numbers, sorted."""
    letters = np.frombuffer(sequence.encode("latin-1", "replace"), dtype=np.uint8).astype(np.uint64)
    if letters.size < K:
        return np.zeros(0, dtype=np.uint64)
    windows = np.lib.stride_tricks.sliding_window_view(letters, K)
    known = ~(windows == ord("X")).any(axis=1)
    return np.unique(windows[known] @ (np.uint64(1) << np.arange(0, 8 * K, 8, dtype=np.uint64)))


def chain_hash(sequence: str) -> bytes:
    """16 bytes that stand for a whole chain."""
    return hashlib.blake2b(sequence.encode("utf-8"), digest_size=16).digest()


def _kept(kmers: UIntArray, scale: int) -> UIntArray:
    return np.unique(_mixed(kmers, scale) >> np.uint64(32))


def _mixed(kmers: UIntArray, scale: int) -> UIntArray:
    """The 7-mers hashed by splitmix64, those that are kept."""
    mixed = kmers + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return mixed[mixed % np.uint64(scale) == 0]


def _read(path: Path) -> TrainingSketch:
    try:
        arrays = load_file(path)
        chains, sizes = arrays["chains"].astype(np.int64), arrays["sizes"].astype(np.int64)
        every, scale = arrays["kmers"].view(np.uint32).astype(np.uint64), int(arrays["scale"][0])
        if scale < 1 or (sizes < 0).any() or int(sizes.sum()) != every.size:
            raise ValueError("its parts do not fit")
        raw = chains.tobytes()
    except (SafetensorError, OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise BundleError(
            f"no sketch of training chains ({error})", where=str(path), remedy="fetch the bundle again"
        ) from error
    hashes = frozenset(raw[at : at + 16] for at in range(0, len(raw), 16))
    return TrainingSketch(hashes, tuple(_parts(every, sizes)), scale)


def _parts(every: UIntArray, sizes: IntArray) -> Iterator[UIntArray]:
    start = 0
    for size in sizes.tolist():
        yield every[start : start + size]
        start += size
