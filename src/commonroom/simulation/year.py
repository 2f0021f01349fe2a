"""The school year as it passes: who comes, goes, moves house or school, and what the registers say.

A `Year` begins with the first population and is led through the school days in order. What happens on a day at a
school is drawn from the stream named after seed, school and date, so a year led twice over the same days is the same
year. It holds no database: `world` writes what a `SchoolDay` says.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from math import exp
from random import Random

import msgspec

from commonroom.simulation import attendance
from commonroom.simulation.population import (
    NURSERY_YEARS,
    Pupil,
    UpnGiver,
    book,
    first_population,
    invent,
    near,
    stream,
)
from commonroom.simulation.schools import School

# How often something happens, for one pupil on one school day.
JOIN_RATE = 0.0005
LEAVE_RATE = 0.0004
MOVE_RATE = 0.0007
ADDRESS_RATE = 0.0008
FSM_RATE = 0.0006
SEN_RATE = 0.0005

# Reasons given for those who leave the county (FACTS section 2, leaving reason), with weights.
REASONS_AWAY = (("IM", 55), ("II", 12), ("EL", 14), ("LC", 9), ("OR", 6), ("UK", 4))
REASON_MOVED = "IM"
SAME_AUTHORITY = 0.8


class Leaver(msgspec.Struct, frozen=True):
    """A pupil whose last day this is; `destination` is the URN of the next school where it is known."""

    upn: str
    leaving_date: str
    reason: str
    destination: str | None


class Removal(msgspec.Struct, frozen=True):
    """A new home address."""

    upn: str
    address_line1: str
    town: str
    postcode: str


class Struck(msgspec.Struct, frozen=True):
    """A mark that was wrong altogether and is taken out of the register. `session` is AM or PM."""

    upn: str
    day: str
    session: str


class SchoolDay(msgspec.Struct, frozen=True, kw_only=True):
    """All that a school's clerks and teachers enter on one day."""

    school: str
    day: str
    admitted: tuple[Pupil, ...]
    left: tuple[Leaver, ...]
    removals: tuple[Removal, ...]
    fsm_gained: tuple[str, ...]
    sen_support: tuple[str, ...]
    marks: tuple[attendance.Marks, ...]
    corrections: tuple[attendance.Correction, ...]
    # Marks of an earlier day that are entered only now, and what is taken out (see `unsettled`).
    late: tuple[attendance.Marks, ...] = ()
    late_day: str = ""
    struck: tuple[Struck, ...] = ()


