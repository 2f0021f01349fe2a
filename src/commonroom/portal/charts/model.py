"""What a chart shows, before it has a size."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

import msgspec


class Series(msgspec.Struct, frozen=True):
    """One line or set of bars; `values` run along the chart's labels, None where there is no figure to show."""

    name: str
    values: tuple[Decimal | int | None, ...]


class Chart(msgspec.Struct, frozen=True):
    """A chart: `labels` along the x axis (short) and one or more series of the same length.

    `title` names it for those who cannot see it, `description` says what it shows in a sentence; `unit` is '%' or ''.
    """

    name: str
    title: str
    description: str
    labels: tuple[str, ...]
    series: tuple[Series, ...]
    kind: Literal["line", "bar"] = "line"
    unit: Literal["%", ""] = ""

    @property
    def has_figures(self) -> bool:
        """Whether there is anything to draw."""
        return any(value is not None for series in self.series for value in series.values)
