import numpy as np
from matplotlib.image import imread

from liftray.data.labels import IGNORE_INDEX
from liftray.evaluate import gallery
from liftray.evaluate.chains import PredictedSet, ScoredChain


def chain(name, length, right):
    """A helix of which the first residues are predicted right."""
    classes = np.where(np.arange(length) < right, 2, 0)
    return ScoredChain(name, "A" * length, np.full(length, 2), np.eye(3, dtype=np.float32)[classes])


def test_the_best_and_the_worst_are_drawn_each_once(tmp_path):
    chains = [chain(name, 40, right) for name, right in zip("dacbe", (10, 40, 20, 40, 30), strict=True)]
    short = chain("short", gallery.MIN_LABELLED - 1, 0)
    blank = ScoredChain("blank", "A" * 40, np.full(40, IGNORE_INDEX), np.full((40, 3), 1 / 3, np.float32))
    drawn = gallery.draw(PredictedSet([*chains, short, blank], "ss3"), tmp_path, "set", count=2)
    shown = [(row.rank, row.id, row.q3) for row in drawn]
    assert shown == [("best", "a", 1.0), ("best", "b", 1.0), ("worst", "d", 0.25), ("worst", "c", 0.5)]
    assert len({row.file for row in drawn}) == 4
    for row in drawn:
        assert imread(row.file).size > 1000
    assert drawn[2].caption == "d: Q3 25.0 % of 40 labelled residues (40 residues)"


def test_few_chains_are_not_drawn_twice(tmp_path):
    for count, expected in ((1, ["best"]), (2, ["best", "worst"]), (3, ["best", "best", "worst"])):
        chains = [chain(str(number), 40, number) for number in range(count)]
        drawn = gallery.draw(PredictedSet(chains, "ss3"), tmp_path, "few", count=2)
        assert [row.rank for row in drawn] == expected
        assert len({row.id for row in drawn}) == count


def test_short_chains_are_drawn_where_there_are_no_others(tmp_path):
    drawn = gallery.draw(PredictedSet([chain("short", 5, 3)], "ss3"), tmp_path, "short")
    assert [row.id for row in drawn] == ["short"]


def test_of_a_chain_too_long_the_first_residues_are_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr(gallery, "MAX_DRAWN", 60)
    (drawn,) = gallery.draw(PredictedSet([chain("long", 400, 300)], "ss3"), tmp_path, "long")
    (whole,) = gallery.draw(PredictedSet([chain("whole", 60, 45)], "ss3"), tmp_path, "whole")
    assert drawn.caption == "long: Q3 75.0 % of 400 labelled residues (400 residues, the first 60 drawn)"
    assert imread(drawn.file).shape == imread(whole.file).shape
