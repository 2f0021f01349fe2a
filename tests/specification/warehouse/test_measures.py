"""What each figure is, worked by hand: small registers and rolls, and the figures that must come of them.

The tables are meant to be read by whoever knows the statistics. 7 September 2026 is a Monday in term; 26 to 30 October is
the half-term week. Each expected line gives what is shown: numerator/denominator = value, or a symbol.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import date, datetime
from typing import Any

import pytest

from commonroom.engines import clock
from commonroom.identity import PUBLIC
from commonroom.settings import Settings
from commonroom.warehouse import Figure, open_reader
from commonroom.warehouse.suppression import sensitive_only
from tests.unit.warehouse.house import House, mark

A, B, C = "990001", "990002", "990003"  # C lies in Eastvale (998), all others in Westmarch (997)
SCHOOLS = [str(990001 + number) for number in range(10)]  # one for each line of a table of cases
MONDAY, LAST = date(2026, 9, 7), date(2026, 9, 11)


@pytest.fixture
async def house(pool: Any, settings: Settings) -> AsyncIterator[House]:
    async with pool.acquire() as connection:
        await clock.set_to(connection, settings, datetime.fromisoformat("2026-12-31T12:00+00:00"))
        house = await House(connection, settings, SCHOOLS).open()
        await house.register({A: "T1", C: "T1"}, s990003="998")
        yield house


async def load_registers(
    house: House, school: str, registers: str, version: int = 1, monday: date = MONDAY, **more: Any
) -> None:
    """Lines of `pupil: marks`, two marks a day from a Monday, in words `/\\` and codes; `..` is no mark."""
    records = []
    for line in registers.strip().splitlines():
        pupil, _, days = line.partition(":")
        for number, pair in enumerate(days.split()):
            day = date.fromordinal(monday.toordinal() + number).isoformat()
            for session, code in zip(("AM", "PM"), pair, strict=True):
                if code != ".":
                    records.append(mark(school, int(pupil), day, session, code, version))
    outcome = await house.load(house.letter(school, "attendance_mark", records, **more))
    assert not outcome.refused
    assert not outcome.findings


async def figures(
    house: House, measure: str, level: str = "school", grain: str = "week", **more: Any
) -> list[Figure]:
    # What a figure is, and what its own size hides; what is hidden to protect others, test_disclosure.py has.
    reader = open_reader(house.settings, sensitive_only)
    try:
        asked = {"units": [A] if level == "school" else None, "first": MONDAY, "last": LAST, **more}
        return await reader.figures(
            house.connection, PUBLIC, measure=measure, level=level, grain=grain, **asked
        )
    finally:
        reader.close()


def shown(figure: Figure) -> str:
    """A figure as the tables write it."""
    if figure.symbol:
        return figure.symbol
    parts = f"{figure.numerator}/{figure.denominator} = " if figure.denominator is not None else ""
    return f"{parts}{figure.value}"


# Six pupils, one week. L late and V visit are attendance; X and # are no sessions to attend.
#         Mon Tue Wed Thu Fri
WEEK = r"""
    1:    /\  /\  /\  /\  /\
    2:    /\  I\  II  /\  /\
    3:    /\  /\  /O  OO  /\
    4:    L\  /V  BB  MM  /\
    5:    X\  /\  #/  /\  /\
    6:    /\  /\  /\  /\  N\
