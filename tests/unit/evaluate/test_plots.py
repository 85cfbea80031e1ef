import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.image import imread

from liftray.errors import DataError
from liftray.evaluate.cartoon import COIL, HELIX, STRAND
from liftray.evaluate.chains import PredictedSet
from liftray.evaluate.plots import (
    chain_cartoon,
    chain_histogram,
    chain_scatter,
    confusion_matrix,
    learning_curve,
    reliability_curve,
)
from liftray.evaluate.scores import score_set

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


def test_reliability_curve(draw, random_set):
    draw(reliability_curve, score_set(random_set("ss9")), title=NOT_TEX)


def test_a_constant_prediction_has_a_reliability_of_one_point(draw, random_set):
    predicted = random_set("ss3")
    row = np.array([0.5, 0.3, 0.2], np.float32)
    constant = [replace(c, probabilities_LC=np.tile(row, (len(c.sequence), 1))) for c in predicted.chains]
    draw(reliability_curve, score_set(PredictedSet(constant, "ss3")))


def test_scatter_leaves_unlabelled_chains_out(draw):
    draw(
        lambda *a, **k: chain_scatter([0.5, 0.6, np.nan, 0.7], [0.6, 0.5, 0.9, 0.7], *a, **k),
        x_name=NOT_TEX,
        y_name="a/very/long/path/to/some/model/bundle",
    )


def test_scatter_shows_on_which_side_of_the_line_a_chain_is(tmp_path):
    def inked(x, y):
        """Pixels rather blue, and rather orange."""
        chain_scatter(x, y, tmp_path / "scatter.png", x_name="x")
        pixels = imread(tmp_path / "scatter.png")
        redness = pixels[..., 0] - pixels[..., 2]
        return int((redness < -0.3).sum()), int((redness > 0.3).sum())

    many = np.linspace(0.3, 0.7, 200)
    blue, orange = inked(many, many + 0.2)
    assert blue > 3 * orange
    blue, orange = inked(many + 0.2, many)
    assert orange > 3 * blue


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
    with pytest.raises(DataError, match="no chain with two scores"):
        chain_scatter([np.nan, 0.5], [0.5, np.nan], path, x_name="x")
    assert not path.exists()
