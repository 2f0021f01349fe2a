"""Over whose facts the measures of an organisation's own run: who asks x which schools are counted.

The schools, movements and marks are those of four_schools.py.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import date, datetime
from typing import Any

import pytest

from commonroom.engines import clock
from commonroom.hub import assurance
from commonroom.hub.agreements import suspend
from commonroom.portal import own_tables
from commonroom.portal.own_tables import Asked
from commonroom.problems import Problem
from commonroom.settings import Settings
from commonroom.warehouse import open_reader, own, own_answers
from tests.specification.warehouse.four_schools import (
    DAY,
    LATE,
    OPERATOR,
    A,
    B,
    C,
    D,
    asked,
    four_schools,
    told,
    who,
)
from tests.specification.warehouse.test_measures import load_registers
from tests.unit.warehouse.house import REGISTERS, House, organisation, upn

SUSPENDED = """
name: short_suspensions
title: Suspensions
meaning: Suspensions that began in the period.
source: "Our own"
entity: exclusion
taken: over the period
unit: [school, upn]
each: {times: sum(category == 'SUSP')}
numerator: sum(times)
shown_as: count
levels: [school]
grains: [week, term]
suppression: {}
"""


@pytest.fixture
async def house(pool: Any, settings: Settings) -> AsyncIterator[House]:
    async with four_schools(pool, settings) as house:
        yield house


# Who asks, for which body: the late marks by school that the answer has.
TABLE: list[tuple[str, str, dict[str, int] | None]] = [
    ("school", A, {A: 1}),
    ("school", B, {B: 2}),
    ("authority", "997", {A: 1, B: 2, D: 4, "all": 7}),
    ("authority", "998", {C: 3}),
    ("school", "T1", {A: 1, C: 3, "all": 4}),  # a trust's people come in either role
    ("authority", "T1", {A: 1, C: 3, "all": 4}),
    ("authority", "T2", {D: 4}),
    ("analyst", "", None),
    ("operator", "", None),
    ("governance", "", None),
    ("clerk", "", None),
    ("learner", "", None),
    ("public", "", None),
    ("school", "", None),  # of no organisation
    ("authority", "", None),
]


async def test_who_counts_which_schools(house: House) -> None:
    found: list[tuple[str, str, dict[str, int] | None]] = []
    for role, of, expected in TABLE:
        principal = who(house, role, of)
        if expected is None:
            for way in (asked(house, principal), own.known(house.connection, principal)):
                with pytest.raises(Problem, match="CR-111"):
                    await way
            found.append((role, of, None))
            continue
        answer = await asked(house, principal)
        found.append((role, of, told(answer)))
        assert answer.schools == tuple(unit for unit in expected if unit != "all")
        assert answer.left_out == ()
    assert found == TABLE


async def test_nobody_sees_the_measures_of_another(house: House) -> None:
    people = [(of, who(house, role, of)) for role, of, expected in TABLE if expected]
    for of, mine in people:
        await own.define(house.connection, mine, LATE)
        for other, stranger in people:
            if other != of:
                assert await own.known(house.connection, stranger) == []
                for way in (own.named, own.delete):
                    with pytest.raises(Problem, match="CR-287"):
                        await way(house.connection, stranger, "late_marks")
        assert [one.measure.name for one in await own.known(house.connection, mine)] == ["late_marks"]
        await own.delete(house.connection, mine, "late_marks")
        assert await own.known(house.connection, mine) == []
        with pytest.raises(Problem, match="CR-287"):
            await own.delete(house.connection, mine, "\0")


def exclusion(school: str, pupil: int) -> dict[str, Any]:
    return {
        "school": school, "upn": upn(pupil), "category": "SUSP", "start_date": DAY.isoformat(),
        "sessions": 2, "valid_from": DAY.isoformat(), "version": 1,
    }  # fmt: skip


async def test_records_that_no_movement_brings_are_not_counted_and_the_answer_says_so(house: House) -> None:
    loaded = await house.load(house.letter(A, "exclusion", [exclusion(A, 1)]))
    assert not loaded.refused
    assert not loaded.findings
    answer = await asked(house, who(house, "authority", "997"), SUSPENDED)
    assert (answer.figures, answer.schools) == ((), ())
    assert [one.entity for one in answer.left_out] == ["exclusion"]
    of_trust = await asked(house, who(house, "school", "T1"), SUSPENDED)  # the trust holds them itself
    assert (told(of_trust), of_trust.left_out) == ({A: 1}, ())


async def test_what_stands_beside_counts_only_where_it_is_brought_too(house: House) -> None:
    """Marks of the days after a suspension: an authority that has the marks alone would be told nought."""
    beside = LATE.replace(
        "suppression: {}", "suppression: {}\nwithin: {entity: fsm_period, side: after, days: 20}"
    )
    answer = await asked(house, who(house, "authority", "997"), beside)
    assert (answer.figures, answer.schools) == ((), ())
    assert [one.entity for one in answer.left_out] == ["fsm_period"]


async def test_a_movement_that_ends_or_is_suspended_brings_nothing(house: House) -> None:
    authority = who(house, "authority", "997")
    await suspend(house.connection, OPERATOR, "school-record", "Under review.")
    assert told(await asked(house, authority)) == {}
    assert told(await asked(house, who(house, "authority", "T2"))) == {D: 4}


async def test_after_its_last_day_a_movement_brings_nothing(house: House) -> None:
    await clock.set_to(house.connection, house.settings, datetime.fromisoformat("2027-08-02T12:00+00:00"))
    answer = await asked(house, who(house, "authority", "997"))
    assert (told(answer), [one.entity for one in answer.left_out]) == ({}, ["attendance_mark"])


async def test_an_authority_not_known_to_protect_them_is_brought_nothing(house: House) -> None:
    """As in the hub, which hands it no letter."""
    for one in await assurance.list_evidence(house.connection, house.authorities["997"]):
        await assurance.end(house.connection, one.id, "test")
    assert told(await asked(house, who(house, "authority", "997"))) == {}
    assert told(await asked(house, who(house, "authority", "998"))) == {C: 3}


async def test_whose_a_school_is_says_the_register_as_at_the_period(house: House) -> None:
    """C passes to Westmarch and to the trust T2 in January."""
    await house.load(
        house.letter(
            REGISTERS,
            "organisation",
            [
                organisation(
                    house.parties[C],
                    C,
                    "997",
                    trust_uid="T2",
                    trust_name="T2",
                    valid_from="2027-01-04",
                    version=2,
                )
            ],
            accepted_at="2027-01-04T08:00+00:00",
        )
    )
    await clock.set_to(house.connection, house.settings, datetime.fromisoformat("2027-02-28T12:00+00:00"))
    february = date(2027, 2, 1)
    await load_registers(house, C, "3: L/ L/ L/ L/ L/", monday=february, accepted_at="2027-02-05T16:00+00:00")
    before = {of: told(await asked(house, who(house, "authority", of))) for of in ("997", "998", "T1", "T2")}
    assert before == {
        "997": {A: 1, B: 2, D: 4, "all": 7}, "998": {C: 3}, "T1": {A: 1, C: 3, "all": 4}, "T2": {D: 4},
    }  # fmt: skip
    after = {
        of: told(await asked(house, who(house, "authority", of), day=february))
        for of in ("997", "998", "T1", "T2")
    }
    assert after == {"997": {C: 5}, "998": {}, "T1": {}, "T2": {C: 5}}


async def test_who_sent_a_record_decides_and_not_the_school_that_it_names(house: House) -> None:
    """C hands a pupil to B. A measure that takes the next school for the place reads no record of another sender."""
    record = {
        "school": C, "upn": upn(3), "leaving_date": DAY.isoformat(), "destination": B,
        "valid_from": DAY.isoformat(), "version": 1,
    }  # fmt: skip
    loaded = await house.load(house.letter(C, "transfer", [record]))
    assert not loaded.refused
    assert not loaded.findings
    joiners = SUSPENDED.replace("entity: exclusion", "entity: transfer\nplace: destination").replace(
        "unit: [school, upn]\neach: {times: sum(category == 'SUSP')}",
        "unit: [destination, upn]\neach: {times: sum(upn is not None)}",
    )
    people = [("school", B), ("authority", "997"), ("school", C), ("school", "T1")]
    found = {of: told(await asked(house, who(house, role, of), joiners)) for role, of in people}
    assert found == {B: {}, "997": {}, C: {B: 1}, "T1": {B: 1}}


async def test_what_began_after_the_period_looks_back_into_it(house: House) -> None:
    """The pupil of D gets help from the next Monday on: all eight sessions of this week lie in the days before."""
    help_given = {
        "school": D, "upn": upn(4), "intervention": "ATTENDANCE", "start_date": "2026-09-14",
        "valid_from": "2026-09-14", "version": 1,
    }  # fmt: skip
    loaded = await house.load(house.letter(D, "intervention", [help_given]))
    assert not loaded.refused
    assert not loaded.findings
    before = LATE.replace(
        "suppression: {}", "suppression: {}\nwithin: {entity: intervention, side: before, days: 20}"
    )
    assert told(await asked(house, who(house, "school", D), before)) == {D: 4}


REFERRALS = """
name: referrals
title: Referrals
meaning: Children referred in the period.
source: "Our own"
entity: child_in_need_episode
taken: over the period
place: la
unit: [la, child]
each: {times: sum(child is not None)}
numerator: sum(times)
shown_as: count
levels: [authority]
grains: [week, term]
suppression: {}
"""


async def test_an_authority_counts_what_it_holds_itself_and_is_of_no_school(house: House) -> None:
    for la, children in (("997", 2), ("998", 3)):
        records = [
            {"la": la, "child": f"C{child}", "referral_date": DAY.isoformat(), "version": 1}
            for child in range(children)
        ]
        loaded = await house.load(house.letter(la, "child_in_need_episode", records))
        assert not loaded.refused
        assert not loaded.findings
    answer = await asked(house, who(house, "authority", "997"), REFERRALS)
    assert (told(answer), answer.schools, answer.left_out) == ({"997": 2}, (), ())
    assert answer.figures[0].unit_name == "Westmarch"
    assert told(await asked(house, who(house, "school", A), REFERRALS)) == {}


async def test_beside_an_authoritys_own_figure_stand_published_ones_of_its_region_and_england(
    house: House,
) -> None:
    records = [
        {"la": "997", "child": f"C{child}", "referral_date": "2026-01-05", "version": 1} for child in range(8)
    ]
    await house.load(house.letter("997", "child_in_need_episode", records))
    yearly = REFERRALS.replace("grains: [week, term]", "grains: [year]") + "benchmark: children_in_need\n"
    authority = who(house, "authority", "997")
    await own.define(house.connection, authority, yearly)
    day = date(2026, 6, 10)
    reader = open_reader(house.settings)
    try:
        found = await own_answers.answer(
            house.settings,
            reader,
            house.connection,
            authority,
            "referrals",
            grain="year",
            first=day,
            last=day,
        )
    finally:
        reader.close()
    assert found.benchmark is not None
    assert {one.level: one.value for one in found.benchmark.published} == {
        "authority": 8, "region": 8, "national": 8,
    }  # fmt: skip
    assert found.benchmark.similar.schools == {}
    tables = own_tables.tables_of(found, Asked("year", day, day, "reading"))
    assert [table.name for table in tables] == ["figures", "published", "counted"]
    assert own_tables.sentences(found) == [
        "Westmarch, 2025/26: 8.",
        "Children in need as published: the authority 8, the region 8 and England 8.",
    ]


@pytest.mark.parametrize("wrong", ["levels: [school]", "levels: [authority, national]", "levels: [region]"])
def test_what_is_of_no_school_has_no_figure_of_one(wrong: str) -> None:
    with pytest.raises(Problem, match=r"CR-286|CR-062"):
        own.declared(REFERRALS.replace("levels: [authority]", wrong))
    with pytest.raises(Problem, match="CR-286"):
        own.declared(LATE.replace("levels: [school]", "levels: [authority]"))


async def test_each_question_leaves_its_purpose_and_the_schools_that_were_counted(house: House) -> None:
    await asked(house, who(house, "authority", "997"), purpose="own measure: planning")
    row = await house.connection.fetchrow(
        "SELECT role, party, dataset, purpose, rows, counted FROM access.audit ORDER BY id DESC LIMIT 1"
    )
    assert tuple(row) == (
        "authority", house.authorities["997"], "warehouse.own", "own measure: planning", 4, [A, B, D],
    )  # fmt: skip
