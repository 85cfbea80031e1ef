"""`report.html`: an evaluation as one self-contained file, to be mailed or put in an archive.

Invariant: no script, no address outside the file, and every text from outside is escaped. Flow: evaluate -> [this].
"""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from liftray import __version__, files
from liftray.evaluate.report import rows

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{{ title }}</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 72rem; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .8rem; text-align: right; border-bottom: 1px solid #e4e4e4; white-space: nowrap; }
th:nth-child(-n+2), td:nth-child(-n+2) { text-align: left; }
tr.model td { font-weight: 600; }
img { max-width: 100%; }
figure { display: inline-block; margin: 1rem 1rem 1rem 0; max-width: 30rem; }
.note { color: #666; }
</style></head><body>
<h1>{{ title }}</h1>
<p class="note">LiftRay {{ version }}; model: {{ model }}. Scores in per cent, ± half of the 95 % bootstrap interval
over chains.{% if leaky %} † more than a few chains of the set stand in the training data.{% endif %}</p>
<table><thead><tr>{% for name in header %}<th>{{ name }}</th>{% endfor %}</tr></thead><tbody>
{% for group in groups %}{% for row in group %}<tr{% if loop.first %} class="model"{% endif %}>
{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>{% endfor %}{% endfor %}
</tbody></table>
{% for name, scores in paired.items() %}<h2>{{ name }}: difference to the other model, same chains</h2>
<table><thead><tr><th>score</th><th></th><th>difference</th><th>95 % interval</th><th>p</th></tr></thead><tbody>
{% for key, row in scores.items() %}<tr><td>{{ key }}</td><td></td><td>{{ "%+.2f"|format(100 * row.difference) }}</td>
<td>{% if row.ci95 %}{{ "%+.2f"|format(100 * row.ci95[0]) }} to {{ "%+.2f"|format(100 * row.ci95[1]) }}{% endif %}</td>
<td>{{ "%.3g"|format(row.p) }}</td></tr>{% endfor %}</tbody></table>{% endfor %}
{% for name, image in pictures %}<figure><img alt="{{ name }}" src="data:image/png;base64,{{ image }}"></figure>
{% endfor %}
</body></html>
"""


def write(
    path: Path,
    metrics: Mapping[str, Any],
    *,
    model: str,
    pictures: Sequence[Path],
    paired: Mapping[str, Any] | None = None,
    leakage: Mapping[str, Any] | None = None,
) -> None:
    """Write the page.

    Args:
        path: The HTML file.
        metrics: Set -> scores.
        model: What the model is called.
        pictures: PNG files to put in.
        paired: Set -> score -> difference, interval and p, where two models were compared.
        leakage: Set -> leakage.
    """
    from jinja2 import Environment

    header, groups = rows(metrics, {}, leakage or {}, "model")
    page = Environment(autoescape=True).from_string(_PAGE)
    text = page.render(
        title=f"Secondary structure: {', '.join(metrics)}",
        version=__version__,
        model=model,
        header=header,
        groups=groups,
        leaky=any(found["leaky"] for found in (leakage or {}).values()),
        paired=paired or {},
        pictures=[
            (picture.stem, base64.b64encode(picture.read_bytes()).decode("ascii")) for picture in pictures
        ],
    )
    files.write_text(path, text)
