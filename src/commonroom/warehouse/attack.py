"""The attack on a table with hidden cells: what whoever reads the rest can work out, by linear programming."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from commonroom.warehouse.solver import Line, Rows

# The first is the total of the others.
Sum = tuple[Hashable, ...]
_TINY = 1e-6
_PUSHES = 12
_FEW = 50
_MANY, _STEPS = 500, 3  # hidden cells of a large table; from a cell to those that share a sum


class Cell(msgspec.Struct, frozen=True):
    """One cell of a table."""

    value: int
    sensitive: bool = False  # hidden whatever happens
    cost: float = 1.0  # of hiding it, when it need not be
    needs: int = 2  # hidden, it can be narrowed down to no fewer than this many steps from lowest to highest
    never: bool = False  # it is shown, whatever happens
    # A reader knows that only 0 is 0; where everything beside the total is hidden, noughts too, it may be 0 as well.
    may_be_nought: bool = False
    at_most: int | None = None  # what a reader knows besides: a numerator is no more than its denominator

    @property
    def room_below(self) -> int:
        """How much lower a reader must think it possible. Only 0 is 0, and a reader knows it."""
        return self.value - 1 if self.value > 0 and not self.may_be_nought else self.value


class Range(msgspec.Struct, frozen=True):
    """Between which values a reader knows a hidden cell to be, both inclusive."""

    name: Any
    low: float
    high: float


class Cut(msgspec.Struct, frozen=True):
    """What any safe answer satisfies: the weights of the cells that it hides sum to 0 or more."""

    weights: dict[int, float]


class Attack:
    """One table, its cells numbered, with some of them hidden."""

    def __init__(
        self,
        cells: Sequence[Cell],
        sums: Sequence[tuple[int, ...]],
        hidden: Collection[int],
        before: Attack | None = None,
        seen: Mapping[int, tuple[float, float]] | None = None,
    ) -> None:
        """`before` is an attack on the same table with fewer cells hidden: what was possible then still is.

        `seen` is how far down and up cells are known to go.
        """
        self._cells = cells
        self._hidden = sorted(hidden)
        self._place = {number: place for place, number in enumerate(self._hidden)}
        self._sums = [one for one in sums if any(number in self._place for number in one)]
        self._ceiling = ceiling(cells)
        kept = np.zeros(len(cells), dtype=bool)
        kept[self._hidden] = True
        self._line = Line(
            np.fromiter((-cells[number].room_below for number in self._hidden), dtype=np.float64),
            np.fromiter((self._room_above(number) for number in self._hidden), dtype=np.float64),
            Rows.of(self._sums).among(kept),
        )
        # How far each hidden cell was ever seen to go: most need no programme of their own.
        self._lowest = [0.0] * len(self._hidden)
        self._highest = [0.0] * len(self._hidden)
        self._prices: dict[tuple[int, int], list[float]] = {}
        for number, (low, high) in (seen or {}).items():
            self._lowest[self._place[number]], self._highest[self._place[number]] = low, high
        if before is not None:
            for number, place in before._place.items():
                self._lowest[self._place[number]] = before._lowest[place]
                self._highest[self._place[number]] = before._highest[place]

    def open_cells(self) -> list[int]:
        """The hidden cells whose range is narrower than they need."""
        self._move_many()
        if len(self._hidden) > _MANY and not self._line.is_begun:
            self._move_near()
        found = []
        for number in self._hidden:
            place, needs = self._place[number], self._cells[number].needs
            for direction in (1, -1):
                if self._width(place) < needs - _TINY:
                    self._go(place, direction)
            if self._width(place) < needs - _TINY:
                found.append(number)
        return found

    def range_of(self, number: int) -> Range:
        """Between which values a hidden cell can be."""
        place = self._place[number]
        for direction in (1, -1):
            self._go(place, direction)
        value = self._cells[number].value
        return Range(number, value + self._lowest[place], value + self._highest[place])

    def seen(self, number: int) -> tuple[float, float]:
        """How far below and above its value a hidden cell was seen to go; it may go further."""
        return self._lowest[self._place[number]], self._highest[self._place[number]]

    def cut(self, number: int) -> Cut:
        """A constraint that this way of hiding breaks and every safe one keeps.

        By duality: how far a cell can go is the sum, over the hidden cells, of what the prices of the sums give for the
        room of each; so enough of that room must be hidden for the cell to have what it needs.
        """
        weights: dict[int, float] = defaultdict(float)
        for direction in (1, -1):
            prices = self._prices.get((self._place[number], direction)) or self._go(
                self._place[number], direction
            )
            pull: dict[int, float] = defaultdict(float)
            pull[number] = float(direction)
            for one, price in zip(self._sums, prices, strict=True):
                for place, cell in enumerate(one):
                    pull[cell] += price * (1.0 if place == 0 else -1.0)
            for cell, strength in pull.items():
                if abs(strength) > _TINY:
                    room = self._room_above(cell) if strength > 0 else float(self._cells[cell].room_below)
                    weights[cell] += abs(strength) * room
        own = weights.pop(number, 0.0)
        missing = self._cells[number].needs - own
        # No cell can give more than is missing: that makes the constraint as tight as it can be.
        kept = {cell: min(weight, missing) for cell, weight in weights.items() if weight > _TINY}
        return Cut({**kept, number: -missing})

    def _width(self, place: int) -> float:
        return self._highest[place] - self._lowest[place]

    def _move_many(self) -> None:
        """Push all narrow cells in a few directions at once: that shows most of them to be free."""
        chance = random.Random(0)  # noqa: S311 - any directions do, but the same each time
        for _ in range(_PUSHES):
            narrow = [
                place for place in range(len(self._hidden)) if self._width(place) < self._needs(place) - _TINY
            ]
            if len(narrow) < _PUSHES:
                return
            self._note(self._line.furthest({place: chance.choice((-1.0, 1.0)) for place in narrow})[0])

    def _move_near(self) -> None:
        """Push what is narrow with what is beside it alone: of a large table that takes a hundredth of the time."""
        of: dict[int, list[int]] = defaultdict(list)
        for row, one in enumerate(self._sums):
            for number in one:
                if number in self._place:
                    of[number].append(row)
        narrow = [
            number
            for number in self._hidden
            if self._width(self._place[number]) < self._cells[number].needs - _TINY
        ]
        for number in narrow if len(narrow) <= _FEW else ():
            if self._width(self._place[number]) < self._cells[number].needs - _TINY:
                near = {number}
                for _ in range(_STEPS):
                    near |= {
                        other
                        for row in {row for mine in near for row in of[mine]}
                        for other in self._sums[row]
                        if other in self._place
                    }
                rows = sorted({row for mine in near for row in of[mine]})
                # The rest of them stays where it is, so what is possible here is possible.
                local = Attack(self._cells, [self._sums[row] for row in rows], near)
                found = local.range_of(number)
                value, place = self._cells[number].value, self._place[number]
                self._lowest[place] = min(self._lowest[place], found.low - value)
                self._highest[place] = max(self._highest[place], found.high - value)

    def _go(self, place: int, direction: int) -> list[float]:
        """Push one cell as far as it goes; the price of each sum there."""
        reached, prices = self._line.furthest({place: float(direction)})
        self._note(reached)
        self._prices[place, direction] = prices
        return prices

    def _note(self, reached: Sequence[float]) -> None:
        for place, value in enumerate(reached):
            self._lowest[place] = min(self._lowest[place], value)
            self._highest[place] = max(self._highest[place], value)

    def _needs(self, place: int) -> int:
        return self._cells[self._hidden[place]].needs

    def _room_above(self, number: int) -> float:
        cell = self._cells[number]
        return self._ceiling if cell.at_most is None else float(cell.at_most - cell.value)


def ceiling(cells: Sequence[Cell]) -> float:
    """How far up a cell can go that no sum bounds: nobody knows; more than everything and what is needed is enough."""
    most = max((cell.value for cell in cells), default=0)
    return 2.0 * (most + max((cell.needs for cell in cells), default=0))


def components(sums: Iterable[Sum], hidden: Collection[Hashable]) -> list[tuple[Sum, ...]]:
    """The sums with a hidden cell, in groups that share none: each can be attacked alone."""
    leader: dict[Hashable, Hashable] = {name: name for name in hidden}

    def first(name: Hashable) -> Hashable:
        while leader[name] != name:
            leader[name] = leader[leader[name]]
            name = leader[name]
        return name

    touched: list[tuple[Sum, Hashable]] = []
    for one in sums:
        mine = [name for name in one if name in leader]
        if mine:
            touched.append((one, mine[0]))
            for other in mine[1:]:
                leader[first(other)] = first(mine[0])
    groups: dict[Hashable, list[Sum]] = {}
    for one, name in touched:
        groups.setdefault(first(name), []).append(one)
    return [tuple(group) for group in groups.values()]
