"""Somebody who reads published tables and works out what is hidden in them. Shares no code with what does the hiding.

They know every cell that is shown, every sum, that cells are whole numbers, that none is negative, and that one which is
hidden and not 0 is at least 1.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import Any

import highspy

Name = Hashable
Sums = Sequence[tuple[Name, ...]]  # the first is the total of the others


def by_trying(values: Mapping[Name, int], sums: Sums, hidden: Collection[Name]) -> set[Name]:
    """The hidden cells with one possible value only, by trying every filling of a very small table."""
    free = [name for name in hidden if not any(name == one[0] for one in sums)]
    highest = max(values.values()) + 3  # a hidden total may be more than anything that is shown
    possible: dict[Name, set[int]] = {name: set() for name in hidden}
    for filling in itertools.product(*(range(min(values[name], 1), highest + 1) for name in free)):
        tried: dict[Name, Any] = {name: None if name in hidden else value for name, value in values.items()}
        tried.update(zip(free, filling, strict=True))
        if _follows(tried, values, sums):
            for name in hidden:
                possible[name].add(tried[name])
    return {name for name, found in possible.items() if len(found) == 1}


def _follows(tried: dict[Name, Any], values: Mapping[Name, int], sums: Sums) -> bool:
    """Fill in hidden totals; False when a sum does not hold. Sums come finest first."""
    for total, *parts in sums:
        made = sum(tried[part] for part in parts)
        if tried[total] is None:
            tried[total] = made
        if tried[total] != made or made < min(values[total], 1):
            return False
    return True


def by_solver(
    values: Mapping[Name, int],
    sums: Sums,
    hidden: Collection[Name],
    at_most: Mapping[Name, int] | None = None,
    lowest: Mapping[Name, int] | None = None,
) -> set[Name]:
    """The same for larger tables: the lowest and the highest whole number that each hidden cell can be."""
    model = highspy.Highs()
    model.setOptionValue("output_flag", False)
    place = {name: number for number, name in enumerate(sorted(hidden, key=str))}
    for number, name in enumerate(place):
        high = (at_most or {}).get(name, highspy.kHighsInf)
        low = (lowest or {}).get(name, min(values[name], 1))
        model.addCol(0.0, float(low), high, 0, [], [])
        model.changeColIntegrality(number, highspy.HighsVarType.kInteger)
    for one in sums:
        signs = [1.0] + [-1.0] * (len(one) - 1)
        shown = sum(sign * values[name] for sign, name in zip(signs, one, strict=True) if name not in place)
        mine = [(place[name], sign) for sign, name in zip(signs, one, strict=True) if name in place]
        if mine:
            model.addRow(-shown, -shown, len(mine), [n for n, _ in mine], [sign for _, sign in mine])
    found = set()
    for name, number in place.items():
        reach = []
        for direction in (1.0, -1.0):
            model.changeColCost(number, direction)
            model.run()
            status = model.getModelStatus()
            free = (highspy.HighsModelStatus.kUnbounded, highspy.HighsModelStatus.kUnboundedOrInfeasible)
            reach.append(None if status in free else round(model.getSolution().col_value[number]))
            model.changeColCost(number, 0.0)
        if reach[0] is not None and reach[0] == reach[1]:
            found.add(name)
    return found
