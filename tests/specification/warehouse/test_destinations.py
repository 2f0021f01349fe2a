"""Sustained destinations of who left after year 11 and after year 13, worked by hand.

The leavers are of the academic year 2025/26, what became of them is told of October 2026 to March 2027. A is the school they
left, B has a sixth form, COLLEGE and PROVIDER are no schools and know their learners by references of their own and by the
number for life.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import date, datetime
from typing import Any

import pytest

from commonroom.engines import clock
from commonroom.identity import PUBLIC
from commonroom.settings import Settings
from commonroom.warehouse import Measure, open_reader
from commonroom.warehouse.analytics import InProcess
from tests.specification.warehouse.leavers import (
    AUTHORITY,
    COLLEGE,
    DAY,
    KINDS,
    LEFT,
    PROVIDER,
    SIXTH_FORM,
    A,
    B,
    apprenticed,
    asked,
    at,
    expected,
    heard,
    in_year_11,
    learner,
    learns,
    load,
    numbered,
    open_house,
    sent,
)  # fmt: skip
from tests.specification.warehouse.test_measures import shown
from tests.unit.warehouse.house import House, enrolment, upn


@pytest.fixture
async def house(pool: Any, settings: Settings) -> AsyncIterator[House]:
    async with pool.acquire() as connection:
        yield await open_house(connection, settings)


# Six leavers alike of a school for each case, so that each figure is 6 of 6 in one kind.
#
#  what is special, which kind it is, what schools, college, provider and authority send of pupil n
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "a sixth form elsewhere": ("education", {B: ("enrolment", lambda n: enrolment(B, n, SIXTH_FORM, nc_year="12"))}),
    "the school itself": ("education", {A: ("enrolment", lambda n: enrolment(A, n, "2026-09-01", nc_year="12"))}),
    "registered twice": (
        "education",
        {B: ("enrolment", lambda n: enrolment(B, n, SIXTH_FORM, nc_year="12", enrolment_status="S"))},
    ),
    "a guest is on no roll": (
        "not_known",
        {B: ("enrolment", lambda n: enrolment(B, n, SIXTH_FORM, nc_year="12", enrolment_status="G"))},
    ),
    "a college": ("education", {COLLEGE: ("learning_delivery", lambda n: learns(n, "2026-09-07"))}),
    "a college since 31 October until 1 March": (
        "education",
        {COLLEGE: ("learning_delivery", lambda n: learns(n, "2026-10-31", "2027-03-01"))},
    ),
    "a college since 1 November": (
        "not_sustained",
        {COLLEGE: ("learning_delivery", lambda n: learns(n, "2026-11-01"))},
    ),
    "a college until 28 February": (
        "not_sustained",
        {COLLEGE: ("learning_delivery", lambda n: learns(n, "2026-09-07", "2027-02-28"))},
    ),
    "a college until 30 September": (
        "not_known",
        {COLLEGE: ("learning_delivery", lambda n: learns(n, "2026-09-07", "2026-09-30"))},
    ),
    "a college since 1 April": ("not_known", {COLLEGE: ("learning_delivery", lambda n: learns(n, "2027-04-01"))}),
    "an apprenticeship": ("apprenticeships", {PROVIDER: ("learning_delivery", lambda n: apprenticed(n, "2026-09-14"))}),
    "an apprenticeship by its programme": (
        "apprenticeships",
        {PROVIDER: ("learning_delivery", lambda n: apprenticed(n, "2026-09-14", fund_model="99", programme_type="2"))},
    ),
    "a traineeship": (
        "education",
        {PROVIDER: ("learning_delivery", lambda n: apprenticed(n, "2026-09-14", fund_model="25", programme_type="24"))},
    ),
    "a place that the authority pays": (
        "education",
        {
            AUTHORITY: (
                "la_placement",
                lambda n: {
                    "la": AUTHORITY, "child": f"C{n}", "upn": upn(n), "entry_date": "2026-09-07",
                    "valid_from": "2026-09-07", "version": 1,
                },
            )
        },
    ),
    "nobody tells": ("not_known", {}),
    "a job that the college heard of in March": (
        "employment",
        {COLLEGE: ("learner_destination", lambda n: heard(n, "EMP 1", "2026-09-01", "2027-03-02"))},
    ),
    "a job that the college heard of in January": (
        "not_sustained",
        {COLLEGE: ("learner_destination", lambda n: heard(n, "EMP 1", "2026-09-01", "2027-01-20"))},
    ),
    "an apprenticeship that the college heard of": (
        "apprenticeships",
        {COLLEGE: ("learner_destination", lambda n: heard(n, "EDU 2", "2026-10-05", "2027-01-20", "2027-08-31"))},
    ),
    "a university that the college heard of": (
        "education",
        {COLLEGE: ("learner_destination", lambda n: heard(n, "EDU 6", "2026-10-05", "2027-03-01"))},
    ),
    "out of work": (
        "not_sustained",
        {COLLEGE: ("learner_destination", lambda n: heard(n, "NPE 1", "2026-10-05", "2027-03-01"))},
    ),
    "the college could not reach them": (
        "not_known",
        {COLLEGE: ("learner_destination", lambda n: heard(n, "OTH 3", "2026-10-05", "2027-03-01"))},
    ),
    "what was heard before October": (
        "not_known",
        {COLLEGE: ("learner_destination", lambda n: heard(n, "EMP 1", "2026-07-01", "2026-09-20"))},
    ),
    "a school until November, a college from December": (
        "education",
        {
            B: ("enrolment", lambda n: enrolment(B, n, SIXTH_FORM, nc_year="12", leaving_date="2026-11-20")),
            COLLEGE: ("learning_delivery", lambda n: learns(n, "2026-12-14")),
        },
    ),
    "the school says so by the end of what it holds": (
        "education",
        {
            B: ("enrolment", lambda n: enrolment(B, n, SIXTH_FORM, nc_year="12", valid_to="2026-11-20")),
            COLLEGE: ("learning_delivery", lambda n: learns(n, "2026-12-14")),
        },
    ),
    "a gap in January": (
        "not_sustained",
        {
            B: ("enrolment", lambda n: enrolment(B, n, SIXTH_FORM, nc_year="12", leaving_date="2026-12-31")),
            COLLEGE: ("learning_delivery", lambda n: learns(n, "2027-02-01")),
        },
    ),
    "a college, then an apprenticeship": (
        "education",
        {
            COLLEGE: ("learning_delivery", lambda n: learns(n, "2026-09-07", "2026-12-18")),
            PROVIDER: ("learning_delivery", lambda n: apprenticed(n, "2027-01-04")),
        },
    ),
    "a college, then a job": (
        "employment",
        {
            PROVIDER: ("learning_delivery", lambda n: learns(n, "2026-09-07", "2026-12-18", PROVIDER)),
            COLLEGE: ("learner_destination", lambda n: heard(n, "EMP 1", "2027-01-11", "2027-03-20")),
        },
    ),
    "a college, then a job of which nobody tells": (
        "not_sustained",
        {COLLEGE: ("learning_delivery", lambda n: learns(n, "2026-09-07", "2026-12-18"))},
    ),
}  # fmt: skip


async def test_each_kind_of_destination(house: House) -> None:
    letters = []
    for place, (school, (_, told)) in enumerate(zip(LEFT, CASES.values(), strict=True)):
        six = range(100 * place, 100 * place + 6)
        letters += sent(
            house, school, enrolment=in_year_11(*six, school=school), learner=numbered(*six, school=school)
        )
        for sender, (entity, record) in told.items():
            records = [record(pupil) for pupil in six]
            if sender == A:
                sender, records = school, [{**one, "school": school} for one in records]
            if sender in (COLLEGE, PROVIDER):
                letters += sent(house, sender, provider_learner=[learner(pupil, sender) for pupil in six])
            letters += sent(house, sender, **{entity: records})
    await load(house, *letters)
    figures = await asked(house)
    found = {case: figures[school] for case, school in zip(CASES, LEFT, strict=True)}
    assert found == {case: expected(6, **{kind: 6}) for case, (kind, _) in CASES.items()}


# Of ten pupils 1 to 4 went to B, 5 to 7 were apprentices; of 8, 9 and 10 nobody tells. All together they are a hundred.
async def test_percentages(house: House) -> None:
    await load(
        house,
        *sent(house, A, enrolment=in_year_11(*range(1, 11)), learner=numbered(*range(1, 11))),
        *sent(house, B, enrolment=[enrolment(B, pupil, SIXTH_FORM, nc_year="12") for pupil in range(1, 5)]),
        *sent(house, PROVIDER, provider_learner=[learner(pupil, PROVIDER) for pupil in (5, 6, 7)],
              learning_delivery=[apprenticed(pupil, "2026-09-14") for pupil in (5, 6, 7)]),
    )  # fmt: skip
    reader = open_reader(house.settings)
    try:
        told = {
            kind: [
                shown(figure)
                for level in ("school", "authority", "national")
                for figure in await reader.figures(
                    house.connection, PUBLIC, measure=f"ks4_{kind}", level=level, grain="year",
                    first=DAY, last=DAY,
                )
                if figure.symbol != "x"
            ]
            for kind in KINDS
        }  # fmt: skip
    finally:
        reader.close()
    assert {kind: set(figures) for kind, figures in told.items()} == {
        "leavers": {"10/10 = 10"},
        "sustained": {"7/10 = 70.0"},
        "education": {"4/10 = 40.0"},
        "apprenticeships": {"3/10 = 30.0"},
        "employment": {"0/10 = 0.0"},
        "not_sustained": {"0/10 = 0.0"},
        "not_known": {"3/10 = 30.0"},
    }
    assert {len(figures) for figures in told.values()} == {3}


# Where leavers went, the senders would tell: of what is known elsewhere nobody is told who sent it, nor how much.
async def test_the_sources_of_a_figure_do_not_tell_where_leavers_went(house: House) -> None:
    six = range(1, 7)
    await load(
        house,
        *sent(house, A, enrolment=in_year_11(*six, valid_to="2026-06-26"), learner=numbered(*six)),
        *sent(house, COLLEGE, provider_learner=[learner(pupil) for pupil in six],
              learning_delivery=[learns(pupil, "2026-09-14") for pupil in six]),
    )  # fmt: skip
    reader = open_reader(house.settings)
    try:
        found = await reader.lineage(
            house.connection, PUBLIC, measure="ks4_education", level="school", unit=A, grain="year", on=DAY
        )
    finally:
        reader.close()
    told = {part.entity: part.senders and [one.sender for one in part.senders] for part in found.parts}
    assert told["enrolment"] == [house.parties[A]]
    untold = {"learner", "provider_learner", "learning_delivery", "learner_destination", "la_placement"}
    assert {entity: told[entity] for entity in untold} == dict.fromkeys(untold)


# 1 to 6 go to B. On 31 March nobody can know that they stay that day; on 1 April B has told of 6 as it was then. On 20 April
# it says that 1, 2 and 3 left in February. As known on 2 April the figure is what it was.
async def test_no_figure_before_april_and_corrections_after_it(house: House) -> None:
    stays = [enrolment(B, pupil, SIXTH_FORM, nc_year="12") for pupil in range(1, 7)]
    letters = [*sent(house, A, enrolment=in_year_11(*range(1, 7))), *sent(house, B, enrolment=stays)]
    await load(house, *(at(letter, "2026-10-01T12:00+00:00") for letter in letters))
    for moment, told in (("2027-03-31T22:00+00:00", False), ("2027-04-01T12:00+00:00", True)):
        await clock.set_to(house.connection, house.settings, datetime.fromisoformat(moment))
        figures = (await asked(house, units=[A]))[A]
        assert figures == (expected(6, education=6) if told else dict.fromkeys(KINDS, "x"))
    late = [{**one, "leaving_date": "2027-02-12", "version": 2} for one in stays[:3]]
    await load(house, *(at(letter, "2027-04-20T12:00+00:00") for letter in sent(house, B, enrolment=late)))
    await clock.set_to(house.connection, house.settings, datetime.fromisoformat("2027-04-21T12:00+00:00"))
    assert (await asked(house, units=[A]))[A] == expected(6, education=3, not_sustained=3)
    then = datetime.fromisoformat("2027-04-02T12:00+00:00")
    assert (await asked(house, units=[A], known_at=then))[A] == expected(6, education=6)
    # This year's leavers have no figure yet, whatever is known of the years before.
    assert (await asked(house, units=[A], day=date(2026, 10, 1)))[A] == dict.fromkeys(KINDS, "x")


# Of those at the end of year 13, 1 to 5 are apprentices, 6 to 8 at a college, 9 to 11 nobody tells of; year 12, which 12
# left, and year 14, in which 13 was, are not counted.
async def test_after_year_13(house: House) -> None:
    thirteenth = in_year_11(*range(1, 12), nc_year="13")
    others = [*in_year_11(12, nc_year="12"), *in_year_11(13, nc_year="14")]
    await load(
        house,
        *sent(house, A, enrolment=[*thirteenth, *others], learner=numbered(*range(1, 14))),
        *sent(house, PROVIDER, provider_learner=[learner(pupil, PROVIDER) for pupil in range(1, 6)],
              learning_delivery=[apprenticed(pupil, "2026-09-14") for pupil in range(1, 6)]),
        *sent(house, COLLEGE, provider_learner=[learner(pupil) for pupil in (6, 7, 8, 12, 13)],
              learning_delivery=[learns(pupil, "2026-09-14") for pupil in (6, 7, 8, 12, 13)]),
    )  # fmt: skip
    assert (await asked(house, "ks5", units=[A]))[A] == expected(
        11, apprenticeships=5, education=3, not_known=3
    )


# Girls have odd numbers: of ten girls nine go to B, of ten boys none.
async def test_girls_and_boys(house: House) -> None:
    twenty = range(1, 21)
    await load(
        house,
        *sent(house, A, enrolment=in_year_11(*twenty), learner=numbered(*twenty)),
        *sent(
            house, B, enrolment=[enrolment(B, pupil, SIXTH_FORM, nc_year="12") for pupil in range(1, 19, 2)]
        ),
    )
    reader = open_reader(house.settings)
    try:
        found = {
            kind: {
                figure.group: shown(figure).partition(" = ")[0]
                for figure in await reader.figures(
                    house.connection, PUBLIC, measure=f"ks4_{kind}", level="school", units=[A], grain="year",
                    first=DAY, last=DAY, characteristic="sex",
                )
            }
            for kind in ("leavers", "education", "not_known")
        }  # fmt: skip
    finally:
        reader.close()
    # The one girl of whom nobody tells is hidden; the other nine would tell it, and so would the boys with all eleven.
    hidden = {"F": "c", "M": "c", "unknown": "z"}
    assert found == {
        "leavers": {"F": "10/10", "M": "10/10", "unknown": "z"},
        "education": hidden,
        "not_known": hidden,
    }


# The leavers and six kinds of what became of them are one question to the engine: once for all, once by sex.
@pytest.mark.parametrize(("by", "times"), [(None, 1), ("sex", 2)])
async def test_all_kinds_are_worked_out_together(
    house: House, by: str | None, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    await load(house, *sent(house, A, enrolment=in_year_11(*range(1, 21)), learner=numbered(*range(1, 21))))
    asked_of_engine, rows = [], InProcess.rows

    def counted(engine: InProcess, measure: Measure, *more: Any) -> Any:
        asked_of_engine.append(measure.name)
        return rows(engine, measure, *more)

    monkeypatch.setattr(InProcess, "rows", counted)
    reader = open_reader(house.settings)
    try:
        for kind in KINDS:
            await reader.figures(
                house.connection, PUBLIC, measure=f"ks4_{kind}", level="school", grain="year",
                first=DAY, last=DAY, characteristic=by,
            )  # fmt: skip
    finally:
        reader.close()
    assert len([name for name in asked_of_engine if name.startswith("ks4_")]) == times


# Each six learned at the college until December, which it told in April: as a correction, or as of the day it told it.
async def test_an_end_told_later_is_a_correction(house: House) -> None:
    schools = {A: "2026-09-07", LEFT[1]: "2027-04-05"}
    for place, (school, valid_from) in enumerate(schools.items()):
        six = range(100 * place, 100 * place + 6)
        ended = [
            {**learns(pupil, "2026-09-07", "2026-12-18"), "valid_from": valid_from, "version": 2}
            for pupil in six
        ]
        await load(
            house,
            *sent(
                house,
                school,
                enrolment=in_year_11(*six, school=school),
                learner=numbered(*six, school=school),
            ),
            *sent(house, COLLEGE, provider_learner=[learner(pupil) for pupil in six]),
            *sent(house, COLLEGE, learning_delivery=[learns(pupil, "2026-09-07") for pupil in six]),
            *sent(house, COLLEGE, learning_delivery=ended),
        )
    figures = await asked(house)
    assert [figures[school] for school in schools] == [expected(6, not_sustained=6), expected(6, education=6)]
