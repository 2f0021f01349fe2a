"""Disclosure control at the edge: the one place where whole numbers become what may be shown.

A figure that could tell on a person is replaced, with its parts, by the symbol `c`: never by 0. Which figures those are,
the thresholds say here (`is_sensitive`) and, so that totals do not give them away, `publication` for all that hangs
together. Rounding is half up. Symbols: `c` confidential, `x` not available (nothing is known), `z` not applicable (a rate
of nothing), `low` more or less than 0 but rounds to 0, `u` of too few to be relied on.
"""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from typing import Protocol

import msgspec

from commonroom.problems import Problem, add_codes
from commonroom.warehouse.model import Measure

add_codes({"CR-341": "A figure is lower than its measure allows"})

CONFIDENTIAL, NOT_APPLICABLE, NOT_AVAILABLE, LOW, UNRELIABLE = "c", "z", "x", "low", "u"
_TWO_SIDES = Decimal("1.96")  # so many standard deviations to either side hold 95% of what chance does


class Shown(msgspec.Struct, frozen=True):
    """What may be shown of one figure: a value with its parts, or a symbol.

    `low` and `u` stand in the place of the value only: the parts are shown beside them.
    """

    numerator: int | None
    denominator: int | None
    value: Decimal | None
    symbol: str | None
    margin: Decimal | None = None  # of a mean: how far to either side it could lie by chance, at 95%


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
    @property
    def dark(self) -> bool: ...
    @property
    def deviation(self) -> int: ...


def is_sensitive(measure: Measure, parts: Counted) -> bool:
    """Primary suppression: a group of few, a small count that is not 0, or what would tell such a one elsewhere."""
    rule = measure.suppression
    return (
        parts.tells
        or parts.dark
        or 0 < parts.units < rule.units_below
        or 0 < parts.numerator < rule.numerator_below
    )


def above_lowest(measure: Measure, numerator: int, denominator: int | None) -> int:
    """The numerator as everything that hides has it: how far it is above the lowest that it could be.

    All that hides holds that no number is below 0, and that whole and parts add up. A sum of scores that can be negative
    is neither sign; less the lowest that each of its units can have it is never below 0, and adds up as before, since
    units do. Whoever reads the figures knows as much of the one as of the other: the denominator is shown wherever the
    numerator is, and where it is hidden the numerator is too; so a range of so many steps for the one is a range of as
    many for the other. What is 0 above the lowest is a group of nobody, or one whose every unit is as low as can be.
    Raises Problem CR-341 for what is lower than the measure says that it can be.
    """
    if measure.lowest is None:
        return numerator
    found = numerator - measure.lowest * (denominator or 0)
    if found < 0:
        raise Problem(
            "CR-341",
            f"a figure of {measure.name} is lower than its measure says that one can be",
            status=500,
            remedy="Correct `lowest` in its declaration, or the facts that it is taken of.",
        )
    return found


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
    beside = margin(measure, parts)
    if numerator != 0 and value == 0:
        return Shown(numerator, denominator, None, LOW, beside)
    return Shown(numerator, denominator, value, None, beside)


def nothing(measure: Measure) -> Shown:
    """What is shown where there is no unit at all."""
    is_later = measure.taken in ("at the end of the period", "on 31 March") or measure.days_after > 0
    is_unknown = measure.shown_as == "count" or is_later
    return Shown(None, None, None, NOT_AVAILABLE if is_unknown else NOT_APPLICABLE)


def rounded(measure: Measure, numerator: int, denominator: int | None) -> Decimal:
    """The value as the measure shows it."""
    if denominator is None or measure.shown_as == "count":
        return ratio(numerator, measure.scale, measure.decimals)
    hundred = 100 if measure.shown_as == "percent" else measure.times
    return ratio(hundred * numerator, denominator * measure.scale, measure.decimals)


def margin(measure: Measure, parts: Counted) -> Decimal | None:
    """Half of the 95% confidence interval of a mean: 1.96 standard deviations over the root of how many it is of.

    The deviation is the nation's, told by whoever sets it, and no square of anybody's score is needed; with the number of
    units, which is shown, the margin tells nothing that is not known.
    """
    if measure.deviation is None or not parts.denominator or not parts.deviation:
        return None
    number = Decimal(parts.denominator)
    each = Decimal(parts.deviation) * measure.times / (number * measure.scale)
    step = Decimal(1).scaleb(-measure.decimals)
    return (_TWO_SIDES * each / number.sqrt()).quantize(step, ROUND_HALF_UP)


def percent(numerator: int, denominator: int, decimals: int) -> Decimal:
    """`numerator` in a hundred of `denominator`, exactly, then rounded half up once."""
    return ratio(100 * numerator, denominator, decimals)


def ratio(numerator: int, denominator: int, decimals: int) -> Decimal:
    """`numerator` over `denominator`, exactly, then rounded half up (away from 0) once."""
    step = Decimal(1).scaleb(-decimals)
    size = (2 * abs(numerator) * 10**decimals + denominator) // (2 * denominator)
    return (Decimal(size if numerator >= 0 else -size) * step).quantize(step, ROUND_HALF_UP)
