"""Hiding in large tables: a cheap set of cells, found by moving all that is narrow at once.

Whoever reads a table with hidden cells must think other fillings of it possible. One such filling, written as what each
cell differs from its value, is a *move*: in every sum the total moves as its parts together do. So instead of searching
for cells and attacking them, the moves are searched for: a linear programme asks for one that moves every narrow cell as
far as it needs and costs as little as can be, where it costs to move a cell that is shown. All that moves is hidden, and
the move itself proves that it can be otherwise. A few moves protect hundreds of cells, where an integer programme takes
minutes. What it finds is cheap, and not proven to be the cheapest. Pure.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Collection, Sequence
from typing import Any

import highspy
import numpy as np
import numpy.typing as npt

from commonroom.warehouse.attack import Cell
from commonroom.warehouse.solver import Rows, model, reaching

_TINY = 1e-6
# Work, not seconds, is limited: what is hidden must not depend on how busy the machine is.
_ROUNDS, _ALONE, _STEPS = 20, 400, 200_000
_PUSHES = 6
# To move a hidden cell costs almost nothing, a little more where others share it: there it must be answered for again.
# To leave a narrow one where it is costs more than any way round.
_FREE, _SHARED = 1e-3, 0.3
_MUST, _AT_ANY_PRICE = 8.0, 8000.0
_DEARER = 8.0
# Of a large table, how many cells near narrow ones are moved before all are; so many cells make a sum a long one.
_NEAR, _LONG = (2_000, 10_000), 20

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


class Moves:
    """The moves of one table: what is hidden for them, and how far each cell was moved."""

    def __init__(
        self,
        cells: Sequence[Cell],
        sums: Sequence[tuple[int, ...]],
        hidden: Collection[int],
        shared: Collection[int],
        far: float,
        seen: Collection[tuple[int, float, float]] = (),
    ) -> None:
        """`shared` cells are of other tables too; `far`: how far up a cell can go that nothing bounds.

        `seen`: how far down and up cells are known to go while those that are shared stay where they are.
        """
        size = len(cells)
        self._size = size
        self._hidden, self._resting = _mask(size, hidden), _mask(size, shared)
        self._needs = np.fromiter((cell.needs for cell in cells), dtype=np.float64, count=size)
        self._cost = np.fromiter((cell.cost for cell in cells), dtype=np.float64, count=size)
        never = np.fromiter((cell.never for cell in cells), dtype=bool, count=size) & ~self._hidden
        self._down = np.fromiter((cell.room_below for cell in cells), dtype=np.float64, count=size)
        up = (far if cell.at_most is None else cell.at_most - cell.value for cell in cells)
        self._up = np.fromiter(up, dtype=np.float64, count=size)
        self._up[never] = self._down[never] = 0.0
        self._dearest = float(self._cost[~never].max(initial=1.0))
        # How far each cell was moved: by all moves, and by those that leave what others share where it is.
        self._low, self._high = np.zeros(size), np.zeros(size)
        self._low_alone, self._high_alone = np.zeros(size), np.zeros(size)
        for number, low, high in seen:
            self._low[number] = self._low_alone[number] = low
            self._high[number] = self._high_alone[number] = high
        self._sums, self._rows = sums, Rows.of(sums)
        self._movable = ~never
        self._chance = np.random.default_rng(0)  # any directions do, but the same each time
        self._priced: _Priced | None = None

    @property
    def chosen(self) -> frozenset[int]:
        """All that is hidden."""
        return frozenset(np.flatnonzero(self._hidden).tolist())

    @property
    def seen_alone(self) -> tuple[tuple[int, float, float], ...]:
        """How far down and up each cell was moved while those that are shared stayed where they are."""
        low, high = self._low_alone, self._high_alone
        moved = np.flatnonzero(high - low > _TINY)
        return tuple(zip(moved.tolist(), low[moved].tolist(), high[moved].tolist(), strict=True))

    def widen_near(self) -> bool:
        """The same where few cells of many are narrow: by moving only what is near these, first little of it, then more.

        What is moved so leaves all that is shared where it is.
        """
        for many in _NEAR:
            if many >= self._size / 2:
                return False
            before = [one.copy() for one in self._state]
            self._movable = self._near(many)
            self._priced = None
            done = self._widened(whole=False)
            self._movable, self._priced = self._up + self._down > 0, None
            if done:
                return True
            # What was hidden in vain need not be: further off something cheaper may help.
            for now, then in zip(self._state, before, strict=True):
                now[:] = then
        return False

    @property
    def _state(self) -> tuple[npt.NDArray[Any], ...]:
        return self._hidden, self._low, self._high, self._low_alone, self._high_alone

    def widen(self) -> bool:
        """Hide until no hidden cell is narrow; False where nothing more helps."""
        return self._widened(whole=True)

    def _near(self, many: int) -> Mask:
        """So many cells beside narrow ones, sum by sum: of long sums the cheapest alone."""
        price = np.where(self._hidden, 0.0, self._cost)
        free = (self._up + self._down > 0) & ~self._resting
        of: dict[int, list[int]] = defaultdict(list)
        for row, one in enumerate(self._sums):
            for number in one:
                of[number].append(row)
        found = dict.fromkeys(np.flatnonzero(self._narrow()).tolist())
        rows: set[int] = set()
        due = deque(found)
        while due and len(found) < many:
            for row in of[due.popleft()]:
                if row in rows:
                    continue
                rows.add(row)
                mine = [number for number in self._sums[row] if free[number]]
                if len(mine) > _LONG:
                    mine = sorted(mine, key=lambda number: (price[number], number))[:_LONG]
                due += [number for number in mine if number not in found]
                found.update(dict.fromkeys(mine))
        return _mask(self._size, found) & free

    def _widened(self, *, whole: bool) -> bool:
        """`whole`: what is shared may be moved too, and is pushed again without."""
        for price in self._prices():
            for _ in range(_ROUNDS):
                self._push(alone=False)
                narrow = self._narrow()
                if not narrow.any():
                    if whole:
                        self._push(alone=True)
                    return True
                before, hidden = narrow.sum(), self._hidden.sum()
                self._move(narrow, price, down=False)
                if self._narrow().sum() >= before and self._hidden.sum() == hidden:
                    break
        if not whole:
            return False
        # Together some stand in each other's way.
        for number in np.flatnonzero(self._narrow())[:_ALONE]:
            for down in (False, True):
                if self._narrow()[number]:
                    self._move(_mask(self._size, [number]), _AT_ANY_PRICE * self._dearest, down=down)
        self._push(alone=True)
        return not self._narrow().any()

    def _prices(self) -> list[float]:
        """What to leave a narrow cell where it is costs, at first less than to move a dear one.

        What has room on one side only cannot all go that way unless the totals do. At a low price those move that others
        can make up for, and when they are wide these others are free to make up for the rest.
        """
        cheapest = float(self._cost[~self._hidden & (self._up + self._down > 0)].min(initial=self._dearest))
        prices = [_MUST * self._dearest]
        while prices[-1] > _DEARER * cheapest:
            prices.append(prices[-1] / _DEARER)
        return prices[::-1]

    def _narrow(self) -> Mask:
        """The hidden cells that no move has shown to be wide enough."""
        return self._hidden & (self._high - self._low < self._needs - _TINY)

    def _push(self, *, alone: bool) -> None:
        """Move what is hidden, and only that, in a few directions at once: that shows most of it to be free."""
        movable = self._movable & self._hidden
        movable = movable & ~self._resting if alone else movable
        low, high = (self._low_alone, self._high_alone) if alone else (self._low, self._high)
        line: _Free | None = None
        for _ in range(_PUSHES):
            narrow = movable & (high - low < self._needs - _TINY)
            if not narrow.any():
                return
            line = line or _Free(self._rows, movable, self._down, self._up)
            aim = np.where(narrow, self._chance.choice((-1.0, 1.0), self._size), 0.0)
            self._note(line.furthest(aim), alone=alone)

    def _move(self, narrow: Mask, must: float, *, down: bool) -> None:
        """The cheapest move of all that is narrow, hidden cells and others; what moves is hidden."""
        self._priced = self._priced or _Priced(self._rows, self._movable)
        price = np.where(self._hidden, np.where(self._resting, _SHARED, _FREE), self._cost)
        missing = self._needs - (self._high - self._low)
        # Where there is no room on one side, the other is the only way.
        downwards = narrow & (
            (self._up < self._high + missing) | (down & (self._down >= missing - self._low))
        )
        upwards = narrow & ~downwards
        rise = np.where(upwards, -must, np.where(downwards, must, price))
        fall = np.where(downwards, -must, np.where(upwards, must, price))
        far_up = np.where(upwards, np.minimum(self._up, self._high + missing), self._up)
        far_down = np.where(downwards, np.minimum(self._down, missing - self._low), self._down)
        move = self._priced.cheapest(rise, fall, far_up, far_down)
        self._hidden |= np.abs(move) > _TINY
        self._note(move, alone=False)

    def _note(self, move: Floats, *, alone: bool) -> None:
        np.minimum(self._low, move, out=self._low)
        np.maximum(self._high, move, out=self._high)
        if alone or not (self._resting & self._movable).any():
            np.minimum(self._low_alone, move, out=self._low_alone)
            np.maximum(self._high_alone, move, out=self._high_alone)


class _Free:
    """The programme of what is hidden: one variable a hidden cell."""

    def __init__(self, rows: Rows, movable: Mask, down: Floats, up: Floats) -> None:
        self._movable = movable
        self._numbers = np.arange(int(movable.sum()), dtype=np.int32)
        self._model = reaching(-down[movable], up[movable], rows.among(movable))
        self._model.setOptionValue("simplex_iteration_limit", _STEPS)

    def furthest(self, aim: Floats) -> Floats:
        self._model.changeColsCost(len(self._numbers), self._numbers, -aim[self._movable])
        move = np.zeros(len(aim))
        move[self._movable] = _solution(self._model, len(self._numbers))
        self._model.setOptionValue("presolve", "off")
        return move


class _Priced:
    """The programme of all cells that may move: two variables each, how far it rises and how far it falls."""

    def __init__(self, rows: Rows, movable: Mask) -> None:
        self._movable = movable
        size = int(movable.sum())
        self._numbers = np.arange(2 * size, dtype=np.int32)
        self._model = model(_STEPS)
        self._model.setOptionValue("presolve", "off")
        lp = rows.among(movable).both_ways(size).programme(np.zeros(2 * size), np.zeros(2 * size))
        self._model.passModel(lp)

    def cheapest(self, rise: Floats, fall: Floats, up: Floats, down: Floats) -> Floats:
        count, mine = len(self._numbers), self._movable
        self._model.changeColsCost(count, self._numbers, np.concatenate([rise[mine], fall[mine]]))
        high = np.concatenate([up[mine], down[mine]])
        self._model.changeColsBounds(count, self._numbers, np.zeros(count), high)
        # Anew each time: from the last one's end, which is neither possible nor cheapest, it takes longer.
        self._model.clearSolver()
        found = _solution(self._model, count)
        move = np.zeros(len(mine))
        move[mine] = found[: count // 2] - found[count // 2 :]
        return move


def _solution(made: highspy.Highs, size: int) -> Floats:
    """Where the programme ends; no move at all where it does not within the work allowed, which is always possible."""
    made.run()
    if made.getModelStatus() != highspy.HighsModelStatus.kOptimal:
        return np.zeros(size)
    return np.asarray(made.getSolution().col_value)


def _mask(size: int, numbers: Collection[int]) -> Mask:
    found = np.zeros(size, dtype=bool)
    found[list(numbers)] = True
    return found
