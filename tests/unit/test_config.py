"""Settings are valid as a whole or refused in one line that helps."""

import pickle
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel

from liftray import config
from liftray.config import Settings, keys, load, to_yaml
from liftray.errors import ConfigError


def test_every_default_is_valid_and_every_key_is_described() -> None:
    settings = load(None)
    assert set(settings.flat()) == set(keys())
    for key, (kind, default, meaning) in keys().items():
        assert kind
        assert meaning, key
        assert settings.flat()[key] == default
        # Set through the front door as well.
        assert settings.replace({key: default}) == settings


def test_keys_cover_every_field() -> None:
    def leaves(tree: dict[str, Any], prefix: str = "") -> set[str]:
        found: set[str] = set()
        for name, value in tree.items():
            key = f"{prefix}{name}"
            found |= (
                leaves(value, f"{key}.") if isinstance(value, dict) and key not in config._OPEN else {key}
            )
        return found

    assert leaves(load(None).model_dump()) == set(keys())


def test_yaml_round_trip(tmp_path: Path) -> None:
    settings = load(
        None,
        [
            "data.train.a=x",
            "train.lr=1e-4",
            "search.space={adapter.skip_layers: [0, 2]}",
            "run.ray_address=null",
        ],
    )
    (tmp_path / "c.yaml").write_text(to_yaml(settings))
    assert load(tmp_path / "c.yaml") == settings
    assert load(tmp_path / "c.yaml").digest() == settings.digest()


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("train.lr=1e-3", "train.lr", 1e-3),
        ("train.lr=3E-4", "train.lr", 3e-4),
        ("train.epochs=7", "train.epochs", 7),
        ("train.resume=false", "train.resume", False),
        ("train.resume=no", "train.resume", False),
        ("tracking.run_name=null", "tracking.run_name", None),
        ("tracking.run_name=a=b", "tracking.run_name", "a=b"),
        ("registry.name=", "registry.name", ""),
        ("registry.name=nan", "registry.name", "nan"),
        ("backbone.source=some/dir", "backbone.source", ["some/dir"]),
        ("backbone.source=[a, 'hf:b/c@d']", "backbone.source", ["a", "hf:b/c@d"]),
        ("data.train={a: x, b: y}", "data.train", {"a": "x", "b": "y"}),
        ("data.train.CASP12=x", "data.train", {"CASP12": "x"}),
        ("data.test.set.v2=x", "data.test", {"set.v2": "x"}),
        ("evaluate.baselines=[]", "evaluate.baselines", []),
        ("search.space.train.lr=[1e-3, 0.01]", "search.space", {"train.lr": [1e-3, 0.01]}),
        (" adapter.skip_layers = 4", "adapter.skip_layers", 4),
    ],
)
def test_overrides_are_read_as_yaml(override: str, key: str, value: object) -> None:
    assert load(None, [override]).flat()[key] == value


def test_overrides_win_over_the_file_and_later_over_earlier(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("train: {epochs: 3, lr: 0.1}\nadapter:\n  skip_layers: 2\n")
    settings = load(tmp_path / "c.yaml", ["train.epochs=4", "train.epochs=5"])
    assert (settings.train.epochs, settings.train.lr, settings.adapter.skip_layers) == (5, 0.1, 2)


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("adapter.widht", "did you mean adapter.reduction_factor?"),
        ("adapter.skip_layer", "did you mean adapter.skip_layers?"),
        ("train.learning_rate", "did you mean train.lr?"),
        ("train.batch_size", "did you mean train.tokens_per_batch?"),
        ("zero.stag", "did you mean zero.stage?"),
        ("train.something_else_altogether", "valid: train.epochs, train.lr"),
        ("xyzzy.q", "valid: adapter, backbone"),
        ("xyzzy", "valid: adapter, backbone"),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest(tmp_path: Path, key: str, hint: str) -> None:
    with pytest.raises(ConfigError, match=f"on the command line: unknown key {key};") as caught:
        load(None, [f"{key}=1"])
    assert hint in str(caught.value)
    tree: Any = 1
    for name in reversed(key.split(".")):
        tree = {name: tree}
    path = tmp_path / "x.yaml"
    path.write_text(yaml.safe_dump(tree))
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert "x.yaml" in str(caught.value)
    assert "unknown key" in str(caught.value)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.epochs=0", "train.epochs"),
        ("train.epochs=many", "train.epochs is int, default 20"),
        ("train.lr=-1", "train.lr"),
        ("adapter.kind=magic", "bottleneck | parallel_bottleneck"),
        ("task=ss4", "ss3|ss8|ss9"),
        ("zero.stage=4", "0|1|2|3"),
        ("head.dropout=1", "head.dropout"),
        ("cache.enabled=perhaps", "cache.enabled"),
        ("backbone.source=[]", "backbone.source"),
        ("train.resume=perhaps", "train.resume is bool"),
        ("data.train=somewhere", "data.train"),
    ],
)
def test_a_bad_value_is_refused_with_what_is_valid(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(None, [override])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train: 3\n", "train is a section, not a value"),
        ("- train\n", "a config is a mapping of sections"),
        ("", "a config is a mapping of sections"),
        ("train: {epochs: 3\n", "not valid YAML"),
        ("train: {epochs: {a: 1}}\n", "train.epochs"),
        ("3: {epochs: 1}\n", "unknown key 3"),
    ],
)
def test_a_file_of_another_shape_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert message in str(caught.value)
    assert "c.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_section_is_no_key() -> None:
    with pytest.raises(ConfigError, match="train"):
        load(None, ["train=3"])


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", None])
def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "c.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"c\.yaml"):
        load(path)
    with pytest.raises(ConfigError):
        load(tmp_path)


