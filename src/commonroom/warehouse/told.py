"""What is told by figures that are shown in any case: to hide it hides nothing, so it is shown.

A year of entry of which one school alone knows anything, and a group of a school that nobody attends, follow from a whole
that is shown. Were they hidden, others would be hidden behind them in vain, and a reader of the rest would find them.
Pure.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

import msgspec

from commonroom.warehouse.attack import Cell, Sum

Name = Hashable
Place = TypeVar("Place", bound=Hashable)


def settled(cells: Mapping[Name, Cell], sums: Sequence[Sum], keep: Collection[Name]) -> dict[Name, Cell]:
    """The cells, where those that follow from cells shown in any case are shown in any case too; never those to `keep`."""
    found = dict(cells)
    of: dict[Name, list[Sum]] = defaultdict(list)
    for one in sums:
        for name in one:
            of[name].append(one)
    due = list(sums)
    while due:
        one = due.pop()
        for name in _following(found, one):
            if name not in keep:
                found[name] = msgspec.structs.replace(found[name], never=True, sensitive=False, needs=0)
                due += of[name]
    return found


def _following(cells: Mapping[Name, Cell], one: Sum) -> list[Name]:
    """The cells of a sum that its others tell; all of them where it is a sum of nothing."""
    unknown = [name for name in one if not _is_shown(cells[name])]
    nothing = _is_shown(cells[one[0]]) and cells[one[0]].value == 0
    return unknown if nothing or len(unknown) == 1 else []


def _is_shown(cell: Cell) -> bool:
    return cell.never and not cell.sensitive


def by_totals(
    values: Mapping[Place, int],
    hidden: Collection[Place],
    parents: Mapping[Place, Place | None],
    leaves: Iterable[Place],
) -> dict[Place, tuple[Place, int]]:
    """Behind which shown total each hidden leaf of a tree stands, and how many leaves stand behind it together.

    Their sum is told: the total less all that is shown beneath it. Leaves behind no total are left out.
    """
    behind: dict[Place, Place] = {}
    beneath: dict[Place, int] = defaultdict(int)
    for leaf in leaves:
        above = parents.get(leaf)
        while above is not None:
            beneath[above] += values[leaf]
            if leaf in hidden and leaf not in behind and above in values and above not in hidden:
                behind[leaf] = above
            above = parents.get(above)
    many: dict[Place, int] = defaultdict(int)
    for total in behind.values():
        many[total] += 1
    # What is published as a sum of less, or more, is none.
    return {leaf: (total, many[total]) for leaf, total in behind.items() if values[total] == beneath[total]}
