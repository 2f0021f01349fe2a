"""What a chart draws: every figure in its place, gaps where figures are withheld, labels that do not touch."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from commonroom.portal.charts import NARROW, WIDE, Chart, Series, draw
from commonroom.portal.charts.draw import NAME_HEIGHT, spread
from commonroom.portal.charts.scale import scale
from commonroom.portal.rendering import environment

FIGURES = st.lists(st.none() | st.decimals(min_value=-100, max_value=100, places=1), min_size=1, max_size=60)


def line(*values: Decimal | None, name: str = "This school") -> Chart:
    labels = tuple(f"{index} Sep" for index in range(len(values)))
    return Chart("absence", "A title", "A sentence.", labels, (Series(name, values),), unit="%")


def svg(chart: Chart, width: int = WIDE) -> ElementTree.Element:
    made = environment().get_template("charts/chart.svg").render(drawing=draw(chart, width))
    return ElementTree.fromstring(made)  # noqa: S314 - our own drawing


@pytest.mark.parametrize("width", [WIDE, NARROW])
@given(values=FIGURES)
def test_every_figure_lies_inside_the_frame(width: int, values: list[Decimal | None]) -> None:
    drawing = draw(line(*values), width)
    for point in drawing.lines[0].points:
        assert drawing.left <= point.x <= drawing.right
        assert drawing.top <= point.y <= drawing.bottom
    assert len(drawing.lines[0].points) == sum(value is not None for value in values)


def test_a_withheld_figure_leaves_a_gap_that_no_line_bridges() -> None:
    drawing = draw(line(Decimal(5), Decimal(6), None, Decimal(7), Decimal(8)), WIDE)
    assert len(drawing.lines[0].paths) == 2


@given(values=FIGURES, width=st.sampled_from([WIDE, NARROW]))
def test_labels_of_the_x_axis_never_touch_and_the_last_one_stands(
    values: list[Decimal | None], width: int
) -> None:
    ticks = draw(line(*values), width).x_ticks
    assert all(right.at - left.at >= 60 for left, right in pairwise(ticks))
    assert ticks[-1].label == f"{len(values) - 1} Sep"


@given(st.lists(st.floats(min_value=-1e7, max_value=-1e-6), min_size=1, max_size=30))
def test_the_axis_reaches_below_nought_where_values_do(values: list[float]) -> None:
    axis = scale([*values, 1.0])
    assert axis.low <= min(values)
    assert 0 in axis.ticks
    assert not any(str(tick) == "-0.0" for tick in axis.ticks)


@given(st.lists(st.floats(min_value=0, max_value=1e7), min_size=1, max_size=30))
def test_the_axis_holds_every_value_on_round_steps(values: list[float]) -> None:
    axis = scale(values)
    assert axis.low == 0
    assert axis.high >= max(values)
    assert 2 <= len(axis.ticks) <= 12


def test_counts_have_no_half_pupils_on_their_axis() -> None:
    assert scale([0, 1, 2], whole=True).ticks == (0, 1, 2)


@given(st.lists(st.floats(min_value=14, max_value=286), min_size=1, max_size=5))
def test_names_of_lines_are_kept_apart(wanted: list[float]) -> None:
    places = sorted(spread(wanted, NAME_HEIGHT, 14, 286))
    assert all(lower - upper >= NAME_HEIGHT - 1e-6 for upper, lower in pairwise(places))


def test_a_chart_names_itself_for_those_who_cannot_see_it() -> None:
    picture = svg(line(Decimal(5), Decimal(6), name="<Smith & Sons>"))
    space = "{http://www.w3.org/2000/svg}"
    ids = str(picture.get("aria-labelledby")).split()
    title, description = picture.find(f"{space}title"), picture.find(f"{space}desc")
    assert picture.get("role") == "img"
    assert title is not None
    assert description is not None
    assert ids == [title.get("id"), description.get("id")]
    assert (title.text, description.text) == ("A title", "A sentence.")


def test_a_chart_has_no_inline_style_for_the_policy_to_refuse() -> None:
    assert not [one for one in svg(line(Decimal(5), Decimal(6))).iter() if "style" in one.attrib]
