"""In which months of a half-year somebody took part in something: six bits of a whole number, one for each month.

Of two stays, at two places even, the months are those of either: the bits of both. So a stay in a school until November
and one in a college from December have all six together, 63, and a month with no day in either leaves a bit out. Sums and
comparisons alone are used, which every engine has: no dialect but one has an aggregate of bits.
"""

from __future__ import annotations

from typing import Any

import ibis

MONTHS = 6
ALL = 2**MONTHS - 1  # took part in each of them


def months(on: Any, start: Any, end: Any) -> Any:
    """The months with a day from `start` to `end` (None: it goes on), of the six that end with the one of `on`, in Ibis.

    The earliest month is the lowest bit. Without a start, and where the end is before it, there is none.
    """
    this_month = on.truncate("M")
    goes_on = end.isnull()
    runs = goes_on | (end >= start)
    bits = [
        ibis.ifelse(runs & (start < after) & (goes_on | (end >= first)), 2**number, 0)
        for number in range(MONTHS)
        for first in (this_month - ibis.interval(months=MONTHS - 1 - number),)
        for after in (first + ibis.interval(months=1),)
    ]
    return _added(bits)


def union(bits: Any) -> Any:
    """The months of any of the rows of a group, in Ibis."""
    return _added([((bits // 2**number) % 2).max() * 2**number for number in range(MONTHS)])


def _added(terms: list[Any]) -> Any:
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total.cast("int64")
