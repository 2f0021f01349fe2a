"""HiGHS, a solver of linear and integer programmes, as this room uses it: one thread, the same answer every time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import highspy
import numpy as np

from commonroom.problems import Problem, add_codes

add_codes({"CR-064": "No way was found to hide what must be hidden"})

# Within a twentieth of the cheapest is good enough; proving the last of it takes longest. Nodes, not seconds, limit the
# search: seconds would make the answer depend on how busy the machine is.
_GAP = 0.05
_NODES = 200
_HALF = 0.5


def _model() -> highspy.Highs:
    model = highspy.Highs()  # type: ignore[no-untyped-call]
    model.setOptionValue("output_flag", False)
    model.setOptionValue("threads", 1)
    model.setOptionValue("random_seed", 0)
    return model


class Programme:
    """Which of many yes-or-no variables to set, at the least cost, so that every constraint holds."""

    def __init__(self) -> None:
        self._model = _model()
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
        """The numbers of the variables that are set; None when nothing satisfies every constraint."""
        self._model.run()
        if self._model.getModelStatus() == highspy.HighsModelStatus.kInfeasible:
            return None
        solution = self._model.getSolution()
        if not solution.value_valid:
            raise Problem("CR-064", str(self._model.getModelStatus()), remedy="Report it: this is our fault.")
        return [number for number, value in enumerate(solution.col_value) if value > _HALF]


class Line:
    """Linear programmes over one set of variables and sums: how far one variable can go up or down."""

    def __init__(
        self, low: Sequence[float], high: Sequence[float], rows: Sequence[Mapping[int, float]]
    ) -> None:
        self._model = _model()
        # Each programme goes on from the last one's end, which satisfies its rows too: only the aim is another.
        self._model.setOptionValue("presolve", "off")
        self._model.setOptionValue(
            "simplex_strategy", int(highspy.simplex_constants.SimplexStrategy.kSimplexStrategyPrimal)
        )
        for lower, upper in zip(low, high, strict=True):
            self._model.addCol(0.0, lower, upper, 0, [], [])
        for row in rows:
            self._model.addRow(
                0.0,
                0.0,
                len(row),
                np.fromiter(row.keys(), dtype=np.int32),
                np.fromiter(row.values(), dtype=np.float64),
            )

    def furthest(self, aim: Mapping[int, float]) -> tuple[list[float], list[float]]:
        """All variables where the weighted sum `aim` is as high as can be, and the price of each row there."""
        numbers = np.fromiter(aim.keys(), dtype=np.int32)
        self._model.changeColsCost(len(aim), numbers, -np.fromiter(aim.values(), dtype=np.float64))
        self._model.run()
        if self._model.getModelStatus() != highspy.HighsModelStatus.kOptimal:
            raise Problem("CR-064", str(self._model.getModelStatus()), remedy="Report it: this is our fault.")
        solution = self._model.getSolution()
        self._model.changeColsCost(len(aim), numbers, np.zeros(len(aim)))
        return list(solution.col_value), list(solution.row_dual)
