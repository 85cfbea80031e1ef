"""JSON and YAML of unknown origin: a plain tree within the limits, or one line that says why not."""

from pathlib import Path

import pytest

from liftray import limits
from liftray.documents import parse_json, parse_yaml, read_json, read_yaml
from liftray.errors import BundleError, ConfigError, DataError

LAUGHS = "\n".join(
    f"a{level}: &a{level} [{','.join([f'*a{level - 1}' if level else '1'] * 9)}]" for level in range(20)
)
MERGED_LAUGHS = "\n".join(
    f"a{level}: &a{level} {{<<: [{','.join([f'*a{level - 1}' if level else '{}'] * 9)}]}}"
    for level in range(20)
)

BAD_YAML = {
    "aliases of aliases": (LAUGHS, "over 5000 values, with those that aliases repeat"),
    "merged aliases": (MERGED_LAUGHS, "over 5000 values"),
    "alias of itself": ("a: &a [1, *a]", "an alias of itself"),
    "key as alias of itself": ("&a {? *a : 1}", "an alias of itself"),
    "many values": ("[" + "1," * 6000 + "]", "over 5000 values"),
    "deep lists": ("[" * 9000, "nested over 32 deep"),
    "deep blocks": ("- " * 9000, "nested over 32 deep"),
    "deep keys": ("? " * 9000, "nested over 32 deep"),
    "key twice": ("a: 1\nb: 2\na: 3", "key 'a' twice"),
    "tag of Python": ("!!python/object/apply:os.system [ls]", "could not determine a constructor"),
    "date": ("a: 2026-11-28", "2026-11-28 is read as a date; put it in quotes"),
    "no such date": ("a: 2026-13-45", "month must be in"),
    "set": ("!!set {a}", "read as a set"),
    "half a character": (r'"\ud800"', "surrogates not allowed"),
    "long number": ("1" * 5000, "over 400 digits"),
    "long number in base 60": (":".join(["59"] * 900), "over 400 digits"),
    "no number": ("!!int ''", "not valid YAML"),
    "no float": ("!!float x", "not valid YAML"),
    "no time": ("!!timestamp x", "not valid YAML"),
    "list as key": ("? [a]\n: 1", "unhashable key"),
    "unknown alias": ("a: *b", "undefined alias"),
    "two documents": ("--- a\n--- b", "another document"),
    "control character": ("a: \x07", "unacceptable character"),
    "long tag": ("!" * 60_000, r"\.\.\.\)$"),
}

BAD_JSON = {
    "deep lists": ("[" * 100_000, "nested over 32 deep"),
    "deep mappings": ('{"a":' * 100_000, "nested over 32 deep"),
    "key twice": ('{"a": 1, "a": 2}', "key 'a' twice"),
    "half a character": (r'{"a": "\ud800"}', "surrogates not allowed"),
    "long number": ("1" * 5000, "over 400 digits"),
    "not UTF-8": (b'"\xff"', "can't decode byte 0xff"),
    "cut": ('{"a": [1, 2', "Expecting"),
    "empty": ("", "Expecting value"),
}


@pytest.mark.parametrize("kind", BAD_YAML)
def test_bad_yaml_is_one_line_that_names_the_place(kind: str) -> None:
    text, why = BAD_YAML[kind]
    with pytest.raises(ConfigError, match=why) as caught:
        parse_yaml(text, where="my.yaml")
    assert str(caught.value).startswith("my.yaml: not valid YAML (")
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("kind", BAD_JSON)
def test_bad_json_is_one_line_that_names_the_place(kind: str) -> None:
    text, why = BAD_JSON[kind]
    with pytest.raises(BundleError, match=why) as caught:
        parse_json(text, where="my.json", error=BundleError, remedy="fetch it again")
    assert str(caught.value).startswith("my.json: not JSON (")
    assert str(caught.value).endswith("; fetch it again")


def test_usual_documents_are_read() -> None:
    assert parse_yaml("a: &x {b: 1}\nc: *x\nd: {<<: *x, b: 2}", where="") == {
        "a": {"b": 1},
        "c": {"b": 1},
        "d": {"b": 2},
    }
    assert parse_yaml("", where="") is None
    assert parse_yaml('a: "2026-11-28"', where="") == {"a": "2026-11-28"}
    assert parse_json('{"a": "[[[[\\"{{{{", "b": [1, 2.5, null, true, "\\u00e9"]}', where="") == {
        "a": '[[[["{{{{',
        "b": [1, 2.5, None, True, "é"],
    }
    assert parse_json(b"\xef\xbb\xbf[]", where="") == []


def test_files_have_a_limit_and_an_encoding(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"#" * (limits.CONFIG_BYTES + 1))
    with pytest.raises(ConfigError, match="over 65,536 bytes"):
        read_yaml(path)
    path.write_bytes("a: é".encode("latin-1"))
    with pytest.raises(ConfigError, match="not UTF-8 text"):
        read_yaml(path)
    path.write_bytes(b"[" + b"1," * 100)
    with pytest.raises(DataError, match="over 100 bytes"):
        read_json(path, max_bytes=100)
    with pytest.raises(DataError, match="a directory"):
        read_json(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1]", "no mapping"),
        ('{"a": NaN}', "NaN is no JSON"),
        ('{"a": -Infinity}', "-Infinity is no JSON"),
        ('{"a": 1e999}', "1e999 is too large"),
        ('{"a": 18446744073709551616}', "over 64 bits"),
        ('{"a": 1, "a": 1}', "key 'a' twice"),
    ],
)
def test_json_of_our_own_has_finite_numbers_of_64_bits(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse_json(text, where="summary.json", ours=True)
    most = '{"most": 18446744073709551615, "less": -2.5e3}'
    assert parse_json(most, where="summary.json", ours=True) == {"most": 2**64 - 1, "less": -2500.0}
