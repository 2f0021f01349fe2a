"""HiGHS, a solver of linear and integer programmes, as this room uses it: one thread, the same answer every time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import highspy
import msgspec
import numpy as np
import numpy.typing as npt

from commonroom.problems import Problem, add_codes

add_codes({"CR-064": "No way was found to hide what must be hidden"})

# Within a twentieth of the cheapest is good enough; proving the last of it takes longest. Nodes, not seconds, limit the
# search: seconds would make the answer depend on how busy the machine is.
_GAP = 0.05
_NODES = 200
_HALF = 0.5
_MANY = 500  # variables of a programme that is made smaller before it is solved


def model(steps: int | None = None) -> highspy.Highs:
    """A quiet model in one thread, which takes no more than so many steps."""
    made = highspy.Highs()  # type: ignore[no-untyped-call]
    made.setOptionValue("output_flag", False)
    made.setOptionValue("threads", 1)
    made.setOptionValue("random_seed", 0)
    if steps is not None:
        made.setOptionValue("simplex_iteration_limit", steps)
    return made


class Programme:
    """Which of many yes-or-no variables to set, at the least cost, so that every constraint holds."""

    def __init__(self) -> None:
        self._model = model()
        self._model.setOptionValue("mip_rel_gap", _GAP)
        self._model.setOptionValue("mip_max_nodes", _NODES)
        self._size = 0

    def binary(self, *, cost: float, fixed: bool, never: bool = False) -> int:
        """A new variable, set from the start when `fixed`, not to be set when `never`; its number."""
        self._model.addCol(cost, 1.0 if fixed else 0.0, 0.0 if never and not fixed else 1.0, 0, [], [])
        self._model.changeColIntegrality(self._size, highspy.HighsVarType.kInteger)
        self._size += 1
        return self._size - 1

    def fix(self, number: int) -> None:
        """Set a variable from now on."""
        self._model.changeColBounds(number, 1.0, 1.0)

    def at_least(self, weights: Mapping[int, float], bound: float) -> None:
        """The weighted sum of some variables is at least `bound`."""
        self._model.addRow(
            bound,
            highspy.kHighsInf,
            len(weights),
            np.fromiter(weights.keys(), dtype=np.int32),
            np.fromiter(weights.values(), dtype=np.float64),
        )

    def solve(self) -> list[int] | None:
        """The numbers of the variables that are set; None when nothing satisfies all, or the work allowed found nothing."""
        self._model.run()
        solution = self._model.getSolution()
        infeasible = self._model.getModelStatus() == highspy.HighsModelStatus.kInfeasible
        if infeasible or not solution.value_valid:
            return None
        return [number for number, value in enumerate(solution.col_value) if value > _HALF]


class Rows(msgspec.Struct, frozen=True):
    """Weighted sums of variables that are all 0, as arrays: a programme is built of them at once, not row by row."""

    ends: npt.NDArray[np.int32]  # where each row begins, and where the last one ends
    numbers: npt.NDArray[np.int32]
    weights: npt.NDArray[np.float64]

    @classmethod
    def of(cls, sums: Sequence[tuple[int, ...]]) -> Rows:
        """The rows of sums of cells: the first is the total of the others."""
        lengths = np.fromiter((len(one) for one in sums), dtype=np.int32, count=len(sums))
        ends = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        cells = (number for one in sums for number in one)
        numbers = np.fromiter(cells, dtype=np.int32, count=int(ends[-1]))
        weights = np.full(len(numbers), -1.0)
        weights[ends[:-1]] = 1.0
        return cls(ends, numbers, weights)

    def among(self, kept: npt.NDArray[np.bool_]) -> Rows:
        """The rows of these variables alone, which are numbered anew."""
        mine = kept[self.numbers]
        before = np.concatenate([[0], np.cumsum(mine)])
        ends = np.unique(before[self.ends]).astype(np.int32)  # rows of none are left out
        anew = np.cumsum(kept, dtype=np.int32) - 1
        return Rows(ends, anew[self.numbers[mine]].astype(np.int32), self.weights[mine])

    def both_ways(self, size: int) -> Rows:
        """The rows of as many variables again, which count the other way."""
        numbers = np.stack([self.numbers, self.numbers + size], axis=1).reshape(-1)
        weights = np.stack([self.weights, -self.weights], axis=1).reshape(-1)
        return Rows((2 * self.ends).astype(np.int32), numbers.astype(np.int32), weights)

    def programme(self, low: npt.NDArray[np.float64], high: npt.NDArray[np.float64]) -> highspy.HighsLp:
        """The programme of these rows, each variable between two bounds."""
        lp = highspy.HighsLp()
        lp.num_col_, lp.num_row_ = len(low), len(self.ends) - 1
        lp.col_cost_, lp.col_lower_, lp.col_upper_ = np.zeros(len(low)), low, high
        lp.row_lower_, lp.row_upper_ = np.zeros(lp.num_row_), np.zeros(lp.num_row_)
        lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        lp.a_matrix_.start_, lp.a_matrix_.index_, lp.a_matrix_.value_ = self.ends, self.numbers, self.weights
        return lp


def reaching(low: npt.NDArray[np.float64], high: npt.NDArray[np.float64], rows: Rows) -> highspy.Highs:
    """A model of many programmes over one set of variables and sums, of which only the aim changes.

    Each goes on from the last one's end, which satisfies its rows too. Of a large one the first is made smaller before it
    is solved, which takes a tenth of the time.
    """
    made = model()
    made.setOptionValue("presolve", "on" if len(low) > _MANY else "off")
    primal = int(highspy.simplex_constants.SimplexStrategy.kSimplexStrategyPrimal)
    made.setOptionValue("simplex_strategy", primal)
    made.passModel(rows.programme(low, high))
    return made


class Line:
    """Linear programmes over one set of variables and sums: how far one variable can go up or down."""

    def __init__(self, low: npt.NDArray[np.float64], high: npt.NDArray[np.float64], rows: Rows) -> None:
        self._model = reaching(low, high, rows)
        self.is_begun = False  # the first programme of a large one takes longer than all others

    def furthest(self, aim: Mapping[int, float]) -> tuple[list[float], list[float]]:
        """All variables where the weighted sum `aim` is as high as can be, and the price of each row there."""
        numbers = np.fromiter(aim.keys(), dtype=np.int32)
        self._model.changeColsCost(len(aim), numbers, -np.fromiter(aim.values(), dtype=np.float64))
        self._model.run()
        if self._model.getModelStatus() != highspy.HighsModelStatus.kOptimal:
            raise Problem("CR-064", str(self._model.getModelStatus()), remedy="Report it: this is our fault.")
        solution = self._model.getSolution()
        self._model.changeColsCost(len(aim), numbers, np.zeros(len(aim)))
        if not self.is_begun:
            self._model.setOptionValue("presolve", "off")
            self.is_begun = True
        return list(solution.col_value), list(solution.row_dual)
