"""Who is a leaver: whose destinations are counted, and at which school. The schools are those of `test_destinations`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from commonroom.identity import PUBLIC
from commonroom.settings import Settings
from commonroom.warehouse import open_reader
from tests.specification.warehouse.leavers import (
    DAY,
    SIXTH_FORM,
    A,
    B,
    asked,
    expected,
    in_year_11,
    load,
    open_house,
    sent,
)
from tests.specification.warehouse.test_measures import shown
from tests.unit.warehouse.house import House, enrolment


@pytest.fixture
async def house(pool: Any, settings: Settings) -> AsyncIterator[House]:
    async with pool.acquire() as connection:
        yield await open_house(connection, settings)


# Of A's cohort are 1 to 6, on its roll at the end of year 11, and 7 and 8, who left on 23 May and 26 June; 6 stays in year
# 12. 9 left on 20 May, 10 is in year 10, 11 is a guest, 12 has A as the second of two registrations. 13, 14 and 15 died in
# June: left out, the number of leavers would tell it beside that of Attainment 8, which is of the same pupils. Of 16, 17 and
# 18 the record says nothing after June, which says that they left, and of 18 when too; of 19 nothing after 20 May.
async def test_who_is_counted(house: House) -> None:
    others = [
        *in_year_11(9, leaving_date="2026-05-20"),
        *in_year_11(10, nc_year="10"),
        *in_year_11(11, enrolment_status="G"),
        *in_year_11(12, enrolment_status="S"),
        *in_year_11(19, leaving_date=None, valid_to="2026-05-20"),
    ]
    cohort = [
        *in_year_11(1, 2, 3, 4, 5),
        *in_year_11(6, leaving_date=None),
        *in_year_11(7, leaving_date="2026-05-23"),
        *in_year_11(8, leaving_date="2026-06-26"),
        *in_year_11(13, 14, 15, leaving_date="2026-06-12", leaving_reason="DD"),
        *in_year_11(16, 17, leaving_date=None, valid_to="2026-06-26"),
        *in_year_11(18, leaving_date="2026-06-26", valid_to="2026-06-26"),
    ]
    goes_on = {**enrolment(A, 6, "2021-09-01", nc_year="12"), "valid_from": "2026-09-01"}
    twelfth = [enrolment(B, pupil, SIXTH_FORM, nc_year="12") for pupil in (*range(1, 6), *range(7, 13))]
    await load(
        house, *sent(house, A, enrolment=[*cohort, *others, goes_on]), *sent(house, B, enrolment=twelfth)
    )
    assert (await asked(house, units=[A]))[A] == expected(14, education=8, not_known=6)
    reader = open_reader(house.settings)
    try:
        (same,) = await reader.figures(
            house.connection, PUBLIC, measure="attainment_8", level="school", units=[A], grain="year",
            first=DAY, last=DAY,
        )  # fmt: skip
    finally:
        reader.close()
    assert shown(same) == "0/14 = 0.0"


# Six leave A on 1 June for another school and that at the year's end: they left both, and count twice in England.
async def test_who_left_two_schools_counts_at_both(house: House) -> None:
    later = [
        {**one, "entry_date": "2026-06-02", "valid_from": "2026-06-02"}
        for one in in_year_11(*range(1, 7), school=B)
    ]
    await load(
        house,
        *sent(house, A, enrolment=in_year_11(*range(1, 7), leaving_date="2026-06-01")),
        *sent(house, B, enrolment=later),
    )
    figures = await asked(house)
    assert (figures[A]["leavers"], figures[B]["leavers"]) == ("6/6", "6/6")
    reader = open_reader(house.settings)
    try:
        (england,) = await reader.figures(
            house.connection,
            PUBLIC,
            measure="ks4_leavers",
            level="national",
            grain="year",
            first=DAY,
            last=DAY,
        )
    finally:
        reader.close()
    assert shown(england) == "12/12 = 12"
