import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    BertForMaskedLM,
    EsmForMaskedLM,
    EsmForSequenceClassification,
    T5ForConditionalGeneration,
)

from liftray.backbone.families import FAMILIES
from liftray.backbone.model import Backbone, from_config, load
from liftray.backbone.packed import WindowLayout
from liftray.backbone.sources import resolve
from liftray.errors import BackboneError

Configs = dict[str, dict[str, Any]]
Writer = Callable[..., Backbone]


SEQUENCE = "MKTAYIAKQRQISFVKSHFSRQ"


def _hidden(backbone: torch.nn.Module) -> torch.Tensor:
    tokens_T = torch.from_numpy(backbone.tokens.encode(SEQUENCE))
    with torch.no_grad():
        return backbone(tokens_T, WindowLayout.of((len(tokens_T),)))


@pytest.mark.parametrize("form", ["safetensors", "bin", "shards"])
@pytest.mark.parametrize("family", FAMILIES)
def test_what_was_saved_is_what_is_loaded(
    tmp_path: Path, write_checkpoint: Writer, family: str, form: str
) -> None:
    made = write_checkpoint(tmp_path, family, form=form)
    loaded = load(resolve([str(tmp_path)]))
    assert {name: tensor.dtype for name, tensor in loaded.state_dict().items()} == {
        name: tensor.dtype for name, tensor in made.state_dict().items()
    }
    assert torch.equal(_hidden(loaded), _hidden(made))


@pytest.mark.parametrize(
    ("family", "whole", "prefix"),
    [
        ("esm", EsmForMaskedLM, "esm."),
        ("esm", EsmForSequenceClassification, "esm."),
        ("t5", T5ForConditionalGeneration, ""),
        ("bert", BertForMaskedLM, "bert."),
    ],
)
@pytest.mark.parametrize("safe", [True, False])
def test_checkpoints_with_task_heads_load(
    configs: Configs,
    tmp_path: Path,
    write_checkpoint: Writer,
    family: str,
    whole: type,
    prefix: str,
    safe: bool,
) -> None:
    """In what transformers itself writes for a model with a head, the encoder is found."""
    write_checkpoint(tmp_path / "config-only", family)
    made = from_config(family, configs[family], seed=4)
    config = made.hf.config
    config.is_encoder_decoder = family == "t5"
    full = whole(config)
    full.save_pretrained(tmp_path / "full", safe_serialization=safe)
    (tmp_path / "full" / "config.json").write_bytes((tmp_path / "config-only" / "config.json").read_bytes())
    loaded = load(resolve([str(tmp_path / "full")]))
    encoder = full.get_encoder() if family == "t5" else getattr(full, prefix.rstrip("."))
    encoder.eval()
    tokens_BL = torch.from_numpy(loaded.tokens.encode(SEQUENCE))[None]
    with torch.no_grad():
        theirs = encoder(input_ids=tokens_BL, attention_mask=torch.ones_like(tokens_BL)).last_hidden_state
    torch.testing.assert_close(_hidden(loaded), theirs[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("form", ["safetensors", "bin"])
@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_what_lies_above_a_cut_loads_alone(
    tmp_path: Path, write_checkpoint: Writer, family: str, form: str
) -> None:
    made = write_checkpoint(tmp_path, family, form=form)
    tokens_T = torch.from_numpy(made.tokens.encode(SEQUENCE))
    layout = WindowLayout.of((len(tokens_T),))
    above = load(resolve([str(tmp_path)]), first_block=1)
    above.drop_below(1)
    hidden_TD = above.run_blocks(made.run_frozen(tokens_T, layout, 1), layout, 1, 2)
    assert torch.equal(above.finish(hidden_TD), _hidden(made))
    with pytest.raises(ValueError, match="not in memory"):
        above.run_blocks(hidden_TD, layout, 0, 1)


def test_tensorflow_era_norm_names_load(tmp_path: Path, write_checkpoint: Writer) -> None:
    def rename(name: str) -> str:
        return "bert." + name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        )

    made = write_checkpoint(tmp_path, "bert", rename=rename)
    assert torch.equal(_hidden(load(resolve([str(tmp_path)]))), _hidden(made))


def test_rotary_frequencies_of_the_file_are_used(tmp_path: Path, write_checkpoint: Writer) -> None:
    """ESM-2 checkpoints hold frequencies rounded to half precision, and transformers uses those."""
    made = write_checkpoint(tmp_path / "a")
    rounded = {
        name: tensor.half().float()
        for name, tensor in made.hf.state_dict().items()
        if name.endswith("inv_freq")
    }
    assert rounded
    write_checkpoint(tmp_path / "b", extra=rounded)
    loaded = load(resolve([str(tmp_path / "b")]))
    state = loaded.hf.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in rounded.items())


