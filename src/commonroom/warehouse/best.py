"""The best facts of each unit put into places: each slot takes the best of what its rule lets in, and of what is left.

The facts are rows with the unit's items, the key and `valid_from`. Every order ends with the whole key, so that every engine
puts the same facts into the same places; what a place is worth is a whole number.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ibis

from commonroom.warehouse.expressions import Expression
from commonroom.warehouse.model import Best

# What the filled rows have besides: the slot's name or null, and what the fact is worth there.
SLOT, WORTH = "slot", "worth"
_AGAIN = "again"  # 1 for the second place that one fact fills
_FITS = "fits"


def filled(rows: Any, best: Best, unit: Sequence[str], key: Sequence[str], where: str) -> Any:
    """Those of the rows that count, once for each place they can fill, with SLOT and WORTH."""

    def compiled(name: str, text: str, of: Any) -> Any:
        return Expression(text, f"{where}, best {name}").compile(of)

    counted = rows.filter(compiled("counts", best.counts, rows))
    counted = counted.mutate(**{WORTH: compiled("worth", best.worth, counted)})
    if best.once is not None:
        counted = _first(counted, compiled("once", best.once, counted), unit, key)
    counted = counted.mutate(**{_AGAIN: ibis.literal(0, "int64")})
    if best.twice is not None:
        second = counted.filter(compiled("twice", best.twice, counted))
        counted = counted.union(second.mutate(**{_AGAIN: ibis.literal(1, "int64")}))
    found = counted.mutate(**{SLOT: ibis.null("string")})
    for name, slot in best.slots.items():
        found = _fill(found, name, compiled(f"slots {name}", slot.of, found), slot.places, unit, key)
    return found


def _first(rows: Any, alike: Any, unit: Sequence[str], key: Sequence[str]) -> Any:
    """Of a unit's facts that are alike the earliest, of one day the best."""
    order = [rows.valid_from, ibis.desc(rows[WORTH]), *(rows[name] for name in key)]
    window = ibis.window(group_by=[*(rows[name] for name in unit), alike], order_by=order)
    ranked = rows.mutate(rank_alike=ibis.row_number().over(window))
    return ranked.filter(ranked.rank_alike == 0).drop("rank_alike")


def _fill(rows: Any, name: str, rule: Any, places: int, unit: Sequence[str], key: Sequence[str]) -> Any:
    """The best of a unit's rows that the slot lets in and that have no place yet."""
    fits = rows.mutate(**{_FITS: ibis.ifelse(rows[SLOT].isnull() & rule, 1, 0)})
    order = [ibis.desc(fits[WORTH]), *(fits[one] for one in key), fits[_AGAIN]]
    window = ibis.window(group_by=[*(fits[one] for one in unit), fits[_FITS]], order_by=order)
    ranked = fits.mutate(rank_here=ibis.row_number().over(window))
    takes = (ranked[_FITS] == 1) & (ranked.rank_here < places)
    return ranked.mutate(**{SLOT: ibis.ifelse(takes, name, ranked[SLOT])}).drop(_FITS, "rank_here")
