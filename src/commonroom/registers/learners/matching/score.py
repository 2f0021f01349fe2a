"""The scalar scorer: Fellegi-Sunter with term frequencies. It is the reference for the columnar one."""

from __future__ import annotations

from commonroom.registers.learners.matching.normalise import Prepared
from commonroom.registers.learners.matching.people import Details, Known, Weighed


def weigh(query: Details | Prepared, known: Known, *, registered: int | None = None) -> Weighed:
    """How strongly `known` is who the query speaks of, field by field.

    `registered` is how many persons the register holds (None: the number the parameters declare): the more there are,
    the more it takes to be one of them.
    """
    raise NotImplementedError
