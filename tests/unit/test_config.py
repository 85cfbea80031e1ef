"""Settings are valid as a whole or refused in one line that helps."""

import pickle
import traceback
from contextlib import nullcontext
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
        ("{}", ["data.train={mine: [1]}"], "on the command line: data.train.mine: "),
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


@pytest.mark.parametrize(
    "text",
    ["/w/x #1", "a: b", "*x", "&x y", "!t x", "{a", "- x", "%x", "@x", "`x", "| x", "> x", "? x", "12", "true", "1e3",
     " x ", "it's", "a,b", "[x", "#1"],
)  # fmt: skip
@pytest.mark.parametrize(
    "key", ["run.dir", "registry.name", "tracking.run_name", "data.train.mine", "cache.dir"]
)
def test_a_text_is_kept_to_the_letter(key: str, text: str) -> None:
    if key == "registry.name":
        with nullcontext() if text.isalnum() else pytest.raises(ConfigError):
            assert load(None, [f"{key}={text}"]).registry.name == text
        return
    found = load(None, [f"{key}={text}"]).flat()
    assert found.get(key, found["data.train"].get("mine")) == text


@pytest.mark.parametrize(
    ("text", "value"), [("'a #1'", "a #1"), ('"a\\tb"', None), ("''", ""), ("'it''s'", "it's")]
)
def test_quotes_around_a_whole_text_are_read(text: str, value: str | None) -> None:
    if value is None:  # a tab in a name
        with pytest.raises(ConfigError, match="control character"):
            load(None, [f"tracking.run_name={text}"])
    else:
        assert load(None, [f"tracking.run_name={text}"]).tracking.run_name == value


def test_a_source_is_a_text_and_several_are_a_list() -> None:
    assert load(None, ["backbone.source=/w/x #1: y"]).backbone.source == ["/w/x #1: y"]
    assert load(None, ["backbone.source=['/w/x #1', b]"]).backbone.source == ["/w/x #1", "b"]
    with pytest.raises(ConfigError, match="put texts with signs in quotes"):
        load(None, ["backbone.source=[/w/x #1]"])


PLACES = (
    "data.train.a",
    "data.valid.a",
    "data.test.a",
    "train.start_from",
    "search.start_from",
    "cache.dir",
    "run.dir",
)


@pytest.mark.parametrize("key", [*PLACES, "backbone.source"])
def test_the_home_directory_is_expanded_in_every_path(
    key: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    more = ["search.method=tpe"] if key == "search.start_from" else []
    for settings in (
        load(None, [f"{key}=~/d", *more]),
        load(None, {key: "~/d"} | dict(p.split("=") for p in more)),
    ):
        assert str(tmp_path / "d") in str(settings.flat()[key.removesuffix(".a")])
        assert "~" not in to_yaml(settings).replace("x ~", "")
    with pytest.raises(ConfigError, match="no home directory is known for '~no-such-user/d'"):
        load(None, [f"{key}=~no-such-user/d", *more])


@pytest.mark.parametrize(
    "address", ["s3://bucket/a", "gs://b", "file:///a", "hdfs://n/a", "S3://b", "dbfs:/a", "abfs://c@a/x"]
)
@pytest.mark.parametrize("key", ["run.dir", "cache.dir", "search.start_from"])
def test_an_address_is_refused_where_only_a_path_works(key: str, address: str) -> None:
    with pytest.raises(ConfigError, match=f"{key}: '{address}' is an address") as caught:
        load(None, [f"{key}={address}", "search.method=tpe"])
    assert "give a local path" in str(caught.value)


@pytest.mark.parametrize(
    "name",
    ["valid", "Valid", "train", "test", "q3", "sov99", "casp/12", "a\\b", "..", "a..b", ".", " x", "x ", "", "a\x1bb",
     "a\nb", "a\u202eb", "n" * 101],
)  # fmt: skip
def test_a_test_set_has_a_name_of_its_own(name: str) -> None:
    with pytest.raises(ConfigError, match="data set's name"):
        load({"data": {"test": {name: "x"}}})
    with pytest.raises(ConfigError):
        load(None, {f"data.test.{name}": "x"})


def test_names_that_would_share_metrics_are_refused() -> None:
    with pytest.raises(ConfigError, match="would have the same metrics"):
        load(None, {"data.test": {"a(1": "x", "a)1": "y"}})
    assert load(None, {"data.test": {"CASP12": "x", "TS115 (new)": "y", "été": "z"}}).data.test


@pytest.mark.parametrize("override", ["registry.name=my möd", "registry.name=a/b", "registry.name=" + "a" * 251,
                                      "tracking.experiment=", "tracking.experiment=a\x00", "run.dir= ",
                                      "run.dir=a\x00b", "data.train.a="])  # fmt: skip
def test_what_would_fail_at_the_end_fails_at_the_start(override: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(None, [override])
    assert override.partition("=")[0].removesuffix(".a") in str(caught.value)


SECRET = "wJalr9XUtn"
SECRETS = (
    f"s3://KEY:{SECRET}/x@bucket/d",
    f"https://user:{SECRET}@host",
    f"gs://b/d?X-Goog-Signature={SECRET}",
)
OPEN = {"data.train": "a", "data.valid": "a", "data.test": "a", "search.space": "train.lr", "study.arms": "a",
        "study.choose": "train.lr", "study.claims": "a", "study.groups": "a"}  # fmt: skip


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("key", sorted(keys()))
def test_no_key_takes_a_credential_and_no_error_shows_it(key: str, secret: str) -> None:
    forms: list[Any] = [secret, [secret]]
    if key in OPEN:
        forms += [{OPEN[key]: secret}, {OPEN[key]: [secret]}, {secret: "x"}, {OPEN[key]: {"says": secret}}]
    for value in forms:
        for attempt in (
            lambda value=value: load(None, {key: value}),
            lambda value=value: load(None).replace({key: value}),
            lambda value=value: load(None, [f"{key}={value}"]),
        ):
            with pytest.raises(ConfigError) as caught:
                attempt()
            assert "holds a" in str(caught.value)
            assert "environment" in str(caught.value)
            assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_a_file_with_a_credential_is_refused_and_its_text_not_shown(tmp_path: Path) -> None:
    for text in (f"data: {{train: {{a: '{SECRETS[0]}'}}}}", f"{SECRETS[1]}: 1", f"run: {{dir: '{SECRETS[1]}"):
        (tmp_path / "c.yaml").write_text(text)
        with pytest.raises(ConfigError) as caught:
            load(tmp_path / "c.yaml")
        assert SECRET not in str(caught.value)
