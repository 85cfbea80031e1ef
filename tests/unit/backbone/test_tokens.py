import json
import random
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.models import Unigram
from tokenizers.pre_tokenizers import Metaspace
from tokenizers.processors import TemplateProcessing
from transformers import BertTokenizer, EsmTokenizer
from transformers.utils import sentencepiece_model_pb2_new as sentencepiece_model

from liftray.backbone.families import FAMILIES
from liftray.backbone.tokens import TokenTable, token_table
from liftray.backbone.vocabulary import read_vocabulary
from liftray.errors import BackboneError, DataError

STANDARD = "ACDEFGHIKLMNPQRSTVWY"
ESM, T5, BERT = FAMILIES["esm"], FAMILIES["t5"], FAMILIES["bert"]
SEQUENCES = [
    "M",
    STANDARD,
    "MKTAYIAKQRQISFVKSHFSRQLEERLGLIEVQXX",
    "".join(random.Random(2).choices(STANDARD, k=300)),
]


def _default(family: str) -> TokenTable:
    spec = FAMILIES[family]
    return token_table(spec, None, spec.fallback_size, "test")


@pytest.mark.parametrize("sequence", [*SEQUENCES, "UZOBX"])
def test_esm_equals_its_own_tokenizer(tmp_path: Path, sequence: str) -> None:
    (tmp_path / "vocab.txt").write_text("\n".join(ESM.fallback_vocabulary))
    theirs = EsmTokenizer(str(tmp_path / "vocab.txt"))
    ours = token_table(ESM, read_vocabulary(tmp_path), 33, "test")
    assert ours.encode(sequence).tolist() == theirs(sequence)["input_ids"]
    assert ours.pad_id == theirs.pad_token_id


@pytest.mark.parametrize("sequence", SEQUENCES)
def test_protbert_equals_its_own_tokenizer(tmp_path: Path, sequence: str) -> None:
    (tmp_path / "vocab.txt").write_text("\n".join(BERT.fallback_vocabulary) + "\n")
    theirs = BertTokenizer(str(tmp_path / "vocab.txt"), do_lower_case=False)
    ours = token_table(BERT, read_vocabulary(tmp_path), 30, "test")
    assert ours.encode(sequence).tolist() == theirs(" ".join(sequence))["input_ids"]
    assert ours.pad_id == theirs.pad_token_id


@pytest.mark.parametrize("sequence", SEQUENCES)
def test_prott5_equals_a_unigram_tokenizer(tmp_path: Path, sequence: str) -> None:
    theirs = _unigram(T5.fallback_vocabulary, Metaspace())
    theirs.save(str(tmp_path / "tokenizer.json"))
    ours = token_table(T5, read_vocabulary(tmp_path), 128, "test")
    assert ours.encode(sequence).tolist() == theirs.encode(" ".join(sequence)).ids
    assert ours.num_leading == 0


def test_ankh_like_vocabulary_has_bare_pieces_and_keeps_rare_residues(tmp_path: Path) -> None:
    theirs = _unigram(("<pad>", "</s>", "<unk>", *"ALGVSREDTIPKFQNYMHWCXBOUZ"), None)
    theirs.save(str(tmp_path / "tokenizer.json"))
    ours = token_table(T5, read_vocabulary(tmp_path), 144, "test")
    sequence = STANDARD + "UZOBX"
    assert ours.encode(sequence).tolist() == theirs.encode(list(sequence), is_pretokenized=True).ids


def test_sentencepiece_model_is_read_without_its_library(tmp_path: Path) -> None:
    model = sentencepiece_model.ModelProto()
    model.trainer_spec.model_type = 1
    for number, text in enumerate(T5.fallback_vocabulary):
        piece = model.pieces.add()
        piece.piece, piece.score = text, -float(number)
        if number < 3:
            piece.type = 3
    (tmp_path / "spiece.model").write_bytes(model.SerializeToString())
    assert read_vocabulary(tmp_path) == {text: number for number, text in enumerate(T5.fallback_vocabulary)}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_residue_is_one_token(family: str) -> None:
    table = _default(family)
    sequence = "".join(chr(ord("A") + number) for number in range(26)) * 3
    ids = table.encode(sequence)
    assert ids.dtype == np.int64
    assert ids.size == table.num_leading + len(sequence) + table.num_trailing
    residues = ids[table.num_leading : ids.size - table.num_trailing]
    assert len(set(residues[[ord(letter) - 65 for letter in STANDARD]])) == 20
    assert not set(residues.tolist()) & {table.pad_id, *table.leading, *table.trailing}


@pytest.mark.parametrize(
    ("family", "as_unknown", "own"), [("esm", "J", "UZOB"), ("t5", "JUZOB", ""), ("bert", "JUZOB", "")]
)
def test_letters_without_a_token_become_x(family: str, as_unknown: str, own: str) -> None:
    lookup = _default(family).lookup
    assert {lookup[ord(letter)] for letter in as_unknown} == {lookup[ord("X")]}
    assert lookup[ord("X")] not in {lookup[ord(letter)] for letter in own}


def test_lower_case_counts_as_upper_case() -> None:
    table = _default("esm")
    assert table.encode("mkta").tolist() == table.encode("MKTA").tolist()


@pytest.mark.parametrize("sequence", ["MK*A", "M K", "MK-A", "MKÄA", "MK\u0141A", "MK🧬A", "M\x00"])
def test_what_is_no_letter_is_refused(sequence: str) -> None:
    at = next(number for number, letter in enumerate(sequence) if letter not in STANDARD) + 1
    with pytest.raises(DataError, match=f"position {at}"):
        _default("esm").encode(sequence)


def test_digest_tells_tables_apart() -> None:
    digests = {_default(family).digest for family in FAMILIES}
    assert len(digests) == 3
    assert _default("esm").digest == _default("esm").digest


def test_no_vocabulary_and_a_size_of_its_own_is_refused() -> None:
    with pytest.raises(BackboneError, match="no vocabulary file"):
        token_table(ESM, None, 40, "test")


def test_vocabulary_without_residues_is_refused() -> None:
    with pytest.raises(BackboneError, match="lacks A, C"):
        token_table(BERT, {"[PAD]": 0, "[CLS]": 1, "[SEP]": 2, "the": 3}, 30, "test")


def test_vocabulary_larger_than_the_embedding_is_refused() -> None:
    with pytest.raises(BackboneError, match="only 10 rows"):
        token_table(ESM, {piece: number for number, piece in enumerate(ESM.fallback_vocabulary)}, 10, "test")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("tokenizer.json", b"{"),
        ("tokenizer.json", json.dumps({"model": {}}).encode()),
        ("tokenizer.json", json.dumps({"model": {"vocab": [[]]}}).encode()),
        ("spiece.model", b"\x0a\xff"),
        ("spiece.model", b""),
        ("spiece.model", b"\x0a\x02\x0a\x7f"),
        ("vocab.txt", b"\xff\xfe"),
    ],
)
def test_damaged_vocabulary_is_one_line(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BackboneError, match="unreadable vocabulary"):
        read_vocabulary(tmp_path)


def _unigram(pieces: tuple[str, ...], pre_tokenizer: Metaspace | None) -> Tokenizer:
    tokenizer = Tokenizer(Unigram([(piece, -1.0) for piece in pieces], unk_id=2))
    if pre_tokenizer is not None:
        tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return tokenizer
