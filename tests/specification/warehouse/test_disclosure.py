"""The attack on published figures: schools, trusts, authorities, regions, England; days to year; parts and whole.

Whoever asks for all of it can subtract any of it from any other. With only small cells hidden, that tells them; with what
`publication` hides besides, it does not. See tests/unit/warehouse/attacker.py for what an attacker knows.
"""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator
from datetime import date, datetime, timedelta
from typing import Any

import pytest

from commonroom.engines import clock
from commonroom.identity import PUBLIC
from commonroom.settings import Settings
from commonroom.warehouse import Figure, divisions, measures, open_reader, publication, suppression
from commonroom.warehouse.publication import Calendar, Name, Parts
from tests.unit.warehouse.attacker import Sums, by_solver
from tests.unit.warehouse.house import House, mark

FAMILY = [measures.named(name) for name in ("absence_overall", "absence_authorised", "absence_unauthorised")]
PERSISTENT = [measures.named("persistent_absence")]
LEVELS = ("school", "authority", "region", "national")
ALL_LEVELS = (*LEVELS, "trust")
MONDAY = date(2026, 9, 7)


def invented(seed: int, schools: int, weeks: int) -> tuple[dict[Name, Parts], dict[str, Any], Calendar]:
    """Sessions of small and large schools in four authorities of two regions, over some weeks of a term."""
    chance = random.Random(seed)
    groups: dict[str, Any] = {}
    for number in range(schools):
        la = str(900 + number % 4)
        region = f"E1200000{number % 2}"
        groups[f"99{number:04d}"] = dict(
            zip(LEVELS, (f"99{number:04d}", la, region, "E92000001"), strict=True)
        )
        # Two trusts run schools in several authorities, some schools have none.
        groups[f"99{number:04d}"]["trust"] = (None, "T1", "T2")[number * 7 // 4 % 3]
    days = [f"day {week}.{day}" for week in range(weeks) for day in range(5)]
    sums = {f"week {week}": tuple(days[week * 5 : week * 5 + 5]) for week in range(weeks)}
    sums["term"] = tuple(f"week {week}" for week in range(weeks))
    grains = {**dict.fromkeys(days, "day"), **{name: name.split()[0] for name in sums}}
    numbers: dict[Name, Parts] = {}
    for urn in groups:
        pupils = chance.choice([4, 60, 90, 200, 400])
        for day in days:
            most = max(1, pupils // 8)
            parts = {
                "absence_authorised": chance.randint(0, most),
                "absence_unauthorised": chance.randint(0, most // 2),
            }
            parts["absence_overall"] = sum(parts.values())
            for name, missed in parts.items():
                numbers[name, ("school", urn), day] = Parts(missed, 2 * pupils, pupils)
    for total, shorter in sums.items():
        for (name, place, day), mine in list(numbers.items()):
            if day == shorter[0]:
                others = [numbers[name, place, other] for other in shorter]
                numbers[name, place, total] = Parts(
                    sum(one.numerator for one in others),
                    sum(one.denominator or 0 for one in others),
                    mine.units,
                )
    return publication.rolled_up(numbers, groups), groups, Calendar.of(grains, sums)


def sums_of(numbers: dict[Name, Parts], groups: dict[str, Any], calendar: Calendar, parts: bool) -> Sums:
    """Every sum that an attacker can write down, `parts`: also of the whole and its parts."""
    found: list[tuple[Name, ...]] = []
    places = {(level, of[level]) for of in groups.values() for level in ALL_LEVELS if of[level]}
    names = {name for name, _, _ in numbers}
    for measure, place, moment in numbers:
        if place[0] != "school":
            below = "school" if place[0] == "trust" else LEVELS[LEVELS.index(place[0]) - 1]
            children = sorted({(below, of[below]) for of in groups.values() if of[place[0]] == place[1]})
            found.append(((measure, place, moment), *((measure, child, moment) for child in children)))
    for measure in names:
        for place in sorted(places):
            found += [
                ((measure, place, total), *((measure, place, shorter) for shorter in of))
                for total, of in calendar.sums.items()
            ]
    if parts:
        found += [
            tuple((measure.name, place, moment) for measure in FAMILY)
            for place in sorted(places)
            for moment in calendar.grains
        ]  # fmt: skip
    return found


def attacked(
    numbers: dict[Name, Parts], groups: dict[str, Any], calendar: Calendar, hidden: frozenset[Name]
) -> int:
    """How many hidden numerators and denominators are worked out from all that is shown."""
    base = {name: parts.denominator or 0 for name, parts in numbers.items() if name[0] == "absence_overall"}
    # A denominator is shown by whichever of the three rates is shown. A large one may be guessed: it tells of nobody.
    dark = {
        ("absence_overall", place, moment)
        for _, place, moment in base
        if all((measure.name, place, moment) in hidden for measure in FAMILY)
    }
    missed = {name: parts.numerator for name, parts in numbers.items()}
    limits = {
        name: base[("absence_overall", *name[1:])]
        for name in hidden
        if ("absence_overall", *name[1:]) not in dark
    }
    found = by_solver(missed, sums_of(numbers, groups, calendar, parts=True), hidden, limits)
    shallow = {name: parts for name, parts in numbers.items() if name[0] == "absence_overall"}
    found_bases = by_solver(base, sums_of(shallow, groups, calendar, parts=False), dark)
    return len(found) + sum(numbers[name].units < FAMILY[0].suppression.units_below for name in found_bases)


SIZES = [(3, 10, 1), (4, 6, 1), *(pytest.param(seed, 16, 2, marks=pytest.mark.soak) for seed in range(5, 15))]


@pytest.mark.parametrize(("seed", "schools", "weeks"), SIZES)
def test_no_subtraction_of_linked_tables_recovers_a_hidden_cell(seed: int, schools: int, weeks: int) -> None:
    numbers, groups, calendar = invented(seed, schools, weeks)
    tree = publication.tree(groups)
    alone = publication.hidden(FAMILY, numbers, tree, calendar, hide=suppression.sensitive_only)
    began = time.perf_counter()
    beside = publication.hidden(FAMILY, numbers, tree, calendar)
    seconds = time.perf_counter() - began
    open_cells, closed_cells = (attacked(numbers, groups, calendar, one) for one in (alone, beside))
    print(
        f"{len(numbers)} cells; small ones alone: {len(alone)} hidden, {open_cells} worked out; "
        f"with the further ones: {len(beside)} hidden, {closed_cells} worked out; {seconds:.1f} s"
    )
    assert alone <= beside
    assert open_cells > 0
    assert closed_cells == 0


@pytest.mark.parametrize(("seed", "schools"), [(3, 10), (4, 6), (16, 4)])
def test_solved_area_by_area_nothing_is_given_away_either(
    seed: int, schools: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As large publications are; here most authorities have so few schools that their totals must be hidden, too."""
    monkeypatch.setattr(publication, "_TOGETHER", 0)
    numbers, groups, calendar = invented(seed, schools, 1)
    beside = publication.hidden(FAMILY, numbers, publication.tree(groups), calendar)
    assert any(place[0] == "authority" for _, place, _ in beside)
    assert attacked(numbers, groups, calendar, beside) == 0
    # The numbers come in no order; which are hidden does not depend on it.
    names, places = list(numbers), list(groups)
    random.Random(seed).shuffle(names)
    random.Random(seed).shuffle(places)
    mixed = {name: numbers[name] for name in names}
    tree = publication.tree({urn: groups[urn] for urn in places})
    suppression.forget()
    assert publication.hidden(FAMILY, mixed, tree, calendar) == beside


@pytest.fixture
async def county(pool: Any, settings: Settings) -> AsyncIterator[House]:
    """Six schools in two authorities, a week of marks; in the fourth school one pupil is away once."""
    async with pool.acquire() as connection:
        await clock.set_to(connection, settings, datetime.fromisoformat("2026-09-14T12:00+00:00"))
        schools = [str(990001 + number) for number in range(6)]
        house = await House(connection, settings, schools).open()
        await house.register(
            {"990003": "T1", "990004": "T1", "990006": "T1"}, s990004="998", s990005="998", s990006="998"
        )
        letters = []
        for place, school in enumerate(schools):
            records = [
                mark(school, 100 * place + pupil, (MONDAY + timedelta(days=day)).isoformat(), session, code)
                for pupil in range(12)
                for day in range(5)
                for session in ("AM", "PM")
                for code in [
                    "O" if (place, pupil, day, session) == (3, 0, 2, "AM") else _usual(place, pupil, day)
                ]
            ]
            letters.append(house.letter(school, "attendance_mark", records))
        await house.load(*letters)
        yield house


def _usual(place: int, pupil: int, day: int) -> str:
    """Three pupils or more of each school are ill, and as many stay away, on each day; nobody stays away from the fourth."""
    if (pupil + day) % 12 < 3 + place % 3:
        return "I"
    return "O" if place != 3 and (pupil + day) % 12 >= 8 else "/"


async def everything(house: House, hide: Any) -> dict[tuple[str, str, str, str], Figure]:
    """Every figure of the absence measures that anybody can ask for."""
    reader = open_reader(house.settings, hide)
    try:
        return {
            (measure.name, level, figure.unit, f"{grain} {figure.period_start}"): figure
            for measure in FAMILY
            for level in ALL_LEVELS
            for grain in ("day", "week", "term", "year")
            for figure in await reader.figures(
                house.connection, PUBLIC, measure=measure.name, level=level, grain=grain, first=MONDAY, last=MONDAY
                + timedelta(days=4),
            )
        }  # fmt: skip
    finally:
        reader.close()


async def test_what_is_published_does_not_give_one_pupils_absence_away(county: House) -> None:
    one = ("absence_unauthorised", "school", "990004", "day 2026-09-09")
    alone = await everything(county, suppression.sensitive_only)
    whole = alone["absence_overall", *one[1:]].numerator
    rest = alone["absence_authorised", *one[1:]].numerator
    assert (alone[one].symbol, whole, rest) == ("c", 6, 5)  # 6 - 5: the hidden one

    shown = await everything(county, suppression.hide)
    assert {name for name, figure in alone.items() if figure.symbol} < {
        name for name, figure in shown.items() if figure.symbol
    }
    known = {name: figure.numerator for name, figure in shown.items() if figure.numerator is not None}
    assert {name[0] for name in known if name[1:] == one[1:]} != {"absence_overall", "absence_authorised"}
    assert sum(figure.symbol == "c" for figure in shown.values()) < len(shown) / 2


async def test_a_figure_is_hidden_in_every_answer_or_in_none(county: House) -> None:
    shown = await everything(county, suppression.hide)
    reader = open_reader(county.settings)
    try:
        for (measure, level, unit, period), figure in shown.items():
            if level in ("school", "authority") and period.startswith("day"):
                day = figure.period_start
                (asked_alone,) = await reader.figures(
                    county.connection, PUBLIC, measure=measure, level=level, grain="day", units=[unit], first=day, last=day
                )  # fmt: skip
                assert asked_alone == figure
    finally:
        reader.close()


def test_a_years_figures_say_nothing_that_its_terms_do_not() -> None:
    terms = [invented(seed, 8, 1) for seed in (11, 12, 13)]
    released = []
    for numbers, groups, calendar in terms:
        mine = {name: parts for name, parts in numbers.items() if name[2] == "term"}
        hidden = publication.hidden(FAMILY, numbers, publication.tree(groups), calendar)
        released.append((mine, hidden))
    numbers, hidden = publication.year(released, "year")
    shown_terms = [{name for name in mine if name not in dark} for mine, dark in released]
    shown, withheld = 0, 0
    for (measure, place, _), parts in numbers.items():
        name = (measure, place, "term")
        known_by_all = all(name in shown_term for shown_term in shown_terms)
        assert ((measure, place, "year") in hidden) != known_by_all
        if known_by_all:
            assert parts.numerator == sum(mine[name].numerator for mine, _ in released)
        shown, withheld = shown + known_by_all, withheld + (not known_by_all)
    assert shown > 0
    assert withheld > 0


WORKFORCE = (
    "workforce_fte",
    "support_staff_fte",
    "teachers_fte",
    "qualified_teachers_fte",
    "unqualified_teachers_fte",
)


def staffed(seed: int, schools: int) -> tuple[dict[Name, Parts], dict[str, Any]]:
    """The staff of schools, in hundredths of a post: a school has few teachers without the status, if any."""
    chance = random.Random(seed)
    _, groups, _ = invented(seed, schools, 1)
    numbers: dict[Name, Parts] = {}
    for urn in groups:
        support, qualified = chance.choice([2, 8, 30]), chance.choice([2, 9, 40])
        unqualified = chance.choice([0, 0, 1, 2, 5])
        parts = {
            name: Parts(100 * people - 50 * chance.randint(0, people // 2), None, people)
            for name, people in zip(WORKFORCE[1:], (support, 0, qualified, unqualified), strict=True)
            if people
        }
        parts["teachers_fte"] = parts["qualified_teachers_fte"].plus(
            parts.get("unqualified_teachers_fte", Parts(0, None, 0))
        )
        parts["workforce_fte"] = parts["teachers_fte"].plus(parts["support_staff_fte"])
        numbers |= {(name, ("school", urn), "t"): one for name, one in parts.items()}
    return publication.rolled_up(numbers, groups), groups


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(2, 23))])
def test_no_subtraction_between_kinds_of_staff_recovers_a_hidden_cell(seed: int) -> None:
    numbers, groups = staffed(seed, 9)
    calendar = Calendar.of({"t": "term"}, {})
    family = measures.family(measures.named("unqualified_teachers_fte"))
    assert sorted(one.name for one in family) == sorted(WORKFORCE)
    places = {(place, time) for _, place, time in numbers}
    kinds = [("workforce_fte", "support_staff_fte", "teachers_fte"), ("teachers_fte", *WORKFORCE[3:])]
    sums = sums_of(numbers, groups, calendar, parts=False)
    sums += [tuple((name, *where) for name in one) for one in kinds for where in sorted(places)]
    # Of whom there is nobody, there is no figure at all: everybody sees that.
    sums = [tuple(part for part in one if part in numbers) for one in sums]
    values = {name: parts.numerator for name, parts in numbers.items()}
    tree = publication.tree(groups)
    alone = publication.hidden(family, numbers, tree, calendar, hide=suppression.sensitive_only)
    dark = publication.hidden(family, numbers, tree, calendar)
    found_alone, found = by_solver(values, sums, alone), by_solver(values, sums, dark)
    print(
        f"{len(numbers)} cells; small ones alone: {len(alone)} hidden, {len(found_alone)} worked out; "
        f"with the further ones: {len(dark)} hidden, {len(found)} worked out"
    )
    assert found_alone
    assert not found


# The pupils of each school by three characteristics; some groups are small, and some schools too.
DIVISIONS = {
    "sex": ("F", "M", "unknown"),
    "fsm": ("eligible", "not_eligible"),
    "ethnicity": ("w", "m", "a", "b", "o"),
}


CHARACTERISTIC_OF = {group: name for name, groups in DIVISIONS.items() for group in groups}


def shared_out(chance: random.Random, total: int, groups: int) -> list[int]:
    """A number in parts, the later ones small."""
    parts = []
    for place in range(groups - 1):
        parts.append(chance.randint(0, total if place else total // 2) // (1 + place))
        total -= parts[-1]
    return [total, *parts]


def divided_world(
    seed: int, schools: int
) -> tuple[dict[str, Any], dict[Name, Parts], dict[str, dict[Name, Parts]]]:
    """Headcounts of schools, whole and by characteristic."""
    chance = random.Random(seed)
    _, groups, _ = invented(seed, schools, 1)
    whole: dict[Name, Parts] = {}
    by: dict[str, dict[Name, Parts]] = {name: {} for name in DIVISIONS}
    for urn in groups:
        pupils = chance.choice([2, 5, 14, 60, 200])
        whole["headcount", ("school", urn), "t"] = Parts(pupils, None, pupils)
        for name, kinds in DIVISIONS.items():
            for group, number in zip(kinds, shared_out(chance, pupils, len(kinds)), strict=True):
                if number:
                    by[name][divisions.series("headcount", group), ("school", urn), "t"] = Parts(
                        number, None, number
                    )
    total = publication.rolled_up(whole, groups)
    headcount = [measures.named("headcount")]
    return (
        groups,
        total,
        {
            name: divisions.filled(headcount, DIVISIONS[name], publication.rolled_up(numbers, groups), total)
            for name, numbers in by.items()
        },
    )


@pytest.mark.parametrize(
    "seed", [1, 2, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(3, 23))]
)
def test_no_subtraction_between_characteristics_recovers_a_hidden_cell(seed: int) -> None:
    groups, whole, by = divided_world(seed, 9)
    headcount = [measures.named("headcount")]
    calendar = Calendar.of({"t": "term"}, {})
    tree = publication.tree(groups)
    hidden_whole = publication.hidden(headcount, whole, tree, calendar)
    published = divisions.Whole(whole, hidden_whole, frozenset())
    values = {name: parts.numerator for name, parts in whole.items()}
    sums = sums_of(whole, groups, calendar, parts=False)
    dark, alone = set(hidden_whole), set(hidden_whole)
    for name, numbers in by.items():
        kinds = DIVISIONS[name]
        dark |= divisions.hidden(headcount, kinds, numbers, published, tree)
        alone |= {one for one, parts in numbers.items() if 0 < parts.numerator < 3}
        values |= {one: parts.numerator for one, parts in numbers.items()}
        for group in kinds:
            mine = {
                one: parts for one, parts in numbers.items() if one[0] == divisions.series("headcount", group)
            }
            sums += [
                tuple(part for part in one if part in mine)
                for one in sums_of(mine, groups, calendar, parts=False)
                if one[0] in mine
            ]
        sums += [
            (total, *((divisions.series("headcount", group), *total[1:]) for group in kinds))
            for total in whole
        ]
    # Where every group is hidden, so are those of nobody: there each may be nought.
    lowest = {
        name: 0
        for name in dark
        for figure, _, group in [name[0].partition("=")]
        if group
        and all((f"{figure}={other}", *name[1:]) in dark for other in DIVISIONS[CHARACTERISTIC_OF[group]])
    }
    open_cells, closed_cells = by_solver(values, sums, alone), by_solver(values, sums, dark, lowest=lowest)
    print(
        f"{len(values)} cells; small ones alone: {len(alone)} hidden, {len(open_cells)} worked out; "
        f"with the further ones: {len(dark)} hidden, {len(closed_cells)} worked out"
    )
    assert open_cells
    assert {name for name in closed_cells if values[name] and 0 < values[name] < 3} == set()
    assert closed_cells == set()


YEARS = ("R", "3", "7", "12")


def joining(seed: int, schools: int) -> tuple[dict[str, Any], dict[Name, Parts], dict[Name, Parts]]:
    """Who joins schools, whole and by year of entry; of most years of entry a school knows nothing."""
    chance = random.Random(seed)
    _, groups, _ = invented(seed, schools, 1)
    by: dict[Name, Parts] = {}
    whole: dict[Name, Parts] = {}
    for urn in groups:
        known = {year: chance.choice([0, 1, 2, 14, 60]) for year in YEARS if chance.random() < 0.6}
        for year, many in known.items():
            by[divisions.series("expected_joiners", year), ("school", urn), "t"] = Parts(many, None, 1)
        if known:
            whole["expected_joiners", ("school", urn), "t"] = Parts(sum(known.values()), None, 1)
    return groups, publication.rolled_up(whole, groups), publication.rolled_up(by, groups)


# At 52 trusts' wholes and the groups together would tell all schools' wholes.
@pytest.mark.parametrize(
    "seed", [1, 52, *(pytest.param(seed, marks=pytest.mark.soak) for seed in (*range(2, 23), 46))]
)
def test_no_subtraction_between_years_of_entry_recovers_a_hidden_cell(seed: int) -> None:
    groups, whole, rolled = joining(seed, 9)
    family = [measures.named("expected_joiners")]
    numbers = divisions.filled(family, YEARS, rolled, whole)
    assert numbers == rolled, (
        "a year of entry of which nothing is known is no nought that others could hide behind"
    )
    calendar = Calendar.of({"t": "term"}, {})
    tree = publication.tree(groups)
    hidden_whole = publication.hidden(family, whole, tree, calendar)
    published = divisions.Whole(whole, hidden_whole, frozenset())
    dark = hidden_whole | divisions.hidden(family, YEARS, numbers, published, tree)
    everything = {**whole, **numbers}
    alone = hidden_whole | {name for name, parts in numbers.items() if 0 < parts.numerator < 3}
    values = {name: parts.numerator for name, parts in everything.items()}
    sums = [
        tuple(part for part in one if part in everything)
        for one in sums_of(everything, groups, calendar, parts=False)
    ]
    sums += [
        (total, *(name for year in YEARS if (name := (f"{total[0]}={year}", *total[1:])) in numbers))
        for total in whole
    ]
    # Where every group is hidden, so are those of nobody.
    lowest = {
        name: 0
        for name in dark & set(numbers)
        if all(
            other in dark
            for year in YEARS
            if (other := (divisions.series("expected_joiners", year), *name[1:])) in numbers
        )
    }
    open_cells, closed_cells = by_solver(values, sums, alone), by_solver(values, sums, dark, lowest=lowest)
    print(
        f"{len(values)} cells; small ones alone: {len(alone)} hidden, {len(open_cells)} worked out; "
        f"with the further ones: {len(dark)} hidden, {len(closed_cells)} worked out"
    )
    assert open_cells
    # The only school of an authority that knows of a year, or a school that nobody joins, is told by the whole: it is shown.
    assert closed_cells == set()
    assert len(dark) < len(values)
