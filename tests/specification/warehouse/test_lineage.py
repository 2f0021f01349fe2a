"""Where a figure comes from, and who may see what of it: the whole of it in one table.

Two authorities of two schools each, twelve pupils a school, one message of marks a day. In Westmarch (997) nothing is small.
In Eastvale (998) one pupil of the second school stays away once, on Wednesday: that figure is hidden, and others beside it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import date, datetime, timedelta
from typing import Any

import pytest

from commonroom import standard
from commonroom.engines import clock
from commonroom.identity import PUBLIC, Principal
from commonroom.problems import Problem
from commonroom.settings import Settings
from commonroom.warehouse import Lineage, Reader, combinations, compilation, measures, open_reader, tables
from tests.unit.warehouse.house import House, enrolment, mark, upn

A, B, C, D = "990001", "990002", "990003", "990004"
MONDAY, WEDNESDAY = date(2026, 9, 7), date(2026, 9, 9)
PUPILS = 12
AUTHORITY = "urn:commonroom:org:01900000-0000-7000-8000-000000000997"
OVERALL, AWAY = "absence_overall", "absence_unauthorised"


@pytest.fixture
async def house(pool: Any, settings: Settings) -> AsyncIterator[House]:
    async with pool.acquire() as connection:
        await clock.set_to(connection, settings, datetime.fromisoformat("2026-09-14T12:00+00:00"))
        house = await House(connection, settings, [A, B, C, D]).open()
        await house.register(s990003="998", s990004="998")
        for place, school in enumerate((A, B, C, D)):
            pupils = range(100 * place, 100 * place + PUPILS)
            stays = [enrolment(school, pupil, "2026-09-01") for pupil in pupils]
            letters = [house.letter(school, "enrolment", stays, accepted_at="2026-09-02T08:00Z")]
            letters += [_day(house, place, school, MONDAY + timedelta(days=day)) for day in range(5)]
            assert not (await house.load(*letters)).findings
        # Pupil 0 of A was not away on Monday after all: told on Tuesday.
        correction = [mark(A, 0, "2026-09-07", "AM", "/", 2)]
        await house.load(house.letter(A, "attendance_mark", correction, accepted_at="2026-09-08T10:00Z"))
        yield house


def _day(house: House, place: int, school: str, day: date) -> Any:
    """Four pupils are ill each day and four stay away; nobody of D does, but for one on Wednesday."""

    def code(pupil: int) -> str:
        if pupil < 4:
            return "I"
        if school == D:
            return "O" if (pupil, day) == (4, WEDNESDAY) else "/"
        return "O" if pupil < 8 else "/"

    marks = [
        mark(school, 100 * place + pupil, day.isoformat(), session, code(pupil))
        for pupil in range(PUPILS)
        for session in ("AM", "PM")
    ]
    return house.letter(school, "attendance_mark", marks, accepted_at=f"{day}T16:00Z")


@pytest.fixture
async def reader(house: House) -> AsyncIterator[Reader]:
    opened = open_reader(house.settings)
    yield opened
    opened.close()


async def trace(
    house: House, reader: Reader, who: Principal = PUBLIC, measure: str = OVERALL, **asked: Any
) -> Lineage:
    chosen: dict[str, Any] = {"level": "school", "unit": A, "grain": "week", "on": WEDNESDAY, **asked}
    return await reader.lineage(house.connection, who, measure=measure, purpose="a test", **chosen)


def person(role: Any, party: str | None = None) -> Principal:
    return Principal(kind="person", id="p1", role=role, party=party)


# What of the facts of a figure each may see: how many messages of whom; facts and the message of each; who the pupil is.
# `all`, `own` (of its own sending), `-` nothing.
TABLE = """
                        senders  facts  pupils
