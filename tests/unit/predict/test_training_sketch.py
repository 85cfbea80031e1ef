"""What a bundle keeps of its training chains."""

from pathlib import Path

import numpy as np
import pytest

from liftray.errors import BundleError
from liftray.evaluate.leakage import leakage, leakage_by_sketch
from liftray.predict import training_sketch
from liftray.predict.training_sketch import FILE, load, sketch

RESIDUES = "ACDEFGHIKLMNPQRSTVWY"


def chain(length: int, seed: int) -> str:
    return "".join(np.random.default_rng(seed).choice(list(RESIDUES), size=length))


def cases(count: int) -> tuple[list[str], list[tuple[str, str]]]:
    """Training chains, and test chains: identical, a fragment, a mutant, another, a short one."""
    train = [chain(100, seed) for seed in range(count)] + ["MKT", "MKT"]
    mutant = train[2][:50] + ("W" if train[2][50] != "W" else "A") + train[2][51:]
    test = [("same", train[0]), ("part", train[1][10:80]), ("mutant", mutant), ("other", chain(100, 10**6))]
    return train, [*test, ("short", "MKT"), ("unknown", "MKV")]


def test_as_exact_as_the_chains_themselves_while_all_is_kept(tmp_path: Path) -> None:
    train, test = cases(5)
    made = sketch(train)
    assert made.scale == 1
    made.save(tmp_path / FILE)
    assert leakage_by_sketch(load(tmp_path), test) == leakage(train, test)


def test_a_larger_set_keeps_a_part_and_finds_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_sketch, "MOST", 4000)
    train, test = cases(160)
    made = sketch(train)
    assert made.scale == 4
    made.save(tmp_path / FILE)
    assert (tmp_path / FILE).stat().st_size < 4 * 4000 + 16 * 161 + 8 * 161 + 1000
    assert leakage_by_sketch(load(tmp_path), test) == leakage(train, test)


def test_members_of_an_ensemble_count_together(tmp_path: Path) -> None:
    train, test = cases(5)
    for number, part in enumerate((train[:1], train[1:]), 1):
        (tmp_path / f"member-{number}").mkdir()
        sketch(part).save(tmp_path / f"member-{number}" / FILE)
    assert leakage_by_sketch(load(tmp_path), test) == leakage(train, test)


def test_a_bundle_of_before_has_none(tmp_path: Path) -> None:
    assert load(tmp_path) == ()


@pytest.mark.parametrize("keep", [0, 9, 120, -8])
def test_damage_is_an_error(tmp_path: Path, keep: int) -> None:
    sketch(cases(3)[0]).save(tmp_path / FILE)
    (tmp_path / FILE).write_bytes((tmp_path / FILE).read_bytes()[:keep])
    with pytest.raises(BundleError, match="no sketch of training chains"):
        load(tmp_path)


def test_no_chain(tmp_path: Path) -> None:
    sketch([]).save(tmp_path / FILE)
    (empty,) = load(tmp_path)
    assert not empty.holds("MKT")
    assert leakage_by_sketch([empty], [("a", chain(30, 1))])["share"] == 0.0
