"""HTML pages from templates: self-contained files that can be mailed, printed or archived.

Invariant: every text from outside is escaped, an unknown name in a template is an error, and a page refers to nothing
outside itself. The same values give the same bytes. Flow: a report's values -> [this] -> HTML text.

All templates extend `reporting/page.html.jinja`, which holds the style they share. They are named by their path inside
the package, such as `search/search_report.html.jinja`.
"""

from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

from liftray import __version__
from liftray.reporting import pictures, tables

if TYPE_CHECKING:
    from jinja2 import Environment


def render(template: str, **values: Any) -> str:
    """Fill a template.

    Args:
        template: Path of the template inside the package.
        values: What the template shows. `version` is added.

    Returns:
        The page. Templates have the filters `embedded` (PNG file as a data URI), `percent`, `points` and `p_value`.
    """
    return _environment().get_template(template).render(version=__version__, **values)


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=FunctionLoader(_source),
    )
    environment.filters |= {
        "embedded": pictures.embedded,
        "percent": tables.percent,
        "points": tables.points,
        "p_value": tables.p_value,
    }
    return environment


def _source(template: str) -> str:
    return resources.files("liftray").joinpath(template).read_text(encoding="utf-8")
