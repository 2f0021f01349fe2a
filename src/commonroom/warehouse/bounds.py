"""Figures that bound others without being a sum of them: what a total says of how many it can be spread over.

Of whom a tenth of the sessions was missed is persistently absent. So the sessions that all of a group missed bound how
many of it these can be: where 20 sessions of 140 each were missed in all, one pupil at most missed 14. Where such a count
is hidden, the total beside it must leave it room; otherwise the total is hidden too. Pure.

It is taken that all of a group could attend about as often, which a reader would guess; where that is wrong, so is what
they find.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from commonroom.warehouse.disclosure import is_sensitive
from commonroom.warehouse.model import Measure
from commonroom.warehouse.publication import Name, Parts

# The bounds are whole numbers: a range of one step holds a second one.
_LEAST = 1


def guarded(
    whole: Measure, numbers: Mapping[Name, Parts], bounded: Measure, counts: Mapping[Name, Parts]
) -> dict[Name, Parts]:
    """The numbers of `whole` with a mark on each that would tell a count of `bounded` which is hidden for its own sake.

    Both are whole, or both by the groups of a characteristic.
    """
    part = 0 if bounded.bounded_by is None else bounded.bounded_by.part
    found = dict(numbers)
    for (figure, place, time), count in counts.items():
        _, divided, group = figure.partition("=")
        name = (f"{whole.name}{divided}{group}", place, time)
        total = numbers.get(name)
        if total is None or not is_sensitive(bounded, count):
            continue
        low, high = range_of(total.numerator, total.denominator or 0, count.units, part)
        if high - max(low, 1) < _LEAST:
            found[name] = msgspec.structs.replace(total, tells=True)
    return found


def range_of(missed: int, possible: int, units: int, part: int) -> tuple[int, int]:
    """How few and how many of `units` can have missed a `part`-th of their own, when all together missed so many."""
    if not units or not part:
        return 0, units
    each = -(-possible // units)
    enough = max(1, -(-possible // (units * part)))
    most = min(units, missed // enough)
    # As many as can be without counting, the rest of it by as few as can be.
    below = enough - 1
    least = -(-(missed - units * below) // (each - below)) if each > below else 0
    return max(0, least), most
