"""From residues to a backbone's token ids: one table look-up a residue, pure NumPy.

Invariant: a sequence of L residues always becomes num_leading + L + num_trailing tokens. So position i of the sequence
is position num_leading + i of the hidden states. Ray Data's workers use this without importing torch.

Letters without a token of their own (J everywhere; U, Z, O, B in the ProtTrans families, as in their
training) become X, "any residue". `<unk>`-like tokens are never used: no residue of the training data was
one. Lower-case letters count as upper-case. A character that is no ASCII letter has no token and is refused.
"""

import hashlib
import string
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from liftray.backbone.families import Family
from liftray.errors import BackboneError, DataError

NO_TOKEN = -1
MOST_SPECIALS = 8  # No backbone family adds more special tokens to a window.
_STANDARD = "ACDEFGHIKLMNPQRSTVWY"
_RARE = "UZOB"


@dataclass(frozen=True, eq=False)
class TokenTable:
    """How one backbone encodes a chain.

    Attributes:
        lookup: (256,) int64, the token id of each byte; NO_TOKEN for bytes that are no residue letter.
        leading: Ids before the first residue.
        trailing: Ids after the last residue.
        pad_id: The id that fills a batch.
    """

    lookup: npt.NDArray[np.int64]
    leading: tuple[int, ...]
    trailing: tuple[int, ...]
    pad_id: int

    @property
    def num_leading(self) -> int:
        """Tokens before the first residue."""
        return len(self.leading)

    @property
    def num_trailing(self) -> int:
        """Tokens after the last residue."""
        return len(self.trailing)

    @property
    def digest(self) -> str:
        """Sha256, in hex, of all that decides which ids a sequence gets."""
        specials = np.array([len(self.leading), *self.leading, *self.trailing, self.pad_id], dtype="<i8")
        return hashlib.sha256(self.lookup.astype("<i8").tobytes() + specials.tobytes()).hexdigest()

    def encode(self, sequence: str) -> npt.NDArray[np.int64]:
        """Turn a sequence into token ids.

        Args:
            sequence: One-letter residues, (L,) characters.

        Returns:
            (num_leading + L + num_trailing,) int64.

        Raises:
            DataError: A character is no ASCII letter.
        """
        # One code point a character, so that a position in the array is a position in the sequence.
        residues = np.frombuffer(sequence.encode("utf-32-le", "surrogatepass"), dtype="<u4")
        ids = self.lookup[np.minimum(residues, 255)]
        bad = np.flatnonzero(ids == NO_TOKEN)
        if bad.size:
            at = int(bad[0])
            raise DataError(
                f"character {sequence[at]!r} at position {at + 1} of a sequence is no residue letter",
                remedy="ingest the file first: it quarantines such records",
            )
        return np.concatenate([np.array(self.leading, np.int64), ids, np.array(self.trailing, np.int64)])


def token_table(
    family: Family, vocabulary: Mapping[str, int] | None, vocab_size: int, where: str
) -> TokenTable:
    """Build the table of a backbone.

    Args:
        family: Its family.
        vocabulary: Piece -> id, as read from the directory of the weights; None where no file is there.
        vocab_size: Rows of its token embedding.
        where: What to name in an error.

    Returns:
        The table.

    Raises:
        BackboneError: The vocabulary is missing, lacks a residue or a special token, or does not fit
            `vocab_size`.
    """
    if vocabulary is None:
        if vocab_size != family.fallback_size:
            raise BackboneError(
                f"no vocabulary file next to the weights, and vocab_size is {vocab_size}, "
                f"not the {family.fallback_size} of the published {family.title} vocabulary",
                where=where,
                remedy="put vocab.txt, tokenizer.json or spiece.model there",
            )
        vocabulary = {piece: number for number, piece in enumerate(family.fallback_vocabulary)}
    # SentencePiece vocabularies write a word start as U+2581 (ProtT5: `▁A`); Ankh's pieces are bare letters.
    mark = "▁" if all(f"▁{letter}" in vocabulary for letter in _STANDARD) else ""
    specials = family.specials
    needed = [
        *(mark + letter for letter in _STANDARD + "X"),
        *specials.leading,
        *specials.trailing,
        specials.pad,
    ]
    missing = [piece for piece in needed if piece not in vocabulary]
    if missing:
        raise BackboneError(
            f"the vocabulary lacks {', '.join(missing[:5])}",
            where=where,
            remedy="give a protein model's vocabulary",
        )
    keep_rare = family.keep_rare or (family.name == "t5" and not mark)
    table = TokenTable(
        lookup=_lookup(vocabulary, mark, keep_rare),
        leading=tuple(vocabulary[piece] for piece in specials.leading),
        trailing=tuple(vocabulary[piece] for piece in specials.trailing),
        pad_id=vocabulary[specials.pad],
    )
    _check_rows(table, vocab_size, where)
    return table


def _check_rows(table: TokenTable, vocab_size: int, where: str) -> None:
    highest = max(*table.lookup.tolist(), *table.leading, *table.trailing, table.pad_id)
    if highest >= vocab_size:
        raise BackboneError(
            f"the vocabulary has id {highest}, the embedding only {vocab_size} rows",
            where=where,
            remedy="give the vocabulary that belongs to the weights",
        )


def _lookup(vocabulary: Mapping[str, int], mark: str, keep_rare: bool) -> npt.NDArray[np.int64]:
    unknown = vocabulary[mark + "X"]
    lookup = np.full(256, NO_TOKEN, dtype=np.int64)
    for letter in string.ascii_uppercase:
        own = letter in _STANDARD or letter == "X" or (keep_rare and letter in _RARE)
        number = vocabulary.get(mark + letter, unknown) if own else unknown
        lookup[ord(letter)] = lookup[ord(letter.lower())] = number
    lookup.flags.writeable = False
    return lookup
