"""A large publication solved area by area: what nothing but shown totals connects need not be solved together.

An authority's schools are connected with others through the authority's totals alone. Where these are shown, its table
is safe by itself. Where one must be hidden (an authority of one school), the table above, of authorities, regions and the
nation, is solved together with the areas that have a hidden total, until no other area has one. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from commonroom.warehouse.suppression import Table

Hide = Callable[[Table], frozenset[Any]]


def area_by_area(
    table: Callable[[Iterable[Any]], Table],
    above: Sequence[Any],
    areas: Mapping[str, Sequence[Any]],
    hide: Hide,
) -> set[Any]:
    """What to hide. `table` makes one of the cells of these names; an area has the totals that are `above`, too."""
    chosen: dict[str, frozenset[Any]] = {area: hide(table(names)) for area, names in sorted(areas.items())}
    totals = frozenset(above)
    joined = {area for area, names in chosen.items() if not names.isdisjoint(totals)}
    while True:
        hidden = frozenset[Any]().union(*(chosen[area] for area in joined))
        names = dict.fromkeys([*above, *(name for area in sorted(joined) for name in areas[area])])
        together = hide(_with(table(names), hidden))
        more = {
            area
            for area in areas
            if area not in joined and any(name in together for name in areas[area] if name in totals)
        }
        if not more:
            return set(together).union(*(chosen[area] for area in areas if area not in joined))
        joined |= more


def _with(table: Table, hidden: frozenset[Any]) -> Table:
    """The table with cells that are hidden already."""
    cells = {
        name: msgspec.structs.replace(cell, sensitive=True) if name in hidden else cell
        for name, cell in table.cells.items()
    }
    return msgspec.structs.replace(table, cells=cells)