@pytest.mark.parametrize("family", FAMILIES)
def test_bfloat16_loads_and_runs(tmp_path: Path, write_checkpoint: Writer, family: str) -> None:
    made = write_checkpoint(tmp_path, family)
    loaded = load(resolve([str(tmp_path)]), dtype="bfloat16")
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.bfloat16}
    hidden_TD = _hidden(loaded)
    assert hidden_TD.dtype == torch.bfloat16
    # bfloat16 keeps 8 bits: states of size one after two blocks differ by a few hundredths.
    torch.testing.assert_close(hidden_TD.float(), _hidden(made), atol=0.1, rtol=0.05)


class _Payload:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (os.mkdir, (str(self.path),))


@pytest.mark.parametrize("legacy", [True, False])
def test_a_pickle_that_would_run_code_is_refused_and_not_run(
    tmp_path: Path, write_checkpoint: Writer, legacy: bool
) -> None:
    made = write_checkpoint(tmp_path / "evil", form="bin")
    target = tmp_path / "written-by-the-payload"
    content = {**made.hf.state_dict(), "classifier.x": _Payload(target)}
    path = tmp_path / "evil" / "pytorch_model.bin"
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(BackboneError, match="more than tensors") as caught:
        load(resolve([str(tmp_path / "evil")]))
    assert "\n" not in str(caught.value)
    assert not target.exists()
    torch.load(path, weights_only=False)
    assert target.exists(), "the payload was no payload: this test would have passed for the wrong reason"


def test_weights_of_old_torch_load(tmp_path: Path, write_checkpoint: Writer) -> None:
    made = write_checkpoint(tmp_path, form="bin")
    torch.save(made.hf.state_dict(), tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    assert torch.equal(_hidden(load(resolve([str(tmp_path)]))), _hidden(made))


@pytest.mark.parametrize("form", ["safetensors", "bin"])
@pytest.mark.parametrize("keep", [0, 10, 0.5])
def test_truncated_weights_are_refused(
    tmp_path: Path, write_checkpoint: Writer, form: str, keep: float
) -> None:
    write_checkpoint(tmp_path, form=form)
    path = tmp_path / ("model.safetensors" if form == "safetensors" else "pytorch_model.bin")
    raw = path.read_bytes()
    path.write_bytes(raw[: int(keep * len(raw)) if isinstance(keep, float) else keep])
    with pytest.raises(BackboneError, match="damaged"):
        load(resolve([str(tmp_path)]))


def test_missing_tensors_are_named(tmp_path: Path, write_checkpoint: Writer) -> None:
    write_checkpoint(tmp_path, rename=lambda name: name.replace("encoder.layer.1.output", "classifier"))
    with pytest.raises(
        BackboneError, match=r"2 of the encoder's .* missing \(encoder\.layer\.1\.output\.dense"
    ):
        load(resolve([str(tmp_path)]))


def test_unexplained_tensors_are_named(tmp_path: Path, write_checkpoint: Writer) -> None:
    write_checkpoint(tmp_path, extra={"encoder.layer.2.adapter.weight": torch.zeros(1)})
    with pytest.raises(BackboneError, match=r"no known part \(encoder\.layer\.2\.adapter\.weight"):
        load(resolve([str(tmp_path)]))


@pytest.mark.parametrize(
    ("tensor", "match"),
    [
        (torch.zeros(34, 16), r"\(34, 16\)"),
        (torch.zeros(33, 16, dtype=torch.int8), "int8"),
        (torch.full((33, 16), float("nan")), "NaN"),
    ],
)
def test_tensors_that_do_not_fit_are_named(
    tmp_path: Path, write_checkpoint: Writer, tensor: torch.Tensor, match: str
) -> None:
    write_checkpoint(tmp_path, extra={"embeddings.word_embeddings.weight": tensor})
    with pytest.raises(BackboneError, match=match) as caught:
        load(resolve([str(tmp_path)]))
    assert "word_embeddings" in str(caught.value)


def test_a_huge_config_over_small_weights_is_refused_without_the_memory(
    tmp_path: Path, write_checkpoint: Writer
) -> None:
    write_checkpoint(tmp_path, keys={"intermediate_size": 1 << 24, "hidden_size": 1 << 20})
    with pytest.raises(BackboneError, match="not "):
        load(resolve([str(tmp_path)]))


@pytest.mark.parametrize("family", FAMILIES)
def test_random_backbones_follow_their_seed(configs: Configs, family: str) -> None:
    state = torch.get_rng_state()
    first, again, other = (from_config(family, configs[family], seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state), "the caller's random state moved"
    assert torch.equal(_hidden(first), _hidden(again))
    assert not torch.equal(_hidden(first), _hidden(other))
    assert first.resolved.digest == again.resolved.digest != other.resolved.digest
