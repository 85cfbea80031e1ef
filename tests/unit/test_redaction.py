"""Credentials are found in every form of address, and taken out; what is no credential stays."""

import pytest

from liftray.redaction import credential, redacted

SECRET = "wJalr9XUtn"
WITH = [
    f"s3://AKIA7:{SECRET}@bucket/folder",
    f"s3://AKIA7:{SECRET}/K7MD+x@bucket/folder",
    f"s3://AKIA7:123/{SECRET}@bucket",
    f"https://user:{SECRET}@host/path",
    f"https://user:p@{SECRET}@host/path",
    f"https://{SECRET}@host",
    f"postgresql+psycopg2://user:{SECRET}@host:5432/db",
    f"abfs://account:{SECRET}@container/x",
    f"ray://user:{SECRET}@head:10001",
    f"https://host/file?token={SECRET}",
    f"https://host/file?a=1&access_token={SECRET}&b=2",
    f"https://host/file?X-Amz-Signature={SECRET}&X-Amz-Date=1",
    f"https://host/file?X-Goog-Credential={SECRET}",
    f"https://account.blob.core.windows.net/c?sv=1&sig={SECRET}",
    f"s3://bucket?access_key=A;secret_key={SECRET}",
    f"https://host/#access_token={SECRET}",
    f"HTTPS://host/?API-KEY={SECRET}",
]
WITHOUT = [
    "s3://bucket/folder?region=eu-central-1&endpoint_override=http%3A%2F%2Flocalhost%3A9000",
    "http://localhost:5000",
    "http://localhost:5000/models@champion",
    "http://[::1]:5000/a@b",
    "abfs://container@account.dfs.core.windows.net/x",
    "hdfs://user@namenode:8020/x",
    "sqlite:////home/me@work/mlflow.db",
    "models:/liftray@champion",
    "hf:facebook/esm2@0123456789abcdef",
    "/w/x #1?key",
    "runs/a:b@c",
]


@pytest.mark.parametrize("address", WITH)
def test_a_credential_is_found_and_taken_out(address: str) -> None:
    assert credential(address) is not None
    shown = redacted(f"cannot open {address!r} (No such host)")
    assert SECRET not in shown
    assert shown.endswith("(No such host)")
    assert redacted(shown) == shown
    assert credential(redacted(address)) is None


@pytest.mark.parametrize("address", WITHOUT)
def test_what_is_no_credential_stays(address: str) -> None:
    assert credential(address) is None
    assert redacted(address) == address


def test_headers_are_redacted() -> None:
    assert SECRET not in redacted(f"request failed, headers Authorization: Bearer {SECRET}, retry 1")


def test_two_addresses_in_a_text_are_both_redacted() -> None:
    text = redacted(f"https://a:{SECRET}@one, then s3://b:{SECRET}@two and http://three:80/x")
    assert text == "https://***@one, then s3://***@two and http://three:80/x"