public    shown         all      -      -
public    hidden        -        -      -
school A  shown         all      all    all
school A  neighbour     all      -      -
school D  hidden        -        all    all
school C  hidden        -        -      -
school D  authority     -        own    own
authority shown         all      -      -
authority hidden        -        -      -
analyst   shown         all      all    -
analyst   hidden        -        all    -
operator  hidden        -        -      -
governance hidden       -        -      -
learner   hidden        -        -      -
end_point shown         all      -      -
"""
ASKED = {
    "shown": {"unit": A},
    "neighbour": {"unit": B},
    "hidden": {"unit": D, "measure": AWAY},
    "authority": {"unit": "998", "level": "authority", "measure": AWAY},
}
CASES = [line.rsplit(maxsplit=4) for line in TABLE.strip().splitlines()[1:]]


async def test_who_sees_what(house: House, reader: Reader) -> None:
    for who, what, senders, facts, pupils in CASES:
        await _check_case(house, reader, who, what, senders, facts, pupils)


async def _check_case(
    house: House, reader: Reader, who: str, what: str, senders: str, facts: str, pupils: str
) -> None:
    role, _, letter = who.partition(" ")
    party = house.parties[{"A": A, "C": C, "D": D}[letter]] if letter else None
    found = await trace(house, reader, person(role, party or AUTHORITY), rows=5, **ASKED[what])
    marks = found.parts[0]
    assert marks.entity == "attendance_mark"
    assert (marks.senders is not None) == (senders == "all")
    assert bool(found.withheld) == (marks.senders is None)
    if facts == "-":
        # Whoever may see facts, but none of these, is told of none.
        assert not marks.facts
        assert not marks.messages
        assert not marks.shown
        return
    schools = {A: 1, B: 1, D: 1, "998": 2 if facts == "all" else 1}[ASKED[what]["unit"]]
    assert marks.facts == schools * PUPILS * 10
    assert marks.messages
    assert {one.sender for one in marks.messages} <= ({party} if party else set(house.parties.values()))
    assert all(("upn" in row) == (pupils != "-") for row in marks.shown)
    assert len(marks.shown) == 5


async def test_a_shown_figure_leads_to_messages_corrections_among_them(house: House, reader: Reader) -> None:
    found = await trace(house, reader, person("school", house.parties[A]), rows=1000)
    assert (found.figure.numerator, found.figure.denominator) == (79, 120)
    (marks, registered) = found.parts
    assert (marks.title, marks.version, marks.facts, marks.rows) == ("Attendance mark", 5, 120, 122)
    assert [(one.rows, one.facts) for one in marks.messages or ()] == [(2, 0), *[(24, 24)] * 5]
    assert marks.messages is not None
    assert marks.messages[0].known_from.isoformat() == "2026-09-08T10:00:00"
    (sender,) = marks.senders or ()
    assert (sender.name, sender.messages, sender.first.isoformat(), sender.last.isoformat()) == (
        f"School {A}", 6, "2026-09-07T16:00:00", "2026-09-11T16:00:00",
    )  # fmt: skip
    # The rows add up to the figure.
    missed = sum(row["weight"] for row in marks.shown if row["code"] in "IO")
    assert (missed, sum(row["weight"] for row in marks.shown)) == (79, 120)
    # And which school it is, the register told in a message of its own.
    assert (registered.entity, [one.messages for one in registered.senders or ()]) == ("organisation", [1])


async def test_a_state_is_made_of_what_holds_on_its_day(house: House, reader: Reader) -> None:
    who = person("school", house.parties[A])
    leaves = enrolment(A, 0, "2026-09-01", version=2, leaving_date="2026-09-08", valid_to="2026-09-08")
    await house.load(house.letter(A, "enrolment", [leaves]))
    before, after = [
        await trace(house, reader, who, "headcount", grain="day", on=MONDAY + timedelta(days=day), rows=50)
        for day in (1, 2)
    ]
    assert [(one.figure.numerator, one.parts[0].facts) for one in (before, after)] == [(12, 12), (11, 11)]
    assert {row["upn"] for row in after.parts[0].shown} == {upn(pupil) for pupil in range(1, 12)}
    # As known before that was told, pupil 0 stays.
    known = datetime.fromisoformat("2026-09-09T00:00+00:00")
    then = await trace(house, reader, who, "headcount", grain="day", on=WEDNESDAY, known_at=known)
    assert (then.figure.numerator, then.parts[0].facts, then.figure.as_of) == (12, 12, known)


async def test_what_is_counted_for_everybody_leads_to_no_hidden_figure(house: House, reader: Reader) -> None:
    """Every count that the public can get is over shown figures alone, in places, periods and parts of a measure."""
    family = ("absence_overall", "absence_authorised", "absence_unauthorised")
    units = {"school": [A, B, C, D], "authority": ["997", "998"], "national": ["E92000001"]}
    hidden, counted = set(), set()
    for level, codes in units.items():
        for grain in ("day", "week"):
            for measure in family:
                shown = await reader.figures(
                    house.connection, PUBLIC, measure=measure, level=level, grain=grain, units=codes,
                    first=MONDAY, last=WEDNESDAY,
                )  # fmt: skip
                for figure in shown:
                    cell = (measure, level, figure.unit, grain, figure.period_start)
                    if figure.symbol == "c":
                        hidden.add(cell)
                    found = await trace(
                        house, reader, measure=measure, level=level, unit=figure.unit, grain=grain, on=figure.period_start
                    )  # fmt: skip
                    if found.parts[0].senders is not None:
                        counted.add(cell)
    assert hidden
    assert counted
    la = {A: "997", B: "997", C: "998", D: "998"}
    for _, level, unit, grain, day in counted:
        for _, low_level, low_unit, low_grain, low_day in hidden:
            inside = (
                low_unit == unit or (low_level == "school" and la[low_unit] == unit) or level == "national"
            )
            within = day == low_day if grain == "day" else True
            assert not (inside and within and (low_grain == "day" or grain == "week")), (unit, low_unit, day)


async def test_every_figure_says_as_of_when(house: House, reader: Reader) -> None:
    head = await reader.head(house.connection)
    found = await trace(house, reader)
    assert (found.figure.batch, found.figure.position) == (head.number, head.position)
    assert found.figure.as_of == head.committed_at
    assert found.tables == head.tables
    await house.load(house.letter(B, "enrolment", [enrolment(B, 500, "2026-09-01")]))
    later = await trace(house, reader)
    assert later.figure.position == head.position + 1
    # Nothing of it changed: the figure is the same, read from a later state.
    assert later.parts == found.parts


async def test_every_look_is_in_the_trail_facts_on_their_own(house: House, reader: Reader) -> None:
    await house.connection.execute("TRUNCATE access.audit")
    await trace(house, reader)
    await trace(house, reader, person("school", house.parties[A]), rows=3)
    rows = await house.connection.fetch("SELECT role, party, dataset, purpose FROM access.audit ORDER BY id")
    assert [tuple(row) for row in rows] == [
        ("public", None, "figures.lineage", "a test"),
        ("school", house.parties[A], "figures.lineage", "a test"),
        ("school", house.parties[A], "warehouse.facts", "a test"),
    ]


NO_FIGURES: list[tuple[dict[str, Any], str]] = [
    ({"unit": "123456"}, "CR-295"),
    ({"on": date(2026, 8, 10)}, "CR-295"),
    ({"on": date(2026, 12, 10)}, "CR-295"),
    ({"on": date.min}, "CR-295"),
    ({"on": date.max}, "CR-295"),
    ({"known_at": datetime.fromisoformat("0001-01-01T00:00+14:00")}, "CR-063"),
    ({"known_at": datetime.fromisoformat("9999-12-31T23:00-12:00")}, "CR-063"),
    ({"measure": "nothing"}, "CR-063"),
    ({"level": "planet"}, "CR-063"),
]


async def test_what_is_no_figure_is_refused(house: House, reader: Reader) -> None:
    for asked, code in NO_FIGURES:
        with pytest.raises(Problem, match=code):
            await trace(house, reader, **asked)


async def test_what_is_made_of_other_measures_comes_from_the_facts_of_each(
    house: House, reader: Reader
) -> None:
    for name, one in combinations.load().items():
        found = await trace(
            house, reader, measure=name, level=one.levels[-1], unit="E92000001", grain=one.grains[0]
        )
        entities = {part.entity for part in found.parts}
        for own in combinations.parts(one.as_measure()):
            assert set(compilation.entities_of(own).values()) <= entities, name


def test_every_measure_can_be_traced() -> None:
    """Its facts name schools, which is how a unit's are found; but for reference facts, of which all are its.

    What it takes from elsewhere is not traced: who sent it would tell where pupils came from or went to.
    """
    for measure in measures.load().values():
        elsewhere = compilation.elsewhere_of(measure)
        for name, entity in compilation.entities_of(measure).items():
            if name in elsewhere or standard.load().entities[entity].area == "reference":
                continue
            assert {"school", "urn", measure.place} & set(tables.of(entity).items), (measure.name, entity)


def excluded(school: str, pupil: int, category: str, day: str) -> dict[str, Any]:
    return {
        "school": school, "upn": upn(pupil), "category": category, "start_date": day, "valid_from": day, "version": 1,
    }  # fmt: skip


async def test_messages_of_one_measure_tell_no_hidden_figure_of_another(house: House, reader: Reader) -> None:
    """A has no suspension and one permanent exclusion: that it came in one message is as hidden as it."""
    one = excluded(A, 0, "PERM", "2026-09-09")
    some = [excluded(B, 100 + pupil, "PERM", "2026-09-09") for pupil in range(4)]
    some += [excluded(B, 106 + pupil, "SUSP", "2026-09-09") for pupil in range(5)]
    loaded = await house.load(house.letter(A, "exclusion", [one]), house.letter(B, "exclusion", some))
    assert not loaded.findings
    found = {}
    for measure in ("suspensions", "pupils_suspended", "permanent_exclusions"):
        for grain in ("day", "week", "term"):
            told = await trace(house, reader, measure=measure, grain=grain)
            found[measure, grain] = told.figure.symbol, told.parts[0].senders
            assert told.withheld
    assert found == {
        (measure, grain): ("c" if measure == "permanent_exclusions" else None, None)
        for measure, grain in found
    }
    # What is about nobody who is hidden is counted still: the marks of the same school.
    assert (await trace(house, reader)).parts[0].senders


async def test_a_period_is_traced_once_for_everybody(
    house: House, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever of its days is asked for, and however many rows somebody wants who has a right to none."""
    reads: list[str] = []
    read = reader._duck.query

    def counted(sql: str, *more: Any) -> Any:
        reads.extend(["senders"] if "count(DISTINCT message) AS messages" in sql else [])
        return read(sql, *more)

    monkeypatch.setattr(reader._duck, "query", counted)
    days = [MONDAY + timedelta(days=day) for day in range(5)]
    answers = [await trace(house, reader, on=day, rows=number) for number, day in enumerate(days)]
    assert {answer.parts for answer in answers} == {answers[0].parts}
    assert len(reads) == 2  # of the marks and of the register
