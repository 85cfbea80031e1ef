"""cached == uncached: a run that reads its frozen prefix has the losses and gradients of one that computes it.

Tolerances. On a CPU, stored in the backbone's own precision: none, whatever the batch. Stored as bfloat16 under a
float32 backbone: 2 % of the gradient's norm (8 bits); as int8: 5 % (8 bits for the largest of a token's numbers).
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch

from liftray.adapt import tagger as taggers
from liftray.adapt.tagger import Tagger, TaggerSettings
from liftray.backbone import model as backbones
from liftray.backbone.sources import resolve
from liftray.cache import fill
from liftray.cache.actor import FillJob, PrefixActor
from liftray.cache.prefix import StoredPrefix
from liftray.config import Settings
from liftray.data.batch import TRAIN, VALID
from liftray.data.feed import Feed, FeedSpec
from liftray.train.step import Inputs
from tests.parts import tiny

_CPU = torch.device("cpu")
_METHODS = ("adapter", "full", "features")
_Case = tuple[Tagger, FeedSpec, StoredPrefix, Settings]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = tmp_path_factory.mktemp("cached")
    made = {"train": tiny.dataset(root / "t", tiny.chains([20, 70, 33, 150, 1, 48], seed=1))}
    made["valid"] = tiny.dataset(root / "v", tiny.chains([40, 25], seed=2))
    return made | {family: tiny.write_backbone(root / family, family) for family in tiny.FAMILIES}


def _case(
    data: dict[str, str], root: Path, family: str, cut: int, stored: str = "auto", **more: Any
) -> _Case:
    options = {"adapter__skip_layers": cut, "adapter__reduction_factor": 8, "data__max_length": 120}
    chosen = tiny.settings(
        **{**options, "train__tokens_per_batch": 256, "cache__dir": str(root), "cache__dtype": stored, **more}
    )
    resolved = resolve([data[family]])
    spec = tiny.feed_spec({"t": data["train"]}, {"v": data["valid"]}, chosen, data[family])
    model = taggers.build(
        backbones.load(resolved, dtype=chosen.backbone.dtype), TaggerSettings.of(chosen), seed=0
    )
    key = fill.key_of(resolved, model.cut, chosen.backbone.dtype, chosen.cache, use_gpu=False)
    return tiny.move(model), spec, fill.place(spec, key, chosen.cache), chosen


def _fill(prefixes: list[StoredPrefix], spec: FeedSpec, source: str) -> None:
    """What the Ray Data job does, in this process."""
    splits = {TRAIN: spec.train, VALID: spec.valid}
    first = prefixes[0]
    job = FillJob(source, resolve([source]).digest, first.key, first.root, splits)
    actor = PrefixActor(job)
    missing = {one.block: set(one.all_ids()) for one in prefixes}
    for row in fill.chunks(job, first.ids, missing, actors=1):
        actor({name: [value] for name, value in row.items()})


def _passes(model: Tagger, spec: FeedSpec, stored: str | None) -> Iterator[tuple[float, torch.Tensor]]:
    """Loss and gradient of each batch of an epoch on three ranks, empty turns included; dropout as seeded."""
    model.train()
    sum_loss = tiny.loss(tiny.settings())
    for rank in range(3):
        for number, batch in enumerate(Feed(spec, rank, 3).local_batches(1)):
            torch.manual_seed(number)
            inputs = Inputs.of(batch, _CPU, stored)
            loss = sum_loss(model(*inputs.model), inputs.labels_T)
            model.zero_grad()
            loss.backward()
            parts = [parameter.grad.flatten() for parameter in model.trained().values()]
            yield loss.item(), torch.cat(parts)


def _with(spec: FeedSpec, prefix: StoredPrefix) -> FeedSpec:
    return replace(spec, prefix=prefix)


@pytest.mark.parametrize(
    ("family", "dtype", "head", "method"),
    [
        *product(tiny.FAMILIES, ("float32", "bfloat16"), ("linear", "conv"), _METHODS),
        # A mix of blocks has a cut of its own; other heads do not change the cut.
        *product(tiny.FAMILIES, ("float32",), ("mixed",), _METHODS),
        ("esm", "bfloat16", "metric", "adapter"),
        ("t5", "bfloat16", "lstm", "adapter"),
    ],
)
def test_cached_is_uncached_to_the_bit(
    data: dict[str, str], tmp_path: Path, family: str, dtype: str, head: str, method: str
) -> None:
    mixed = head == "mixed"
    options = {"head__kind": "linear" if mixed else head, "head__mix_blocks": mixed}
    options |= {"method": method, "backbone__dtype": dtype}
    model, spec, prefix, _ = _case(data, tmp_path, family, 1, **options)
    _fill([prefix], spec, data[family])
    uncached = list(_passes(model, spec, None))
    above = backbones.load(resolve([data[family]]), dtype=dtype, first_block=model.cut.entry)
    suffix = taggers.build(above, model.settings, seed=5)
    suffix.load_state_dict(model.trained(), strict=False)
    cached = list(_passes(suffix, _with(spec, prefix), prefix.stored))
    assert len(cached) == len(uncached) > 3
    for (loss, gradient), (other_loss, other_gradient) in zip(cached, uncached, strict=True):
        assert loss == other_loss
        assert torch.equal(gradient, other_gradient)


@pytest.mark.parametrize(("stored", "share"), [("bfloat16", 0.02), ("int8", 0.05)])
@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_a_rounded_cache_is_within_the_tolerance(
    data: dict[str, str], tmp_path: Path, family: str, stored: str, share: float
) -> None:
    model, spec, prefix, _ = _case(data, tmp_path, family, 2, stored)
    _fill([prefix], spec, data[family])
    uncached = list(_passes(model, spec, None))
    cached = list(_passes(model, _with(spec, prefix), prefix.stored))
    gradients = [torch.cat([gradient for _, gradient in passes]) for passes in (cached, uncached)]
    assert (gradients[0] - gradients[1]).norm() < share * gradients[1].norm()
    assert not torch.equal(*gradients), "nothing was rounded: the cache was not read"


@pytest.mark.parametrize("stored", ["auto", "bfloat16"])
@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_a_deeper_cut_has_the_same_bytes_however_the_cache_was_filled(
    data: dict[str, str], tmp_path: Path, family: str, stored: str
) -> None:
    """Also with rounded storage: no deeper cut is computed from rounded states."""
    found = {}
    for name, jobs in (("direct", [[2]]), ("stepwise", [[1], [2]]), ("together", [[1, 2]])):
        for cuts in jobs:
            cases = [_case(data, tmp_path / name, family, cut, stored) for cut in cuts]
            _, spec, prefix, _ = cases[-1]
            _fill([each[2] for each in cases], spec, data[family])
        found[name] = [prefix.read(TRAIN, item).tobytes() for item in range(len(spec.train.windows.row))]
    assert found["direct"] == found["stepwise"] == found["together"]
