from pathlib import Path

import jinja2
import pytest

from liftray import __version__
from liftray.reporting import pages, pictures
from liftray.reporting.pictures import Picture

_VALUES = {
    "title": "A <title>",
    "answer": ["a & b"],
    "facts": {"data": "<b>mine</b>"},
    "header": ["trial", "Q3"],
    "rows": [["1", "70.00"], ["2", "60.00"]],
    "left": [0],
    "best": "1",
    "caveat": "None.",
}


@pytest.fixture
def picture(tmp_path: Path) -> Picture:
    figure, axes = pictures.new_figure(2, 1)
    axes.plot([0, 1], [0, 1])
    pictures.clean(axes)
    pictures.title(axes, "price in $ and $")
    pictures.save(figure, tmp_path / "plot.png")
    return Picture(tmp_path / "plot.png", "A line.", "A line that rises.")


def test_a_page_escapes_its_texts_and_refers_to_nothing_outside(picture: Picture) -> None:
    page = pages.render("search/search_report.html.jinja", picture=picture, **_VALUES)
    assert "<title>A &lt;title&gt;</title>" in page
    assert "&lt;b&gt;mine" in page
    assert "http" not in page
    assert 'src="data:image/png;base64,' in page
    assert 'alt="A line that rises."' in page
    assert page.count('class="best"') == 1
    assert page.rstrip().endswith("</html>")
    assert f"LiftRay {__version__}" in page


def test_an_unknown_name_in_a_template_is_an_error(picture: Picture) -> None:
    values = {name: value for name, value in _VALUES.items() if name != "caveat"}
    with pytest.raises(jinja2.UndefinedError, match="caveat"):
        pages.render("search/search_report.html.jinja", picture=picture, **values)


def test_a_picture_can_be_drawn_twice_with_the_same_bytes(picture: Picture, tmp_path: Path) -> None:
    figure, axes = pictures.new_figure(2, 1)
    axes.plot([0, 1], [0, 1])
    pictures.clean(axes)
    pictures.title(axes, "price in $ and $")
    pictures.save(figure, tmp_path / "again.png")
    assert (tmp_path / "again.png").read_bytes() == picture.file.read_bytes()
