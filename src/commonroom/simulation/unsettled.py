"""Registers that do not stay as they were taken: a part of the marks is corrected, struck out or entered a day late.

It stands between what happens and what is entered, and follows from the seed like everything else: of a hundred pupils'
days `late` are touched, of ten of these four by a correction, three by striking out a session and three by entering both of
their marks on the next school day.
"""

from __future__ import annotations

from random import Random

import msgspec

from commonroom.simulation.attendance import Correction, Marks
from commonroom.simulation.year import SchoolDay, Struck

_CORRECTED, _STRUCK = 0.4, 0.7
_ILL, _APPOINTMENT = "I", "M"


class Unsettled:
    """What became of the marks of the day before, at every school."""

    def __init__(self, seed: int, late: int) -> None:
        self._seed, self._share = seed, late / 100
        self._touched: dict[str, SchoolDay] = {}  # by URN, what the next day has to do

    def entered(self, happened: dict[str, SchoolDay]) -> dict[str, SchoolDay]:
        """The day as it is entered: what yesterday left to do is done, and some of it is left for tomorrow."""
        if not self._share:
            return happened
        return {urn: self._at(urn, day) for urn, day in happened.items()}

    def _at(self, urn: str, day: SchoolDay) -> SchoolDay:
        source = Random(f"{self._seed} unsettled {urn} {day.day}")  # noqa: S311 - invented
        before = self._touched.get(urn)
        marks: list[Marks] = []
        late: list[Marks] = []
        corrections: list[Correction] = []
        struck: list[Struck] = []
        for own in day.marks:
            fate = source.random() / self._share
            session = source.choice(("AM", "PM"))
            if _STRUCK <= fate < 1:
                late.append(own)
                continue
            marks.append(own)
            if fate < _CORRECTED:
                was = own.am if session == "AM" else own.pm
                corrections.append(
                    Correction(own.upn, day.day, session, _ILL if was != _ILL else _APPOINTMENT)
                )
            elif fate < _STRUCK:
                struck.append(Struck(own.upn, day.day, session))
        self._touched[urn] = msgspec.structs.replace(
            day, marks=tuple(late), corrections=tuple(corrections), struck=tuple(struck)
        )
        if before is None:
            return msgspec.structs.replace(day, marks=tuple(marks))
        return msgspec.structs.replace(
            day,
            marks=tuple(marks),
            late=before.marks,
            late_day=before.day,
            corrections=(*day.corrections, *before.corrections),
            struck=before.struck,
        )
