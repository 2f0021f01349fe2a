"""Charts as hand-written SVG: a line chart and a bar chart, each in two widths.

A chart is never alone: a sentence stands above it and the table of its figures below. Series differ by dash, marker and
a label at their end, not by colour alone.
"""

from commonroom.portal.charts.draw import NARROW, WIDE, Drawing, draw
from commonroom.portal.charts.model import Chart, Series

__all__ = ["NARROW", "WIDE", "Chart", "Drawing", "Series", "draw"]
