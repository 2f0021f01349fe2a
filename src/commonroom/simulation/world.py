"""The simulated world in files: one database for each school and each authority, and days that are entered into them.

Writing can be broken off at any moment and repeated: a database appears whole or not at all, and a day is one
transaction for each school, which leaves its mark in the table `simulated_day`.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import msgspec

from commonroom.problems import Problem
from commonroom.simulation.intakes import intakes_of
from commonroom.simulation.population import Pupil
from commonroom.simulation.schools import Authority, School, authorities_of, county
from commonroom.simulation.systems import SYSTEMS, VENDORS, schema
from commonroom.simulation.unsettled import Unsettled
from commonroom.simulation.year import SchoolDay, Year
from commonroom.standard import terms

AUTHORITY = Path(__file__).parent / "authority"
WORLD_FILE = "world.json"
# Of the makers' tables: what an older program wrote, today's mappings cannot read.
_EDITION = 2
BUSY_SECONDS = 30.0  # an agent may be reading or loading

_DAYS_TABLE = "CREATE TABLE simulated_day (day TEXT PRIMARY KEY)"


class World:
    """The schools, how many pupils they share, and the seed from which everything that happens follows."""

    def __init__(
        self, seed: int, schools: Sequence[School], first_day: date | None = None, late: int = 0
    ) -> None:
        """`late`: of a hundred pupils' days, how many are corrected, struck out or entered late (see `unsettled`)."""
        self.seed = seed
        self.late = late
        self.schools = tuple(sorted(schools, key=lambda school: school.urn))
        self.first_day = first_day or date.fromisoformat(county().first_day)
        self.authorities: tuple[Authority, ...] = authorities_of(self.schools)
        self._year = Year(seed, self.schools, self.first_day)
        self._unsettled = Unsettled(seed, late)
        self._led_to: date | None = None
        self._last: dict[str, SchoolDay] = {}

    @property
    def pupils(self) -> int:
        """Pupils on roll on the first day."""
        return sum(school.pupils for school in self.schools)

    @property
    def fingerprint(self) -> str:
        """The same for worlds in which the same things happen."""
        late = (self.late,) if self.late else ()
        facts = msgspec.json.encode((_EDITION, self.seed, self.schools, self.first_day, *late))
        return hashlib.sha256(facts).hexdigest()

    def first_roll(self, urn: str) -> list[Pupil]:
        """The pupils of a school before the first day."""
        if self._led_to is not None:
            self._begin_again()
        return self._year.roll(urn)

    def school_days(self, last: date) -> list[date]:
        """The school days from the first day to `last`. Raises Problem CR-092 outside the calendar."""
        return terms.school_days(self.first_day, last)

    def happenings(self, day: date) -> dict[str, SchoolDay]:
        """By URN, what happens on a school day; the days before it are led through first."""
        days = self.school_days(day)
        if not days or days[-1] != day:
            raise Problem(
                "CR-121",
                f"{day} is not a school day of this world, which begins on {self.first_day}",
                remedy="Let only school days pass: `next_school_day` names them.",
            )
        if self._led_to is not None and day < self._led_to:
            self._begin_again()
        for number in days:
            if self._led_to is None or number > self._led_to:
                self._last = self._unsettled.entered(self._year.pass_day(number))
                self._led_to = number
        return self._last

    def _begin_again(self) -> None:
        self._year = Year(self.seed, self.schools, self.first_day)
        self._unsettled = Unsettled(self.seed, self.late)
        self._led_to, self._last = None, {}


class Manifest(msgspec.Struct, frozen=True):
    """What world.json says of the databases beside it."""

    fingerprint: str
    schools: tuple[School, ...]
    authorities: tuple[Authority, ...]


class BuildReport(msgspec.Struct, frozen=True):
    """What a build left in the folder."""

    schools: int
    authorities: int
    pupils: int


class DayReport(msgspec.Struct, frozen=True, kw_only=True):
    """What happened on a day, over all schools. `entered` counts the schools that had not yet entered the day."""

    day: date
    schools: int
    entered: int
    marks: int
    corrections: int
    admitted: int
    left: int
    moved: int  # of `left`, those who go to another school of the world
    removals: int
    fsm_gained: int
    sen_support: int
    late: int = 0  # pupils whose marks of an earlier day were entered now
    struck: int = 0  # marks that were taken out


def school_database(folder: Path, urn: str) -> Path:
    """The database of a school's own system."""
    return folder / f"{urn}.db"


def authority_database(folder: Path, la_code: str) -> Path:
    """The database of an authority's store."""
    return folder / f"la-{la_code}.db"


def source_mapping(system: str) -> Path:
    """How an agent reads this maker's system."""
    return VENDORS / system / "mapping.yaml"


def store_mapping(system: str) -> Path:
    """Where an agent puts what other schools send to this maker's system."""
    return VENDORS / system / "store.yaml"


def authority_store_mapping() -> Path:
    """Where an authority's agent puts what its schools send."""
    return AUTHORITY / "store.yaml"


def next_school_day(world: World, after: date | None = None) -> date:
    """The first school day after `after`, or the world's first one. Raises Problem CR-121 when the calendar ends."""
    last = terms.covered()[1]
    for day in world.school_days(last):
        if after is None or day > after:
            return day
    raise Problem(
        "CR-121", f"there is no school day after {after}", remedy="Add a year to standard/terms.yaml."
    )


