"""Round numbers for an axis."""

from __future__ import annotations

import math
from decimal import Decimal

import msgspec

STEPS = (1, 2, 5, 10)


class Scale(msgspec.Struct, frozen=True):
    """An axis from `low` to `high` with `ticks` at round numbers, both ends included."""

    low: float
    high: float
    ticks: tuple[float, ...]

    def share(self, value: Decimal | int | float) -> float:
        """Where a value lies between low (0.0) and high (1.0)."""
        return (float(value) - self.low) / (self.high - self.low)


def scale(values: list[float], *, from_zero: bool = True, wanted: int = 5, whole: bool = False) -> Scale:
    """An axis that holds all `values` in about `wanted` steps of 1, 2 or 5 times a power of ten.

    `whole` forbids fractions of one (there is no half pupil). Bars must start at zero; a line of large counts
    may not, or every change in it disappears.
    """
    shown = [*values, 0.0] if from_zero else values  # some measures can be below it
    top, bottom = max(shown, default=0.0), min(shown, default=0.0)
    span = max(top - bottom, 1e-9 if not whole else 1.0)
    if top == bottom:
        span = max(abs(top), 1.0)
    step = _round_step(span / wanted)
    if whole:
        step = max(step, 1.0)
    low = math.floor(bottom / step) * step
    high = max(math.ceil(top / step) * step, low + step)
    ticks = tuple(round(low + index * step, 10) + 0.0 for index in range(round((high - low) / step) + 1))
    return Scale(low=low, high=high, ticks=ticks)


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(step * power for step in STEPS if rough <= step * power * (1 + 1e-9))
