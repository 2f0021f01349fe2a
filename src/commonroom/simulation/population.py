"""The invented pupils as they are on the first day, school by school.

Everything is drawn from a random stream named after the seed and the school, so a population is the same on every
machine and in every process. Schools are drawn in order of URN, because they share the serial numbers of UPNs.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta
from functools import cache
from itertools import accumulate
from random import Random

import msgspec

from commonroom import declarations
from commonroom.simulation.schools import AGE_OF_YEAR, COUNTY, School
from commonroom.standard import identifiers

# Years before compulsory schooling: such pupils come in the mornings only.
NURSERY_YEARS = frozenset({"N1", "N2"})
# No stay begins before the SEN codes of today (N, K, E) came into use.
EARLIEST_ENTRY = date(2014, 9, 3)
# Parts of a thousand special-school pupils who follow no National Curriculum year.
NO_YEAR_SHARE = 150


class Pupil(msgspec.Struct, frozen=True, kw_only=True):
    """One invented pupil at one school. Dates are ISO text, as the standard has them."""

    upn: str
    school: str  # URN
    given_name: str
    family_name: str
    date_of_birth: str
    sex: str
    ethnicity: str
    language: str
    fsm: bool
    sen_provision: str
    address_line1: str
    town: str
    postcode: str
    nc_year: str
    year_taught: str  # nc_year, or the year of their age where nc_year is X
    part_time: bool
    entry_date: str
    illness: float  # how likely an absence begins on a day
    truancy: float  # how likely an absence that began is without leave
    lateness: float  # how likely the pupil is late on a day


class Weighted:
    """Words with weights, drawn with one random number; made from text such as `Smith 40, de la Mare 5`."""

    def __init__(self, pairs: Iterable[tuple[str, int]]) -> None:
        listed = list(pairs)
        self.words = [word for word, _ in listed]
        self._bounds = list(accumulate(weight for _, weight in listed))

    @classmethod
    def parse(cls, text: str) -> Weighted:
        """Raises ValueError where a weight is missing."""
        pairs = (entry.strip().rsplit(maxsplit=1) for entry in text.split(","))
        return cls((word, int(weight)) for word, weight in pairs)

    def draw(self, stream: Random) -> str:
        """One word."""
        return stream.choices(self.words, cum_weights=self._bounds)[0]


class _Names(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    boys: str
    girls: str
    surnames: str
    streets: str


class _People(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    ethnicity: str
    language: str
    english_if_white_british: int
    english_otherwise: int
    free_school_meals: dict[str, int]
    sen_support: dict[str, int]
    sen_plan: dict[str, int]
    year_size: str
    elsewhere: tuple[str, ...]


class Book:
    """The lists pupils are drawn from (names.yaml, people.yaml)."""

    def __init__(self) -> None:
        names = declarations.load(COUNTY / "names.yaml", _Names)
        self.people = declarations.load(COUNTY / "people.yaml", _People)
        self.first_names = {"M": Weighted.parse(names.boys), "F": Weighted.parse(names.girls)}
        self.surnames = Weighted.parse(names.surnames)
        self.streets = Weighted.parse(names.streets)
        self.ethnicities = Weighted.parse(self.people.ethnicity)
        self.languages = Weighted.parse(self.people.language)
        sizes = (entry.split() for entry in self.people.year_size.split(","))
        self.year_size = {year: int(size) for year, size in sizes}


@cache
def book() -> Book:
    """The lists, read once."""
    return Book()


class UpnGiver:
    """Gives each UPN once. Most pupils got theirs in reception, at a primary school of the same authority."""

    def __init__(self, schools: Iterable[School]) -> None:
        self._givers: dict[str, list[School]] = {}
        self._given: dict[tuple[str, str, int], int] = {}
        for school in schools:
            if "R" in school.years and school.kind == "mainstream":
                self._givers.setdefault(school.la_code, []).append(school)

    def give(self, stream: Random, school: School, entered_reception: int, this_year: int) -> str:
        """A UPN for a pupil at `school` who entered reception in that calendar year (perhaps not yet)."""
        year = min(entered_reception, this_year)
        givers = self._givers.get(school.la_code, [])
        if school in givers or year == this_year or not givers:
            return self._next(school.la_code, school.estab, year)
        giver = stream.choice(givers)
        return self._next(giver.la_code, giver.estab, year)

    def give_elsewhere(self, stream: Random, entered_reception: int, this_year: int) -> str:
        """A UPN given by some school outside the simulation."""
        la_code = stream.choice(book().people.elsewhere)
        return self._next(la_code, str(stream.randrange(2000, 3900)), min(entered_reception, this_year))

    def _next(self, la_code: str, estab: str, year: int) -> str:
        serial = self._given.get((la_code, estab, year), 0) + 1
        self._given[la_code, estab, year] = serial
        return identifiers.make_upn(la_code, estab, year, serial)


def stream(seed: int, *names: str) -> Random:
    """A random stream of its own. Text seeds are hashed by SHA-512, the same in every process."""
    return Random("/".join((str(seed), *names)))  # noqa: S311 - invention, not secrecy


def first_population(seed: int, school: School, giver: UpnGiver, first_day: date) -> list[Pupil]:
    """The pupils on roll at one school on the first day, in order of UPN."""
    source = stream(seed, "population", school.urn)
    sizes = [book().year_size[year] for year in school.years]
    years = source.choices(school.years, weights=sizes, k=school.pupils)
    pupils = [invent(source, school, year, giver, first_day) for year in years]
    return sorted(pupils, key=lambda pupil: pupil.upn)


def invent(
    source: Random, school: School, year: str, giver: UpnGiver, first_day: date, joined: date | None = None
) -> Pupil:
    """One pupil of `year` at `school`; `joined` when the pupil arrives from outside during the year."""
    lists, people = book(), book().people
    age = AGE_OF_YEAR[year]
    sex = source.choice("FM")
    ethnicity = lists.ethnicities.draw(source)
    english = people.english_if_white_british if ethnicity == "WBRI" else people.english_otherwise
    reception = first_day.year - (age - AGE_OF_YEAR["R"])
    # Most children keep to a few days off; about one in eight is often away.
    often_away = source.random() < 0.13
    return Pupil(
        upn=(
            giver.give(source, school, reception, first_day.year)
            if joined is None or year in NURSERY_YEARS
            else giver.give_elsewhere(source, reception, first_day.year)
        ),
        school=school.urn,
        given_name=lists.first_names[sex].draw(source),
        family_name=lists.surnames.draw(source),
        date_of_birth=_birthday(source, first_day.year - age).isoformat(),
        sex=sex,
        ethnicity=ethnicity,
        language="ENG" if source.randrange(1000) < english else lists.languages.draw(source),
        fsm=source.randrange(1000) < people.free_school_meals[school.kind],
        sen_provision=_sen(source, school.kind),
        address_line1=f"{source.randrange(1, 180)} {lists.streets.draw(source)}",
        town=school.town,
        postcode=near(source, school.postcode),
        nc_year="X" if school.kind == "special" and source.randrange(1000) < NO_YEAR_SHARE else year,
        year_taught=year,
        part_time=year in NURSERY_YEARS,
        entry_date=(joined or _entry(source, school, year, first_day)).isoformat(),
        illness=source.uniform(0.07, 0.16) if often_away else source.uniform(0.003, 0.026),
        truancy=source.uniform(0.15, 0.7) if often_away else source.uniform(0.0, 0.2),
        lateness=source.uniform(0.0, 0.12) if often_away else source.uniform(0.0, 0.03),
    )


def near(source: Random, postcode: str) -> str:
    """A postcode of the same district: `WM1 2BD` gives `WM1 ` and another digit and two letters."""
    district = postcode.split()[0] if postcode.split() else "WM1"
    letters = "ABDEFGHJLNPQRSTUWXYZ"  # the letters used after the digit
    return f"{district} {source.randrange(1, 10)}{source.choice(letters)}{source.choice(letters)}"


def _birthday(source: Random, turned_by_august: int) -> date:
    """A birthday of a school year: from 1 September to 31 August of `turned_by_august`."""
    return date(turned_by_august - 1, 9, 1) + timedelta(days=source.randrange(365))


def _sen(source: Random, kind: str) -> str:
    people, throw = book().people, source.randrange(1000)
    if throw < people.sen_plan[kind]:
        return "E"
    return "K" if throw < people.sen_plan[kind] + people.sen_support[kind] else "N"


def _entry(source: Random, school: School, year: str, first_day: date) -> date:
    """When the pupil came: mostly at the start of the school's own first year, sometimes in the middle of one."""
    intake = AGE_OF_YEAR[year] - AGE_OF_YEAR[school.years[0]]
    usual = school.kind in ("mainstream", "college") and source.random() < 0.85
    years_ago = intake if usual else source.randrange(intake + 1)
    if years_ago == 0:
        return first_day
    start = max(date(first_day.year - years_ago, 9, 3), EARLIEST_ENTRY)
    return start if usual else start + timedelta(days=source.randrange(1, 300))
