"""The Jinja environment: our templates, the GOV.UK macros, and the words and charts they use."""

from __future__ import annotations

from pathlib import Path

from jinja2 import ChoiceLoader, Environment, FileSystemLoader, PackageLoader, PrefixLoader
from markupsafe import Markup

from commonroom.portal import words
from commonroom.portal.charts import NARROW, WIDE, Chart, draw
from commonroom.portal.tables import SYMBOLS, Link, Withheld, shown

HERE = Path(__file__).parent


def environment() -> Environment:
    """Templates with every value escaped."""
    made = Environment(
        loader=ChoiceLoader(
            [
                FileSystemLoader(HERE / "templates"),
                PrefixLoader(
                    {
                        "govuk_frontend_jinja": PackageLoader("govuk_frontend_jinja"),
                        "charts": FileSystemLoader(HERE / "charts"),
                    }
                ),
            ]
        ),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )

    def chart_svg(chart: Chart, width: int) -> Markup:
        """A chart as SVG, safe because the template escapes what it writes."""
        return Markup(made.get_template("charts/chart.svg").render(drawing=draw(chart, width)))  # noqa: S704

    made.globals.update(
        chart_svg=chart_svg, WIDE=WIDE, NARROW=NARROW, words=words, as_list=list, SYMBOLS=SYMBOLS
    )
    made.filters.update(shown=shown)
    made.tests.update(
        link=lambda cell: isinstance(cell, Link), withheld=lambda cell: isinstance(cell, Withheld)
    )
    return made
