from pathlib import Path

import pytest

from liftray.errors import ConfigError
from liftray.track.promotion.policy import Policy, load

SHIPPED = Path(__file__).resolve().parents[3] / "configs" / "gates.yaml"


def test_the_shipped_file_is_the_default_with_every_key_shown() -> None:
    import yaml

    assert load(SHIPPED) == load(None) == Policy()
    assert yaml.safe_load(SHIPPED.read_text()) == Policy().model_dump()


def test_a_file_may_name_only_what_differs(tmp_path: Path) -> None:
    file = tmp_path / "gates.yaml"
    file.write_text("sets: {margin: 0.02, margins: {CASP14: 0.05}}")
    policy = load(file)
    assert (policy.margin("CASP12"), policy.margin("CASP14")) == (0.02, 0.05)
    assert policy.replay.required
    file.write_text("")
    assert load(file) == Policy()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sets: {margn: 0.1}", "unknown key sets.margn; did you mean sets.margin?"),
        ("setts: {}", "unknown key setts; did you mean sets?"),
        ("zzz: 1", "valid: primary, sets"),
        ("sets: {margin: -1}", "sets.margin"),
        ("primary: {score: q5}", "primary.score"),
        ("primary: 3", "primary"),
        ("[1]", "mapping"),
        ("a: [", "YAML"),
    ],
)
def test_mistakes_are_reported_with_what_is_valid(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "gates.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        load(file)
    assert "\n" not in str(caught.value)
    assert str(file) in str(caught.value)


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load(tmp_path / "absent.yaml")
