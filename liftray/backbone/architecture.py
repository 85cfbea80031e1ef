"""Reading a backbone's `config.json` without trusting it.

Invariant: the result holds only keys of the family's list, each checked for type and range. Nothing in the file can
make this reader run code, as transformers' own reader once did (CVE-2026-4372). First step of `sources`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from liftray import limits
from liftray.backbone.families import REQUIRED, Key, family
from liftray.documents import read_json
from liftray.errors import BackboneError

_MAX_INTEGER = 1 << 24
# Rotary models have no weights for positions, but transformers makes a number for each: 8 MiB at most.
_MOST_POSITIONS = 1 << 20
# Keys that would load code, or would make the weights mean something else than the plain encoder.
_REFUSED = (
    "auto_map",
    "custom_pipelines",
    "trust_remote_code",
    "quantization_config",
    "esmfold_config",
    "is_folding_model",
    "is_decoder",
    "add_cross_attention",
    "pruned_heads",
)


def read_config(path: Path) -> tuple[str, dict[str, Any]]:
    """Read a `config.json`.

    Args:
        path: The file.

    Returns:
        The family's name and its checked architecture (every key of the family, defaults filled in).

    Raises:
        BackboneError: The file is no JSON object, needs code to run, or describes a model that LiftRay cannot run.
    """
    where = str(path)
    content = read_json(
        path, max_bytes=limits.BACKBONE_CONFIG_BYTES, error=BackboneError, remedy="download the file again"
    )
    if not isinstance(content, dict):
        raise BackboneError("config.json is not an object", where=where, remedy="download the file again")
    return check_config(content, where)


def check_config(content: Mapping[str, Any], where: str) -> tuple[str, dict[str, Any]]:
    """Check a parsed config; arguments, results and errors as `read_config`."""
    name = content.get("model_type")
    spec = family(name if isinstance(name, str) else str(name), where)
    _refuse_code(content, where)
    config = {key: _value(key, rule, content.get(key), where) for key, rule in spec.keys.items()}
    if spec.name != "t5" and config[spec.width_key] % config[spec.heads_key]:
        raise BackboneError(
            f"width {config[spec.width_key]} is not a multiple of {config[spec.heads_key]} attention heads",
            where=where,
            remedy="give the config.json that belongs to the weights",
        )
    for key in ("pad_token_id", "mask_token_id", "eos_token_id"):
        if config.get(key, 0) >= config["vocab_size"]:
            raise BackboneError(
                f"{key} {config[key]} is outside the vocabulary of {config['vocab_size']}",
                where=where,
                remedy="give the config.json that belongs to the weights",
            )
    return spec.name, config


def _refuse_code(content: Mapping[str, Any], where: str) -> None:
    for key, value in content.items():
        # A named attention implementation can be a kernel repository, fetched and run by transformers.
        names_kernel = "attn_implementation" in key and isinstance(value, str | dict)
        if names_kernel or (key in _REFUSED and value):
            raise BackboneError(
                f"key {key!r} is refused: it can load code or change what the weights mean",
                where=where,
                remedy="use a plain encoder checkpoint, or remove the key if the weights need it not",
            )


def _value(key: str, rule: Key, value: Any, where: str) -> Any:
    if value is None:
        if rule.default is REQUIRED:
            raise BackboneError(
                f"key {key!r} is missing", where=where, remedy="give the model's own config.json"
            )
        return rule.default
    # bool is a subclass of int: `true` is no count.
    is_integer = isinstance(value, int) and not isinstance(value, bool)
    is_number = is_integer or isinstance(value, float)
    most = _MOST_POSITIONS if key == "max_position_embeddings" else _MAX_INTEGER
    good = {
        "count": is_integer and 1 <= value <= most,
        "index": is_integer and 0 <= value <= _MAX_INTEGER,
        "real": is_number and 0 < value < 1,
        "flag": isinstance(value, bool),
        "choice": isinstance(value, str) and value in rule.choices,
    }[rule.kind]
    if not good:
        wanted = {
            "count": "a whole number from 1",
            "index": "a whole number from 0",
            "real": "a number between 0 and 1",
            "flag": "true or false",
            "choice": f"one of {', '.join(rule.choices)}",
        }[rule.kind]
        raise BackboneError(
            f"key {key!r} is {value!r:.80}", where=where, remedy=f"LiftRay can run it as {wanted} only"
        )
    return float(value) if rule.kind == "real" else value
