"""Disclosure control: the one place where whole numbers become what may be shown.

A figure that could tell on a person is replaced, with its parts, by the symbol `c`: never by 0. Rounding is half up. A
rate of nothing is `z`, not applicable; a count of which nothing is known is `x`, not available. Hiding further cells,
so that totals do not give the first ones away, is not done yet.
"""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

import msgspec

from commonroom.warehouse.measures import Measure

CONFIDENTIAL, NOT_APPLICABLE, NOT_AVAILABLE = "c", "z", "x"


class Shown(msgspec.Struct, frozen=True):
    """What may be shown of one figure: a value with its parts, or a symbol."""

    numerator: int | None
    denominator: int | None
    value: Decimal | None
    symbol: str | None


def show(measure: Measure, numerator: int, denominator: int | None, units: int) -> Shown:
    """What may be shown of a figure over `units` units."""
    rule = measure.suppression
    if denominator == 0:
        return Shown(None, None, None, NOT_APPLICABLE)
    if 0 < units < rule.units_below or 0 < numerator < rule.numerator_below:
        return Shown(None, None, None, CONFIDENTIAL)
    if denominator is None:
        return Shown(numerator, None, Decimal(numerator), None)
    return Shown(numerator, denominator, percent(numerator, denominator, measure.decimals), None)


def nothing(measure: Measure) -> Shown:
    """What is shown where there is no unit at all."""
    return Shown(None, None, None, NOT_AVAILABLE if measure.shown_as == "count" else NOT_APPLICABLE)


def percent(numerator: int, denominator: int, decimals: int) -> Decimal:
    """`numerator` in a hundred of `denominator`, exactly, then rounded half up once."""
    step = Decimal(1).scaleb(-decimals)
    scaled = Decimal(2 * 100 * 10**decimals * numerator + denominator) // Decimal(2 * denominator)
    return (scaled * step).quantize(step, ROUND_HALF_UP)