def build(world: World, folder: Path) -> BuildReport:
    """Write the databases that are not there yet, as they stand before the first day.

    Raises Problem CR-120 when the folder holds another world.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _claim(world, folder)
    for school in world.schools:
        with _fresh(school_database(folder, school.urn)) as connection:
            if connection is not None:
                connection.executescript(schema(school.system))
                connection.execute(_DAYS_TABLE)
                connection.execute("BEGIN")
                SYSTEMS[school.system].open_school(connection, school, world.first_roll(school.urn))
                SYSTEMS[school.system].announce(connection, intakes_of(school, world.first_day))
                connection.execute("COMMIT")
    for authority in world.authorities:
        with _fresh(authority_database(folder, authority.code)) as connection:
            if connection is not None:
                connection.executescript((AUTHORITY / "schema.sql").read_text("utf-8"))
    return BuildReport(len(world.schools), len(world.authorities), world.pupils)


def pass_day(world: World, folder: Path, day: date) -> DayReport:
    """Enter one school day into every school's database; schools that have entered it are left as they are.

    Days pass in order. Raises Problem CR-121 for a day that is no school day or comes before its turn.
    """
    happened = world.happenings(day)
    entered = sum(_enter(world, folder, school, happened[school.urn], day) for school in world.schools)
    days = happened.values()
    return DayReport(
        day=day,
        schools=len(happened),
        entered=entered,
        marks=sum(2 * len(one.marks) for one in days),
        corrections=sum(len(one.corrections) for one in days),
        admitted=sum(len(one.admitted) for one in days),
        left=sum(len(one.left) for one in days),
        moved=sum(1 for one in days for leaver in one.left if leaver.destination),
        removals=sum(len(one.removals) for one in days),
        fsm_gained=sum(len(one.fsm_gained) for one in days),
        sen_support=sum(len(one.sen_support) for one in days),
        late=sum(len(one.late) for one in days),
        struck=sum(len(one.struck) for one in days),
    )


def last_day(world: World, folder: Path) -> date | None:
    """The newest day that every school has entered; None before the first."""
    newest = []
    for school in world.schools:
        with _open(school_database(folder, school.urn)) as connection:
            newest.append(_newest_day(connection))
    return None if None in newest else min((day for day in newest if day is not None), default=None)


def read_manifest(folder: Path) -> Manifest:
    """The world in a folder. Raises Problem CR-120 when there is none."""
    path = folder / WORLD_FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=Manifest)
    except FileNotFoundError as error:
        raise Problem(
            "CR-120",
            "no simulated schools have been built here",
            where=str(folder),
            remedy="Run `commonroom demo`.",
        ) from error


def _claim(world: World, folder: Path) -> None:
    """Write world.json, or see that the one there is of this world."""
    path = folder / WORLD_FILE
    if not path.exists():
        partial = path.with_suffix(".partial")
        partial.write_bytes(
            msgspec.json.encode(Manifest(world.fingerprint, world.schools, world.authorities))
        )
        partial.replace(path)
    elif read_manifest(folder).fingerprint != world.fingerprint:
        raise Problem(
            "CR-120",
            "the folder holds the schools of another world (other seed, schools or pupils, or an older program)",
            where=str(folder),
            remedy="Use another data folder, or empty this one.",
        )


def _enter(world: World, folder: Path, school: School, happened: SchoolDay, day: date) -> bool:
    """One school's day, in one transaction; False when it had been entered before."""
    with _open(school_database(folder, school.urn)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        newest = _newest_day(connection)
        if newest is not None and newest >= day:
            connection.execute("ROLLBACK")
            return False
        expected = next_school_day(world, newest)
        if expected != day:
            connection.execute("ROLLBACK")
            raise Problem(
                "CR-121",
                f"{expected} must pass before {day}",
                where=f"school {school.urn}",
                remedy="Pass days in order.",
            )
        SYSTEMS[school.system].enter_day(connection, happened)
        connection.execute("INSERT INTO simulated_day VALUES (?)", (day.isoformat(),))
        connection.execute("COMMIT")
        return True


def _newest_day(connection: sqlite3.Connection) -> date | None:
    (newest,) = connection.execute("SELECT max(day) FROM simulated_day").fetchone()
    return date.fromisoformat(newest) if newest else None


@contextmanager
def _open(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection without automatic transactions; what was not committed is rolled back."""
    if not path.exists():
        raise Problem(
            "CR-120", "the school has no database", where=str(path), remedy="Build the world first."
        )
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
    try:
        # A killed process loses nothing under OFF; only a failure of the machine could, and the world is then rebuilt.
        connection.execute("PRAGMA synchronous = OFF")
        yield connection
    finally:
        connection.close()


@contextmanager
def _fresh(path: Path) -> Iterator[sqlite3.Connection | None]:
    """A new database under another name, which takes its own when complete; None when it is there already."""
    if path.exists():
        yield None
        return
    partial = path.with_suffix(f".{os.getpid()}.partial")
    partial.unlink(missing_ok=True)
    connection = sqlite3.connect(partial, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        yield connection
        # Readers (agents) and the writer do not wait for each other.
        connection.execute("PRAGMA journal_mode = WAL")
    except BaseException:
        connection.close()
        partial.unlink(missing_ok=True)
        raise
    connection.close()
    partial.replace(path)
