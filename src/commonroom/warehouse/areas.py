"""A large publication solved area by area: what nothing but shown totals connects need not be solved together.

An authority's schools are connected with others through the authority's totals alone. Where these are shown, its table
is safe by itself. Where one must be hidden (an authority of one school), it is solved together with the table above, of
authorities, regions and the nation, and with a partner beside it: the cheapest other authority of its region, whose totals
alone may be hidden for it. So what one needs reaches no further than two. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from commonroom.warehouse.suppression import Table

Hide = Callable[[Table], frozenset[Any]]


def area_by_area(
    table: Callable[[Iterable[Any]], Table],
    above: Sequence[Any],
    areas: Mapping[str, Sequence[Any]],
    regions: Mapping[str, Any],
    hide: Hide,
) -> set[Any]:
    """What to hide. `table` makes one of the cells of these names; an area has the totals that are `above`, too."""
    totals = frozenset(above)
    of = {area: [name for name in names if name in totals] for area, names in areas.items()}
    chosen: dict[str, frozenset[Any]] = {area: hide(table(names)) for area, names in sorted(areas.items())}
    joined = {area for area, names in chosen.items() if not names.isdisjoint(totals)}
    top = table(above)
    for region in {regions[area] for area in joined}:
        others = [area for area in areas if regions[area] == region and area not in joined]
        if others:
            joined.add(min(others, key=lambda area: (sum(top.cells[name].cost for name in of[area]), area)))
    hidden = frozenset[Any]().union(*(chosen[area] for area in joined))
    shown = {name for area in areas if area not in joined for name in of[area]}
    names = dict.fromkeys([*above, *(name for area in sorted(joined) for name in areas[area])])
    together = hide(_with(table(names), hidden, shown))
    return set(together).union(*(chosen[area] for area in areas if area not in joined))


def _with(table: Table, hidden: Collection[Any], shown: Collection[Any]) -> Table:
    """The table with cells that are hidden already, and others that are shown whatever happens."""
    cells = {
        name: msgspec.structs.replace(
            cell, sensitive=cell.sensitive or name in hidden, never=cell.never or name in shown
        )
        for name, cell in table.cells.items()
    }
    return msgspec.structs.replace(table, cells=cells)