def test_what_is_no_override_is_refused() -> None:
    with pytest.raises(ConfigError, match="is not KEY=VALUE"):
        load(None, ["train.epochs"])
    with pytest.raises(ConfigError):
        load(None, ["train.epochs=[1"])


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"adapter.skip_layer": [1]}, "did you mean adapter.skip_layers?"),
        ({"adapter.skip_layers": []}, "has no values"),
        ({"adapter": [1]}, "unknown key adapter"),
    ],
)
def test_a_search_names_real_keys_and_values(space: dict[str, list[int]], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(None).replace({"search.space": space})
    assert message in str(caught.value)


def test_settings_do_not_change_and_replace_leaves_the_old_ones() -> None:
    settings = load(None)
    with pytest.raises(ValueError, match="frozen"):
        settings.train.epochs = 3
    assert settings.replace({"train.epochs": 3}).train.epochs == 3
    assert settings == load(None)


def test_the_digest_is_of_the_named_sections() -> None:
    settings = load(None)
    other = settings.replace({"run.dir": "elsewhere"})
    assert settings.digest() != other.digest()
    assert settings.digest("train", "adapter") == other.digest("train", "adapter")
    assert settings.digest("train") != settings.replace({"train.lr": 0.5}).digest("train")


def test_settings_survive_the_trip_to_a_worker() -> None:
    settings = load(None, ["train.epochs=3"])
    assert pickle.loads(pickle.dumps(settings)) == settings


@pytest.mark.parametrize(
    ("written", "overrides", "fault"),
    [
        ("train: {epochs: 3}", ["train.epochs=0"], "on the command line: train.epochs: "),
        ("train: {epochs: 0}", [], "{path}: train.epochs: "),
        ("train: {epochs: 0}", ["train.lr=0.1"], "{path}: train.epochs: "),
        ("train: {epochs: 0, lr: -1}", ["train.lr=-2"], "{path}: train.epochs: "),
        ("train: {epochs: 0}", ["train.epochs=-1"], "on the command line: train.epochs: "),
        ("{}", ["data.train.mine=[1]"], "on the command line: data.train.mine: "),
        ("{}", ["search.space={no.such: [1]}"], "on the command line: search.space: unknown key no.such"),
        ("search: {space: {no.such: [1]}}", ["train.epochs=1"], "{path}: search.space: unknown key no.such"),
    ],
)
def test_a_bad_value_is_blamed_on_the_file_or_on_the_override_that_set_it(
    tmp_path: Path, written: str, overrides: list[str], fault: str
) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(written)
    with pytest.raises(ConfigError) as caught:
        load(path, overrides)
    assert str(caught.value).startswith(fault.format(path=path))


def test_each_section_refuses_keys_it_does_not_know() -> None:
    for field in Settings.model_fields.values():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            with pytest.raises(ValueError, match="xyzzy"):
                kind(xyzzy=1)
    assert get_args(Settings.model_fields["task"].annotation) == ("ss3", "ss8", "ss9")


def test_the_config_for_own_labels_contains_nothing_of_the_sample() -> None:
    folder = Path(__file__).resolve().parents[2] / "configs"
    own, quickstart = load(folder / "own.yaml"), load(folder / "quickstart.yaml")
    assert (own.data.train, own.data.valid, own.data.test) == ({}, {}, {})
    assert own.run.dir != quickstart.run.dir
    assert own.registry.name != quickstart.registry.name
    assert load(folder / "own.yaml", ["data.train.mine=data/mine"]).data.train == {"mine": "data/mine"}
