"""Credentials in addresses: found, and taken out of any text.

Invariant: what `redacted` returns holds no credential that `credential` would find; redacting again changes nothing.
Pure; lowest layer. Flow: settings, errors, lines, MLflow, reports -> [this].

Decisions: a config value with a credential is refused, since it would reach many files and a server; all other texts
are redacted, where a word too many is no harm. A user name alone is no secret in the addresses of Azure, HDFS and SSH,
which need one.
"""

import re

HIDDEN = "***"
REMEDY = (
    "give it in the environment instead (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
    "GOOGLE_APPLICATION_CREDENTIALS, MLFLOW_TRACKING_TOKEN)"
)

_NAMED_USER = ("abfs", "abfss", "hdfs", "ssh", "viewfs", "wasb", "wasbs")
# All repetitions are bounded, so that the time grows with the text alone.
_SCHEME = r"\b(?P<scheme>[A-Za-z][A-Za-z0-9+.-]{0,30})://"
_STRICT = r"[^\s\"'<>/?#]{0,300}(?=@)"
# A password with an unescaped `/`, `?` or `#`, as the keys of S3 have; the number of a port is none.
_LOOSE = r"(?!\[)[^\s\"'<>/?#@:]{0,100}:[^\s\"'<>]{0,300}(?=@)"
_USER = re.compile(f"{_SCHEME}(?P<user>{_STRICT}|{_LOOSE})@")
# Buckets have no port, servers have.
_PORTS, _PORT = ("http", "https", "ray", "tcp"), re.compile(r"[^/?#@:]*:\d{1,5}[/?#]")
_PARAMETER = re.compile(
    r"(?P<name>[?&;#](?:[\w.%-]{0,60}(?:token|secret|passw|pwd|signature|credential|api[_-]?key|access[_-]?key|"
    r"account[_-]?key|accessid|auth)[\w.%-]{0,60}|sig|key|sas|session|jwt))=(?P<value>[^\s\"'<>&;#]+)",
    re.IGNORECASE,
)
_HEADER = re.compile(r"\b(?P<name>Bearer|Basic)\s+(?P<value>[A-Za-z0-9+/_.~=-]{8,})")


def redacted(text: str) -> str:
    """The text with `***` in the place of each credential: users and passwords, tokens and signatures of addresses."""
    if "://" in text:
        text = _USER.sub(_without_user, text)
    text = _PARAMETER.sub(rf"\g<name>={HIDDEN}", text)
    return _HEADER.sub(rf"\g<name> {HIDDEN}", text)


def credential(text: str) -> str | None:
    """What kind of credential a text holds; None where there is none."""
    for found in _USER.finditer(text):
        if _is_secret(found):
            return "a user name or password"
    named = (
        [found for found in _PARAMETER.finditer(text) if found["value"] != HIDDEN] if "://" in text else []
    )
    return f"a credential ({named[0]['name'][1:]})" if named else None


def _without_user(found: re.Match[str]) -> str:
    return f"{found['scheme']}://{HIDDEN}@" if _is_secret(found) else found[0]


def _is_secret(found: re.Match[str]) -> bool:
    user = found["user"]
    if found["scheme"].lower() in _PORTS and _PORT.match(user):
        return False
    return bool(user) and user != HIDDEN and (":" in user or found["scheme"].lower() not in _NAMED_USER)
