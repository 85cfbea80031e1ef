"""Whatever the bytes depend on changes the key."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from liftray.cache.key import ID_BYTES, PrefixKey, digest_in, entry_id
from tests.parts.cached import KEY


@pytest.mark.parametrize(("stored", "expected"), [("float32", 1280), ("bfloat16", 640), ("int8", 324)])
def test_bytes_of_a_row(stored: str, expected: int) -> None:
    assert replace(KEY, width=320, stored=stored).row_bytes == expected


OTHERS = [
    {"backbone": "cd" * 32},
    {"width": 8},
    {"compute": "bfloat16"},
    {"stored": "int8"},
    {"device": "cuda"},
    {"versions": {**KEY.versions, "torch": "2.14.0"}},
    {"versions": {**KEY.versions, "tokenizers": "0.22"}},
]


@pytest.mark.parametrize("change", OTHERS, ids=lambda change: next(iter(change)))
def test_every_part_makes_another_key_and_another_lineage(change: dict[str, Any]) -> None:
    other = replace(KEY, **change)
    assert other.digest() != KEY.digest()
    assert other.lineage() != KEY.lineage()
    assert other.directory("root") != KEY.directory("root")


def test_another_block_makes_another_key_of_the_same_lineage() -> None:
    other = KEY.at(5)
    assert other.digest() != KEY.digest()
    assert other.lineage() == KEY.lineage()
    assert KEY.directory("root") == Path("root") / KEY.lineage()[:16] / "k004"
    assert other.directory("root") == Path("root") / KEY.lineage()[:16] / "k005"


def test_equal_keys_have_equal_digests_whatever_the_order_of_versions() -> None:
    other = replace(KEY, versions=dict(reversed(list(KEY.versions.items()))))
    assert other == KEY
    assert (other.digest(), other.document(), hash(other)) == (KEY.digest(), KEY.document(), hash(KEY))


@pytest.mark.parametrize(
    "wrong", [{"block": -1}, {"width": 0}, {"compute": "float16"}, {"stored": "int4"}, {"device": "tpu"}]
)
def test_a_key_that_cannot_be_is_not_made(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="not a key of a store"):
        replace(KEY, **wrong)


def test_a_document_bears_its_digest() -> None:
    document = KEY.document()
    assert digest_in(document) == KEY.digest()
    assert digest_in(document.replace(b'"cut": 4', b'"cut": 5')) is None
    for content in (b"", b"[]", b"{}", b"7", b"\xff", b"[" * 100_000, document[:-3]):
        assert digest_in(content) is None


def test_entry_ids_are_of_the_residues_alone() -> None:
    assert entry_id("MKV") == entry_id("MKV")
    assert len(entry_id("MKV")) == ID_BYTES
    assert entry_id("MKV").hex() == "06101e170c22fd1e3eb5769d9ec67e9b"
    assert len({entry_id(residues) for residues in ("", "M", "MK", "KM", "mk")}) == 5


def test_a_key_does_not_change() -> None:
    with pytest.raises(AttributeError):
        KEY.block = 3  # type: ignore[misc]
    assert isinstance(KEY, PrefixKey)
