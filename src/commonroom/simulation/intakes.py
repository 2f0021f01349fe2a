"""How many pupils a school announces to admit: for each of its years of entry, this school year and the next."""

from __future__ import annotations

from datetime import date

import msgspec

from commonroom.simulation.schools import AGE_OF_YEAR, School

# Others take whom an authority sends them, and announce no number.
ANNOUNCING = ("mainstream", "college")
# Besides a school's first year: in these pupils come from elsewhere to a school that goes on with its own.
FURTHER_ENTRIES = ("7", "12")
_FIRST_AGE = AGE_OF_YEAR["R"]  # nurseries admit by other rules
_ROOM = 110  # per cent of a year's share of the pupils
_CLASS = 5  # numbers are announced in fives


class Intake(msgspec.Struct, frozen=True):
    """The places of one year group for who joins in September of `opens`."""

    opens: int
    nc_year: str
    places: int
    announced: str  # the day from which it holds


def intakes_of(school: School, first_day: date) -> list[Intake]:
    """What a school has announced when a world begins."""
    taught = [year for year in school.years if AGE_OF_YEAR[year] >= _FIRST_AGE]
    if school.kind not in ANNOUNCING or not taught:
        return []
    opens = first_day.year if first_day.month >= 9 else first_day.year - 1
    wanted = -(-school.pupils * _ROOM // (100 * len(school.years)))
    places = max(-(-wanted // _CLASS), 1) * _CLASS
    entries = [taught[0], *(year for year in FURTHER_ENTRIES if year in taught[1:])]
    return [Intake(year, entry, places, f"{opens}-09-01") for year in (opens, opens + 1) for entry in entries]
