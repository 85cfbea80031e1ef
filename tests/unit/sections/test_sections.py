"""Settings that would change nothing, or that do not fit together, are refused in one line with the reason."""

import pytest

from liftray.config import load
from liftray.errors import ConfigError


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["head.temperature=9"], "temperature=9.0 would change nothing: linear has no centroids"),
        (["head.kind=lstm", "head.temperature=9"], "(kinds that use it: metric)"),
        (["loss.scale=30"], "cross_entropy takes the logits as the head gives them; leave it at null"),
        (["loss.max_margin=0.3"], "cross_entropy has no margins; leave it at 0.5"),
        (
            ["head.kind=metric", "loss.kind=normalised_softmax", "loss.max_margin=0.3"],
            "normalised_softmax has no margins",
        ),
        (["train.average_decay=0.9"], "none keeps no average; leave it at 0.999"),
        (["loss.kind=ldam"], "loss.kind=ldam compares cosines, but the logits of head.kind=linear"),
        (["loss.kind=normalised_softmax", "head.kind=conv"], "set head.kind=metric"),
        (["loss.multitask.ss3=1"], "ss3 is not coarser than task=ss3"),
        (["task=ss8", "loss.multitask.ss8=0.5"], "ss8 is not coarser than task=ss8"),
        (["loss.multitask.ss9=1"], "unknown key loss.multitask.ss9"),
        (["loss.multitask=1"], "loss.multitask"),
        (["head.temperature=0", "head.kind=metric"], "head.temperature"),
        (["train.average=ema", "train.average_decay=1"], "train.average_decay"),
    ],
)
def test_what_does_not_fit_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(None, overrides)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "overrides",
    [
        ["head.kind=metric", "head.temperature=9"],
        ["head.kind=metric", "loss.kind=ldam", "loss.scale=30", "loss.max_margin=0.3"],
        ["head.kind=metric", "loss.kind=ldam", "loss.class_weights=inverse_sqrt", "task=ss9"],
        ["task=ss9", "loss.multitask.ss8=0.5", "loss.multitask.ss3=0.5"],
        ["task=ss8", "loss.multitask.ss3=1"],
        ["train.average=ema", "train.average_decay=0.9"],
        ["method=features", "head.mix_blocks=true", "head.kind=lstm"],
    ],
)
def test_what_fits_is_taken(overrides: list[str]) -> None:
    flat = load(None, overrides).flat()
    for override in overrides:
        key, _, value = override.partition("=")
        assert str(flat[key]).lower() in (value, f"{value}.0")


def test_a_file_may_nest_them(tmp_path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("task: ss9\nloss: {multitask: {ss3: 0.5}}\n")
    assert load(path, ["loss.multitask.ss8=0.25"]).loss.multitask.model_dump() == {"ss8": 0.25, "ss3": 0.5}
    path.write_text("task: ss9\nloss: {multitask: {ss4: 0.5}}\n")
    with pytest.raises(ConfigError, match=r"unknown key loss\.multitask\.ss4"):
        load(path)
