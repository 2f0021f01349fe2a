"""From a chart to the coordinates of its SVG: all arithmetic is here, the templates only write it down."""

from __future__ import annotations

from decimal import Decimal

import msgspec

from commonroom.portal import words
from commonroom.portal.charts.model import Chart, Series
from commonroom.portal.charts.scale import Scale, scale

WIDE = 720
NARROW = 340
# Room for the numbers of the y axis, for the labels of the x axis, and above the top grid line.
LEFT, BOTTOM, TOP = 56, 34, 14
# Room at the right for the names of the series, when there are several.
NAMES = {WIDE: 150, NARROW: 12}
HEIGHT = {WIDE: 320, NARROW: 250}
LABEL_WIDTH = 66
NAME_HEIGHT = 18
# Government Analysis Function palette; orange is never used for text.
COLOURS = ("#12436D", "#28A197", "#801650")
NAME_COLOURS = ("#12436D", "#1A6B64", "#801650")
DASHES = ("", "7 4", "2 3")
MARKERS = ("circle", "square", "diamond")
# More points than this would be a row of touching markers.
MOST_MARKERS = {WIDE: 45, NARROW: 20}


class Tick(msgspec.Struct, frozen=True):
    """A mark on an axis: its place and what is written there."""

    at: float
    label: str


class Point(msgspec.Struct, frozen=True):
    """A figure's place, and the words that its tooltip says."""

    x: float
    y: float
    words: str


class Line(msgspec.Struct, frozen=True):
    """One series drawn: paths (broken where there is no figure), markers, and its name at the right or in the key."""

    name: str
    colour: str
    name_colour: str
    dash: str
    marker: str
    paths: tuple[str, ...]
    points: tuple[Point, ...]
    show_markers: bool
    name_y: float


class Bar(msgspec.Struct, frozen=True):
    """One bar."""

    x: float
    y: float
    width: float
    height: float
    words: str


class Drawing(msgspec.Struct, frozen=True):
    """A chart at one width, in pixels."""

    chart: Chart
    width: int
    height: int
    left: float
    right: float
    top: float
    bottom: float
    y_ticks: tuple[Tick, ...]
    x_ticks: tuple[Tick, ...]
    lines: tuple[Line, ...]
    bars: tuple[Bar, ...]
    names_at_right: bool
    id: str


def draw(chart: Chart, width: int) -> Drawing:
    """The chart at `width` (WIDE or NARROW)."""
    several = len(chart.series) > 1
    left, top = LEFT, TOP
    right = width - (NAMES[width] if several else 16)
    bottom = HEIGHT[width] - BOTTOM
    axis = scale(_values(chart), whole=chart.unit == "" and _all_whole(chart), from_zero=True)
    xs = _places(chart, left, right)
    return Drawing(
        chart=chart,
        width=width,
        height=HEIGHT[width],
        left=left,
        right=right,
        top=top,
        bottom=bottom,
        y_ticks=tuple(
            Tick(_y(axis, tick, top, bottom), _tick_label(tick, chart.unit)) for tick in axis.ticks
        ),
        x_ticks=_x_ticks(chart.labels, xs, right - left),
        lines=_lines(chart, width, axis, xs, top, bottom) if chart.kind == "line" else (),
        bars=_bars(chart, axis, xs, (right - left), top, bottom) if chart.kind == "bar" else (),
        names_at_right=several and width == WIDE,
        id=f"{chart.name}-{width}",
    )


def _values(chart: Chart) -> list[float]:
    return [float(value) for series in chart.series for value in series.values if value is not None]


def _all_whole(chart: Chart) -> bool:
    return all(isinstance(value, int) or value == value.to_integral_value() for value in _figures(chart))


def _figures(chart: Chart) -> list[Decimal | int]:
    return [value for series in chart.series for value in series.values if value is not None]


