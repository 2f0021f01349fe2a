"""Registers: who is marked what, morning and afternoon, and what earlier marks turn out to have been.

Codes are those of 2024/25 (FACTS section 2.1). An absence is a spell of school days with one reason; often the reason
is not known at first, is marked N, and is corrected when the family has told the school.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from random import Random

import msgspec

from commonroom.simulation.population import Pupil

PRESENT_AM, PRESENT_PM = "/", "\\"
LATE, NOT_YET_KNOWN, NOT_REQUIRED, TRIP = "L", "N", "X", "V"

# Reasons of absence with leave, with the longest spell in school days, and weights.
WITH_LEAVE = (
    ("I", 5, 78),
    ("M", 1, 12),
    ("C", 2, 3),
    ("R", 1, 2),
    ("E", 4, 2),
    ("C1", 2, 1),
    ("J1", 1, 1),
    ("T", 5, 1),
)
WITHOUT_LEAVE = (("O", 3, 62), ("G", 8, 23), ("U", 1, 15))
REASON_KNOWN_LATER = 0.35  # how many absences are first marked N
TRIP_RATE = 0.02  # how likely a school sends one of its years on a trip on a day


class Marks(msgspec.Struct, frozen=True):
    """The two marks of one pupil on one day."""

    upn: str
    am: str
    pm: str


class Correction(msgspec.Struct, frozen=True):
    """The true code of a session that stood as N. `session` is AM or PM."""

    upn: str
    day: str
    session: str
    code: str


class _Spell(msgspec.Struct):
    """An absence under way."""

    code: str
    days_left: int
    unknown_for: int  # school days until the reason is known; 0 when it is
    unknown: list[tuple[str, str]]  # sessions marked N until then


class Absences:
    """The spells of absence at one school."""

    def __init__(self) -> None:
        self._spells: dict[str, _Spell] = {}

    def take_registers(
        self, source: Random, present: Sequence[Pupil], day: date
    ) -> tuple[list[Marks], list[Correction]]:
        """Both registers of a day for the pupils on roll, and corrections of earlier days."""
        away = source.choice(present).year_taught if present and source.random() < TRIP_RATE else None
        text = day.isoformat()
        marks: list[Marks] = []
        corrections: list[Correction] = []
        for pupil in present:
            spell = self._spells.get(pupil.upn)
            if spell is not None:
                corrections.extend(self._learn_reason(pupil.upn, spell))
            if spell is None or spell.days_left == 0:
                spell = self._begin(source, pupil)
            marks.append(_mark(source, pupil, spell, text, on_trip=pupil.year_taught == away))
        return marks, corrections

    def forget(self, upn: str) -> None:
        """The pupil has left: what is not known by now stays as it stands."""
        self._spells.pop(upn, None)

    def _begin(self, source: Random, pupil: Pupil) -> _Spell | None:
        """Perhaps a new spell; a spell whose days are over stays only while its reason is awaited."""
        held = self._spells.get(pupil.upn)
        if held is not None and held.unknown_for > 0:
            return None
        self._spells.pop(pupil.upn, None)
        if source.random() >= pupil.illness:
            return None
        reasons = WITHOUT_LEAVE if source.random() < pupil.truancy else WITH_LEAVE
        code, longest, _ = source.choices(reasons, weights=[weight for *_, weight in reasons])[0]
        unknown = code in "IO" and source.random() < REASON_KNOWN_LATER
        spell = _Spell(code, source.randint(1, longest), source.randint(1, 3) if unknown else 0, [])
        self._spells[pupil.upn] = spell
        return spell

    def _learn_reason(self, upn: str, spell: _Spell) -> list[Correction]:
        """A day later; when the reason becomes known the sessions marked N are put right."""
        if spell.unknown_for == 0:
            return []
        spell.unknown_for -= 1
        if spell.unknown_for > 0:
            return []
        learnt = [Correction(upn, day, session, spell.code) for day, session in spell.unknown]
        spell.unknown = []
        return learnt


def _mark(source: Random, pupil: Pupil, spell: _Spell | None, day: str, *, on_trip: bool) -> Marks:
    if spell is None:
        am = LATE if source.random() < pupil.lateness else PRESENT_AM
        marks = Marks(pupil.upn, am, PRESENT_PM) if not on_trip else Marks(pupil.upn, TRIP, TRIP)
        return Marks(pupil.upn, marks.am, NOT_REQUIRED) if pupil.part_time else marks
    spell.days_left -= 1
    am, pm = _absence(spell)
    if pupil.part_time:
        pm = NOT_REQUIRED
    spell.unknown.extend(
        (day, session) for session, code in (("AM", am), ("PM", pm)) if code == NOT_YET_KNOWN
    )
    return Marks(pupil.upn, am, pm)


def _absence(spell: _Spell) -> tuple[str, str]:
    """The marks of one day of a spell: a medical appointment or a late arrival takes the morning only."""
    code = NOT_YET_KNOWN if spell.unknown_for > 0 else spell.code
    return (code, PRESENT_PM) if spell.code in ("M", "U") else (code, code)