class Year:
    """The state of every school's roll between two days."""

    def __init__(self, seed: int, schools: Sequence[School], first_day: date) -> None:
        self._seed = seed
        self._first_day = first_day
        self._schools = sorted(schools, key=lambda school: school.urn)
        self._giver = UpnGiver(self._schools)
        self._rolls: dict[str, dict[str, Pupil]] = {
            school.urn: {p.upn: p for p in first_population(seed, school, self._giver, first_day)}
            for school in self._schools
        }
        self._absences: dict[str, attendance.Absences] = {s.urn: attendance.Absences() for s in self._schools}
        self._arriving: dict[str, list[Pupil]] = {}
        self._attended: dict[str, set[str]] = {}  # UPN -> URNs of schools left: nobody goes back to one

    def roll(self, urn: str) -> list[Pupil]:
        """The pupils on roll at a school now, in order of UPN."""
        return sorted(self._rolls[urn].values(), key=lambda pupil: pupil.upn)

    def pass_day(self, day: date) -> dict[str, SchoolDay]:
        """Lead the year through one school day; by URN, what happened."""
        arriving, self._arriving = self._arriving, {}
        return {
            school.urn: self._pass_at(school, day, sorted(arriving.get(school.urn, ()), key=_upn))
            for school in self._schools
        }

    def _pass_at(self, school: School, day: date, arriving: list[Pupil]) -> SchoolDay:
        source = stream(self._seed, "day", day.isoformat(), school.urn)
        roll = self._rolls[school.urn]
        known = self.roll(school.urn)
        admitted = self._admit(source, school, day, arriving, len(known))
        # Nothing else happens to pupils on the day they come: each history then has one entry a day.
        touched = _Untouched(source, [pupil for pupil in known if pupil.entry_date < day.isoformat()])
        left = self._leave(source, school, day, touched)
        removals = [_remove(source, pupil) for pupil in touched.take(ADDRESS_RATE)]
        fsm_gained = [pupil for pupil in touched.take(FSM_RATE) if not pupil.fsm]
        sen_support = [pupil for pupil in touched.take(SEN_RATE) if pupil.sen_provision == "N"]

        present = sorted((*known, *admitted), key=_upn)
        marks, corrections = self._absences[school.urn].take_registers(source, present, day)

        roll.update({pupil.upn: pupil for pupil in admitted})
        for removal in removals:
            roll[removal.upn] = msgspec.structs.replace(
                roll[removal.upn],
                address_line1=removal.address_line1,
                town=removal.town,
                postcode=removal.postcode,
            )
        for pupil in fsm_gained:
            roll[pupil.upn] = msgspec.structs.replace(roll[pupil.upn], fsm=True)
        for pupil in sen_support:
            roll[pupil.upn] = msgspec.structs.replace(roll[pupil.upn], sen_provision="K")
        for leaver in left:
            del roll[leaver.upn]
            self._absences[school.urn].forget(leaver.upn)
        return SchoolDay(
            school=school.urn,
            day=day.isoformat(),
            admitted=tuple(admitted),
            left=tuple(left),
            removals=tuple(removals),
            fsm_gained=tuple(pupil.upn for pupil in fsm_gained),
            sen_support=tuple(pupil.upn for pupil in sen_support),
            marks=tuple(marks),
            corrections=tuple(corrections),
        )

    def _admit(
        self, source: Random, school: School, day: date, arriving: list[Pupil], on_roll: int
    ) -> list[Pupil]:
        """Those who moved here from another school yesterday, and some from outside the county."""
        sizes = [book().year_size[year] for year in school.years]
        new = [
            invent(
                source,
                school,
                source.choices(school.years, weights=sizes)[0],
                self._giver,
                self._first_day,
                day,
            )
            for _ in range(_poisson(source, on_roll * JOIN_RATE))
        ]
        moved = [msgspec.structs.replace(pupil, entry_date=day.isoformat()) for pupil in arriving]
        return [*moved, *new]

    def _leave(self, source: Random, school: School, day: date, pupils: _Untouched) -> list[Leaver]:
        """Those whose last day this is: to another school of the county, or away."""
        left = []
        for pupil in pupils.take(MOVE_RATE):
            destination = self._next_school(source, school, pupil)
            if destination is None:
                continue
            self._attended.setdefault(pupil.upn, set()).add(school.urn)
            self._arriving.setdefault(destination.urn, []).append(_moved(pupil, destination))
            left.append(Leaver(pupil.upn, day.isoformat(), REASON_MOVED, destination.urn))
        reasons = [reason for reason, _ in REASONS_AWAY]
        weights = [weight for _, weight in REASONS_AWAY]
        for pupil in pupils.take(LEAVE_RATE):
            left.append(Leaver(pupil.upn, day.isoformat(), source.choices(reasons, weights=weights)[0], None))
        return left

    def _next_school(self, source: Random, school: School, pupil: Pupil) -> School | None:
        """Another school of the same kind that teaches the pupil's year, mostly in the same authority."""
        attended = self._attended.get(pupil.upn, set())
        fitting = [
            other
            for other in self._schools
            if other.urn != school.urn
            and other.kind == school.kind
            and pupil.year_taught in other.years
            and other.urn not in attended
        ]
        near_by = [other for other in fitting if other.la_code == school.la_code]
        choice = near_by if near_by and source.random() < SAME_AUTHORITY else fitting
        return source.choice(choice) if choice else None


class _Untouched:
    """The roll in the morning, from which each pupil is taken for at most one event of the day."""

    def __init__(self, source: Random, roll: list[Pupil]) -> None:
        self._source = source
        self._size = len(roll)
        self._rest = list(roll)

    def take(self, rate: float) -> list[Pupil]:
        """Some pupils, `rate` for each on roll; they are not taken again."""
        count = min(_poisson(self._source, self._size * rate), len(self._rest))
        return [self._rest.pop(self._source.randrange(len(self._rest))) for _ in range(count)]


def _poisson(source: Random, mean: float) -> int:
    """How many rare events happen (Knuth's method; the means here are small)."""
    limit, product, count = exp(-mean), source.random(), 0
    while product > limit:
        product *= source.random()
        count += 1
    return count


def _moved(pupil: Pupil, destination: School) -> Pupil:
    """The pupil as the next school will enter them; the entry date is set on the day they come."""
    # Only special schools teach outside the National Curriculum years, and pupils move within a kind of school.
    return msgspec.structs.replace(
        pupil, school=destination.urn, part_time=pupil.year_taught in NURSERY_YEARS
    )


def _remove(source: Random, pupil: Pupil) -> Removal:
    line = f"{source.randrange(1, 180)} {book().streets.draw(source)}"
    return Removal(pupil.upn, line, pupil.town, near(source, pupil.postcode))


def _upn(pupil: Pupil) -> str:
    return pupil.upn