"""
# pupil  possible  authorised  unauthorised
# 1           10        0           0
# 2           10        3 (I)       0
# 3           10        0           3 (O)
# 4           10        2 (M)       0
# 5            8        0           0
# 6           10        0           1 (N)
# all         58        5           4


WEEKS_FIGURES = {
    "absence_overall": "9/58 = 15.5",  # 15.517...
    "absence_authorised": "5/58 = 8.6",  # 8.620...
    "absence_unauthorised": "4/58 = 6.9",  # 6.896...
    "persistent_absence": "4/6 = 66.7",  # pupils 2, 3, 4 and 6: a tenth exactly counts
}


async def test_a_week_of_one_school(house: House) -> None:
    await load_registers(house, A, WEEK)
    found = {}
    for measure in WEEKS_FIGURES:
        (figure,) = await figures(house, measure)
        assert (figure.unit_name, figure.period_start, figure.period_label) == (
            f"School {A}",
            MONDAY,
            "2026 week 37",
        )
        found[measure] = shown(figure)
    assert found == WEEKS_FIGURES


async def test_the_same_week_day_by_day(house: House) -> None:
    await load_registers(house, A, WEEK)
    found = {f.period_label: shown(f) for f in await figures(house, "absence_overall", grain="day")}
    assert found == {
        "2026-09-07": "0/11 = 0.0",
        "2026-09-08": "c",
        "2026-09-09": "3/11 = 27.3",
        "2026-09-10": "4/12 = 33.3",
        "2026-09-11": "c",
    }


async def test_a_term_counts_all_its_weeks_whatever_part_is_asked_for(house: House) -> None:
    await load_registers(house, A, WEEK)
    (figure,) = await figures(house, "absence_overall", grain="term", last=MONDAY)
    assert (figure.period_label, shown(figure)) == ("Autumn term 2026/27", "9/58 = 15.5")


BY_LEVEL = {
    "school": {A: "9/58 = 15.5", B: "60/60 = 100.0", C: "0/60 = 0.0"},
    "authority": {"997": "69/118 = 58.5", "998": "0/60 = 0.0"},
    "trust": {"T1": "9/118 = 7.6"},  # A and C; the others are no academies
    "region": {"E12000009": "69/178 = 38.8"},
    "national": {"E92000001": "69/178 = 38.8"},
}


async def test_three_schools_by_level(house: House) -> None:
    await load_registers(house, A, WEEK)
    await load_registers(house, B, "\n".join(f"{pupil}: II II II II II" for pupil in range(10, 16)))
    await load_registers(house, C, "\n".join(f"{pupil}: /\\ /\\ /\\ /\\ /\\" for pupil in range(20, 26)))
    for level, expected in BY_LEVEL.items():
        found = await figures(house, "absence_overall", level, units=None)
        names = {figure.unit: figure.unit_name for figure in found if figure.unit in NAMES}
        assert {figure.unit: shown(figure) for figure in found} == expected
        assert names == {unit: name for unit, name in NAMES.items() if unit in expected}


NAMES = {
    A: f"School {A}",
    "T1": "Trust T1",
    "998": "Eastvale",
    "E12000009": "South West",
    "E92000001": "England",
}


# Autumn as in WEEK, 9 of 58; the first week of the spring term as below, 3 of 60. Persistent over the year: pupils 2
# (3 of 20), 3 (6 of 20) and 4 (2 of 20); pupil 6 missed 1 of 20.
SPRING = "\n".join(f"{pupil}: {'II I/' if pupil == 3 else '// //'} // // //" for pupil in range(1, 7))
YEARS = {
    "absence_overall": "12/118 = 10.2",
    "absence_authorised": "8/118 = 6.8",
    "absence_unauthorised": "4/118 = 3.4",
    "persistent_absence": "3/6 = 50.0",
}


async def test_a_year_is_its_terms(house: House) -> None:
    await load_registers(house, A, WEEK)
    await load_registers(house, A, SPRING, monday=date(2027, 1, 4))
    await clock.set_to(house.connection, house.settings, datetime.fromisoformat("2027-02-01T12:00+00:00"))
    found = {}
    for measure in YEARS:
        (figure,) = await figures(house, measure, grain="year", last=date(2027, 1, 29))
        assert (figure.period_start, figure.period_label) == (date(2026, 9, 1), "2026/27")
        found[measure] = shown(figure)
    assert found == YEARS


async def test_a_pupil_who_moved_school_counts_once_at_each_for_persistent_absence(house: House) -> None:
    at_a, at_b = ("\n".join(f"{pupil}: /\\ /\\" for pupil in range(first, first + 7)) for first in (10, 20))
    await load_registers(house, A, f"1: II ..\n2: II ..\n3: II ..\n{at_a}")
    await load_registers(house, B, f"1: .. II\n2: .. II\n3: .. II\n{at_b}")
    (figure,) = await figures(house, "persistent_absence", "authority", units=["997"])
    assert shown(figure) == "6/20 = 30.0"


#  missed of possible     persistent?
TENTHS = [
    ("1 of 10", "I/ // // // //", "3/6 = 50.0"),  # exactly a tenth counts
    ("0 of 10", "// // // // //", "0/6 = 0.0"),  # nobody is never hidden
    ("1 of 9", "I/ // // // /#", "3/6 = 50.0"),
    ("1 of 2", "I/ ## ## ## ##", "3/6 = 50.0"),
]


async def test_persistent_absence_is_a_tenth_of_the_pupils_own_sessions(house: House) -> None:
    present = "// // // // //"
    for school, (_, week, _) in zip(SCHOOLS, TENTHS, strict=False):
        lines = [f"{pupil}: {week if pupil <= 3 else present}" for pupil in range(1, 7)]
        await load_registers(house, school, "\n".join(lines))
    found = await figures(house, "persistent_absence", units=SCHOOLS[: len(TENTHS)])
    assert [(case, shown(f)) for f, (case, _, _) in zip(found, TENTHS, strict=True)] == [
        (case, expected) for case, _, expected in TENTHS
    ]


#  missed of possible     severe?
HALVES = [
    ("5 of 10", "II II I/ // //", "3/6 = 50.0"),  # exactly half counts
    ("4 of 10", "II II // // //", "0/6 = 0.0"),
    ("4 of 8", "II II // // ##", "3/6 = 50.0"),
]


async def test_severe_absence_is_half_of_the_pupils_own_sessions(house: House) -> None:
    present = "// // // // //"
    for school, (_, week, _) in zip(SCHOOLS, HALVES, strict=False):
        lines = [f"{pupil}: {week if pupil <= 3 else present}" for pupil in range(1, 7)]
        await load_registers(house, school, "\n".join(lines))
    found = await figures(house, "severe_absence", units=SCHOOLS[: len(HALVES)])
    assert [(case, shown(f)) for f, (case, _, _) in zip(found, HALVES, strict=True)] == [
        (case, expected) for case, _, expected in HALVES
    ]


HIDDEN = [
    # measure              pupils  absent  shown
    ("absence_overall", 5, 5, "c"),  # a group under 6 is hidden
    ("absence_overall", 6, 1, "10/60 = 16.7"),
    ("persistent_absence", 5, 3, "c"),
    ("persistent_absence", 9, 1, "c"),  # one or two pupils are hidden
    ("persistent_absence", 9, 2, "c"),
    ("persistent_absence", 9, 3, "3/9 = 33.3"),
    ("persistent_absence", 9, 0, "0/9 = 0.0"),
]


async def test_small_groups_and_small_counts_are_hidden_and_never_become_nought(house: House) -> None:
    for school, (_, pupils, absent, _) in zip(SCHOOLS, HIDDEN, strict=False):
        lines = [
            f"{n}: {'II II II II II' if n <= absent else '// // // // //'}" for n in range(1, pupils + 1)
        ]
        await load_registers(house, school, "\n".join(lines))
    for school, (measure, _, _, expected) in zip(SCHOOLS, HIDDEN, strict=False):
        (figure,) = await figures(house, measure, units=[school])
        assert (school, shown(figure)) == (school, expected)
        if figure.symbol:
            assert (figure.numerator, figure.denominator, figure.value) == (None, None, None)


async def test_a_week_without_sessions_to_attend_is_not_applicable(house: House) -> None:
    await load_registers(house, A, "1: ##\n2: ##")
    assert [shown(figure) for figure in await figures(house, "absence_overall")] == ["z"]


async def test_holidays_and_half_term_have_no_figures(house: House) -> None:
    assert await figures(house, "absence_overall", first=date(2026, 10, 26), last=date(2026, 11, 1)) == []


async def test_periods_that_have_not_begun_are_left_out(house: House) -> None:
    await clock.set_to(house.connection, house.settings, datetime.fromisoformat("2026-09-08T12:00+00:00"))
    days = await figures(house, "absence_overall", grain="day")
    assert [figure.period_label for figure in days] == ["2026-09-07", "2026-09-08"]


async def test_corrected_marks_change_the_figure_and_the_figure_as_known_before_stays(house: House) -> None:
    await load_registers(house, A, WEEK, accepted_at="2026-09-11T16:00+00:00")
    # On the Monday after, one of pupil 3's unexplained absences turns out to be illness.
    await load_registers(house, A, "3: .. .. .I", version=2, accepted_at="2026-09-14T09:00+00:00")
    now = await figures(house, "absence_unauthorised")
    then = await figures(
        house, "absence_unauthorised", known_at=datetime.fromisoformat("2026-09-13T00:00+00:00")
    )
    assert ([shown(f) for f in now], [shown(f) for f in then]) == (["3/58 = 5.2"], ["4/58 = 6.9"])


async def test_a_school_that_no_organisation_fact_names_has_nothing_to_show(house: House) -> None:
    assert [shown(f) for f in await figures(house, "absence_overall", units=["123456"])] == ["z"]
    assert [shown(f) for f in await figures(house, "headcount", units=["123456"])] == ["x"]
