"""In which months of a half-year somebody took part in something: six bits of a whole number, one for each month.

Of two stays, at two places even, the months are those of either: the bits of both. So a stay in a school until November
and one in a college from December have all six together, 63, and a month with no day in either leaves a bit out. Sums and
comparisons alone make them, which every engine has: not every dialect has an aggregate of bits.
"""

from __future__ import annotations

from typing import Any

import ibis

MONTHS = 6
ALL = 2**MONTHS - 1  # took part in each of them
# After all half-years, and a moment that every engine can write: some count nanoseconds in 64 bits, until 2262.
_LATER = ibis.date(2200, 1, 1)


def months(on: Any, start: Any, end: Any, holds: Any) -> Any:
    """The months with a day from `start` to `end` of any of the rows of a group for which `holds` is true, in Ibis.

    They are the six that end with the one of `on`, the earliest the lowest bit. Where there is no end it goes on; without
    a start, and where the end is before it, there is no day.
    """
    this_month = on.truncate("M")
    until = end.fill_null(_LATER)
    runs = holds & (until >= start)
    total = ibis.literal(0, "int64")
    for number in range(MONTHS):
        first = _month(this_month, number + 1 - MONTHS)
        after = _month(this_month, number + 2 - MONTHS)
        total = total + ibis.ifelse(runs & (start < after) & (until >= first), 2**number, 0).max()
    return total.cast("int64")


def _month(this_month: Any, further: int) -> Any:
    """The first day of another month, as a day: compared with a moment, an end in the year 9999 is no moment everywhere."""
    return (this_month + ibis.interval(months=further)).cast("date")