def _places(chart: Chart, left: float, right: float) -> list[float]:
    """The x of each label: the middle of equal slots, so that first and last keep a distance from the edges."""
    slot = (right - left) / max(len(chart.labels), 1)
    return [round(left + slot * (index + 0.5), 1) for index in range(len(chart.labels))]


def _y(axis: Scale, value: Decimal | int | float, top: float, bottom: float) -> float:
    return round(bottom - axis.share(value) * (bottom - top), 1)


def _tick_label(tick: float, unit: str) -> str:
    text = f"{tick:,.0f}" if tick == round(tick) else f"{tick:,.10f}".rstrip("0")
    return f"{text}{unit}"


def _x_ticks(labels: tuple[str, ...], xs: list[float], width: float) -> tuple[Tick, ...]:
    """Every label, or every second, third... so that they do not touch; the last one always stands."""
    if not labels:
        return ()
    every = -(-len(labels) * LABEL_WIDTH // max(int(width), 1)) or 1
    last = len(labels) - 1
    return tuple(Tick(xs[index], labels[index]) for index in range(last % every, len(labels), every))


def _lines(
    chart: Chart, width: int, axis: Scale, xs: list[float], top: float, bottom: float
) -> tuple[Line, ...]:
    placed = [_points(chart, series, axis, xs, top, bottom) for series in chart.series]
    ends = [next((point.y for point in reversed(points) if point), bottom) for points in placed]
    names = spread(ends, NAME_HEIGHT, top, bottom)
    return tuple(
        Line(
            name=series.name,
            colour=COLOURS[index % len(COLOURS)],
            name_colour=NAME_COLOURS[index % len(COLOURS)],
            dash=DASHES[index % len(DASHES)],
            marker=MARKERS[index % len(MARKERS)],
            paths=_paths(placed[index]),
            points=tuple(point for point in placed[index] if point),
            show_markers=len(xs) <= MOST_MARKERS[width],
            name_y=names[index],
        )
        for index, series in enumerate(chart.series)
    )


def _points(
    chart: Chart, series: Series, axis: Scale, xs: list[float], top: float, bottom: float
) -> list[Point | None]:
    return [
        None if value is None else Point(x, _y(axis, value, top, bottom), _said(chart, series, label, value))
        for x, label, value in zip(xs, chart.labels, series.values, strict=True)
    ]


def _said(chart: Chart, series: Series, label: str, value: Decimal | int) -> str:
    return f"{series.name}, {label}: {words.percent(value) if chart.unit == '%' else words.number(value)}"


def _paths(points: list[Point | None]) -> tuple[str, ...]:
    """One path for each unbroken run: a missing or suppressed figure leaves a gap, it is not bridged."""
    runs: list[list[Point]] = [[]]
    for point in points:
        if point is None:
            runs.append([])
        else:
            runs[-1].append(point)
    return tuple("M" + " L".join(f"{point.x} {point.y}" for point in run) for run in runs if run)


def spread(wanted: list[float], gap: float, low: float, high: float) -> list[float]:
    """Places near `wanted` that are at least `gap` apart and, if they fit, between `low` and `high`."""
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    places = list(wanted)
    floor = low
    for index in order:
        places[index] = floor = max(places[index], floor)
        floor += gap
    ceiling = high
    for index in reversed(order):
        places[index] = ceiling = min(places[index], ceiling)
        ceiling -= gap
    return places


def _bars(
    chart: Chart, axis: Scale, xs: list[float], width: float, top: float, bottom: float
) -> tuple[Bar, ...]:
    series = chart.series[0]
    thick = round(min(width / max(len(xs), 1) * 0.72, 48), 1)
    bars = []
    for x, label, value in zip(xs, chart.labels, series.values, strict=True):
        if value is not None:
            y, foot = sorted((_y(axis, value, top, bottom), _y(axis, 0, top, bottom)))
            bars.append(
                Bar(
                    round(x - thick / 2, 1),
                    y,
                    thick,
                    round(foot - y, 1),
                    _said(chart, series, label, value),
                )
            )
    return tuple(bars)
