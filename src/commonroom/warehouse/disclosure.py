"""Disclosure control at the edge: the one place where whole numbers become what may be shown.

A figure that could tell on a person is replaced, with its parts, by the symbol `c`: never by 0. Which figures those are,
the thresholds say here (`is_sensitive`) and, so that totals do not give them away, `publication` for all that hangs
together. Rounding is half up. Symbols: `c` confidential, `x` not available (nothing is known), `z` not applicable (a rate
of nothing), `low` more than 0 but rounds to 0, `u` of too few to be relied on.
"""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from typing import Protocol

import msgspec

from commonroom.warehouse.model import Measure

CONFIDENTIAL, NOT_APPLICABLE, NOT_AVAILABLE, LOW, UNRELIABLE = "c", "z", "x", "low", "u"


class Shown(msgspec.Struct, frozen=True):
    """What may be shown of one figure: a value with its parts, or a symbol.

    `low` and `u` stand in the place of the value only: the parts are shown beside them.
    """

    numerator: int | None
    denominator: int | None
    value: Decimal | None
    symbol: str | None


class Counted(Protocol):
    """The whole numbers of a figure."""

    @property
    def numerator(self) -> int: ...
    @property
    def denominator(self) -> int | None: ...
    @property
    def units(self) -> int: ...
    @property
    def tells(self) -> bool: ...


def is_sensitive(measure: Measure, parts: Counted) -> bool:
    """Primary suppression: a group of few, a small count that is not 0, or what would tell such a one elsewhere."""
    rule = measure.suppression
    return parts.tells or 0 < parts.units < rule.units_below or 0 < parts.numerator < rule.numerator_below


def show(measure: Measure, parts: Counted, *, hidden: bool) -> Shown:
    """What may be shown of a figure; `hidden` is what `publication` decided."""
    numerator, denominator = parts.numerator, parts.denominator
    # Hidden first: of hidden groups, which are empty is hidden too.
    if hidden or is_sensitive(measure, parts):
        return Shown(None, None, None, CONFIDENTIAL)
    if denominator == 0:
        return Shown(None, None, None, NOT_APPLICABLE)
    value = rounded(measure, numerator, denominator)
    if parts.units < measure.suppression.unreliable_below:
        return Shown(numerator, denominator, None, UNRELIABLE)
    if numerator > 0 and value == 0:
        return Shown(numerator, denominator, None, LOW)
    return Shown(numerator, denominator, value, None)


def nothing(measure: Measure) -> Shown:
    """What is shown where there is no unit at all."""
    is_later = measure.taken in ("at the end of the period", "on 31 March") or measure.days_after > 0
    is_unknown = measure.shown_as == "count" or is_later
    return Shown(None, None, None, NOT_AVAILABLE if is_unknown else NOT_APPLICABLE)


def rounded(measure: Measure, numerator: int, denominator: int | None) -> Decimal:
    """The value as the measure shows it."""
    if denominator is None:
        return ratio(numerator, measure.scale, measure.decimals)
    hundred = 100 if measure.shown_as == "percent" else measure.times
    return ratio(hundred * numerator, denominator * measure.scale, measure.decimals)


def percent(numerator: int, denominator: int, decimals: int) -> Decimal:
    """`numerator` in a hundred of `denominator`, exactly, then rounded half up once."""
    return ratio(100 * numerator, denominator, decimals)


def ratio(numerator: int, denominator: int, decimals: int) -> Decimal:
    """`numerator` over `denominator`, exactly, then rounded half up (away from 0) once."""
    step = Decimal(1).scaleb(-decimals)
    size = (2 * abs(numerator) * 10**decimals + denominator) // (2 * denominator)
    return (Decimal(size if numerator >= 0 else -size) * step).quantize(step, ROUND_HALF_UP)
