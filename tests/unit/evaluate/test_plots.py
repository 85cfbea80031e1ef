import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from matplotlib.image import imread

from liftray.errors import DataError
from liftray.evaluate.bootstrap import score_set
from liftray.evaluate.cartoon import COIL, HELIX, STRAND
from liftray.evaluate.plots import chain_cartoon, chain_histogram, confusion_matrix, learning_curve

HISTORY = [{"epoch": n, "loss": 1 / n, "q3": 0.7 + 0.02 * n} for n in (1, 2, 3)]

NOT_TEX = r"set $\no_such_command$"


def colours(path):
    """Colours that cover pixels of a PNG, as hex, most frequent first."""
    pixels = (imread(path)[..., :3] * 255).round().astype(int).reshape(-1, 3)
    values, counts = np.unique(pixels, axis=0, return_counts=True)
    return ["#{:02X}{:02X}{:02X}".format(*values[at]) for at in np.argsort(-counts)]


@pytest.fixture(params=["png", "svg"])
def draw(request, tmp_path):
    """Draw into a file of each format and check that it is a picture of that format."""

    def check(function, *args, **options):
        path = tmp_path / f"plot.{request.param}"
        function(*args, path, **options)
        if request.param == "svg":
            assert ElementTree.parse(path).getroot().tag.endswith("svg")
        else:
            assert len(colours(path)) > 3
            first = path.read_bytes()
            function(*args, path, **options)
            assert first == path.read_bytes()

    return check


def test_learning_curve(draw):
    draw(learning_curve, HISTORY)
    draw(learning_curve, HISTORY[:1])


@pytest.mark.parametrize("task", ["ss3", "ss9"])
def test_confusion_matrix(draw, random_set, task):
    draw(confusion_matrix, score_set(random_set(task)), title=NOT_TEX)


def test_histogram_leaves_unlabelled_chains_out(draw):
    draw(chain_histogram, [0.7, 0.8, np.nan, 0.05], title=NOT_TEX)


def test_cartoon_shows_each_kind_of_structure(tmp_path):
    def seen(ss):
        path = tmp_path / "chain.png"
        chain_cartoon("A" * 30, None, ss, np.full(30, 0.9), path, title=NOT_TEX)
        return colours(path)

    amounts = {
        colour: [seen(letter * 30).index(colour) for letter in "HEC"] for colour in (HELIX, STRAND, COIL)
    }
    for place, ranks in enumerate(amounts.values()):  # the legend shows all three; the drawn one covers more
        assert np.argmin(ranks) == place


@pytest.mark.parametrize("length", [1, 60, 61, 130])
def test_cartoon_of_any_length(draw, length):
    ss = ("HHHHEEEELLLLSTGIBP" * length)[:length]
    true = ("X" + ss)[:length]
    draw(lambda *a, **k: chain_cartoon("A" * length, true, ss, np.linspace(0, 1, length), *a, **k))


def test_what_cannot_be_drawn_is_refused(tmp_path):
    path = tmp_path / "none.png"
    with pytest.raises(DataError, match="true track of 1 residues for a sequence of 2"):
        chain_cartoon("AA", "H", "HH", [1, 1], path)
    with pytest.raises(DataError, match="empty chain"):
        chain_cartoon("", None, "", [], path)
    with pytest.raises(DataError, match="no epoch"):
        learning_curve([], path)
    with pytest.raises(DataError, match="no scored chain"):
        chain_histogram([np.nan], path)
    assert not path.exists()
