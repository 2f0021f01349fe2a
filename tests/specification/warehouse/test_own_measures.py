"""Measures of an organisation's own: whose they are, over whose facts they run, and what stands beside them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from commonroom.engines import clock
from commonroom.identity import Principal, Role
from commonroom.problems import Problem
from commonroom.settings import Settings
from commonroom.warehouse import measures, open_reader, own, own_figures
from commonroom.warehouse.own_commands import app
from tests.specification.warehouse.test_measures import A, B, C, load_registers
from tests.unit.warehouse.house import House

MONDAYS = """
name: late_marks
title: Late marks
meaning: Sessions for which pupils came late, of all at which they were.
source: "Our own"
entity: attendance_mark
taken: over the period
unit: [school, upn]
each:
  late: sum(code == 'L')
  possible: sum(code.possible == 'true')
population: possible > 0
numerator: sum(late)
denominator: sum(possible)
shown_as: percent
decimals: 1
levels: [school]
grains: [day, week, term]
suppression: {}
benchmark: absence_overall
"""


@pytest.fixture
async def house(pool: Any, settings: Settings) -> AsyncIterator[House]:
    async with pool.acquire() as connection:
        await clock.set_to(connection, settings, datetime.fromisoformat("2026-09-30T12:00+00:00"))
        house = await House(connection, settings, [A, B, C]).open()
        await house.register({A: "T1"}, s990003="998")
        await load_registers(house, A, "1: L/ // // L/ //\n2: // I/ // // //")  # 2 of 20 late, 1 of 20 missed
        await load_registers(house, B, "\n".join(f"{pupil}: L/ // // // //" for pupil in range(10, 20)))
        yield house


def of(house: House, school: str, role: Role = "school") -> Principal:
    return Principal(kind="person", id="p", role=role, party=house.parties[school])


async def asked(
    house: House, who: Principal, name: str = "late_marks", grain: str = "week"
) -> tuple[own_figures.OwnFigure, ...]:
    day = date(2026, 9, 9)
    answer = await own_figures.figures(
        house.settings, house.duck, house.connection, who, name, grain=grain, first=day, last=day
    )
    return answer.figures


async def test_a_measure_of_ones_own_runs_over_ones_own_facts_alone(house: House) -> None:
    for school in (A, B):
        await own.define(house.connection, of(house, school), MONDAYS)
    (of_a,) = await asked(house, of(house, A))
    (of_b,) = await asked(house, of(house, B))
    assert (of_a.unit, of_a.numerator, of_a.denominator, str(of_a.value)) == (A, 2, 20, "10.0")
    assert (of_b.unit, of_b.numerator, of_b.denominator, str(of_b.value)) == (B, 10, 100, "10.0")
    reads = await house.connection.fetch("SELECT party, dataset, rows, counted FROM access.audit ORDER BY id")
    assert [tuple(row) for row in reads] == [
        (house.parties[A], "warehouse.own", 1, [A]),
        (house.parties[B], "warehouse.own", 1, [B]),
    ]


async def test_nobody_sees_anothers_measures_and_the_public_has_none(house: House) -> None:
    await own.define(house.connection, of(house, A), MONDAYS)
    assert [one.measure.name for one in await own.known(house.connection, of(house, A))] == ["late_marks"]
    assert await own.known(house.connection, of(house, B)) == []
    with pytest.raises(Problem, match="CR-287"):
        await asked(house, of(house, B))
    for role in ("analyst", "operator", "governance", "clerk", "learner"):
        with pytest.raises(Problem, match="CR-111"):
            await own.define(house.connection, of(house, A, role), MONDAYS)


async def test_a_measure_defined_again_takes_the_place_of_the_one_before(house: House) -> None:
    await own.define(house.connection, of(house, A), MONDAYS)
    await own.define(house.connection, of(house, A), MONDAYS.replace("title: Late marks", "title: Late"))
    (kept,) = await own.known(house.connection, of(house, A))
    assert kept.measure.title == "Late"


OF_BEFORE = {
    "numerator: sum(late)": ("counted: sum(late)", "counted"),
    "benchmark: absence_overall": ("benchmark: absence_of_old", "absence_of_old"),
}


@pytest.mark.parametrize("right", OF_BEFORE)
async def test_one_that_an_upgrade_cannot_read_is_told_and_deleted_and_the_others_stay(
    house: House, right: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMMONROOM_DATABASE", str(house.settings.database))
    mine = of(house, A)
    for text in (MONDAYS, MONDAYS.replace("name: late_marks", "name: other_marks")):
        await own.define(house.connection, mine, text)
    old, word = MONDAYS.replace(right, OF_BEFORE[right][0]), OF_BEFORE[right][1]
    await house.connection.execute(
        "UPDATE warehouse.own_measure SET declaration = $1 WHERE name = 'late_marks'", old
    )
    assert [one.measure.name for one in await own.known(house.connection, mine)] == ["other_marks"]
    (broken,) = await own.unusable(house.connection, mine)
    assert (broken.name, broken.text) == ("late_marks", old)
    assert word in str(broken.fault)
    assert await own.unusable(house.connection, of(house, B)) == []
    with pytest.raises(Problem, match=word):
        await asked(house, mine)
    common = ["--party", house.parties[A], "--data", str(house.settings.data)]
    listed = await asyncio.to_thread(CliRunner().invoke, app, ["list", *common])
    assert "late_marks: it cannot be used any more" in listed.stdout
    assert "other_marks: Late marks" in listed.stdout
    await own.delete(house.connection, mine, "late_marks")
    assert await own.unusable(house.connection, mine) == []


async def test_definitions_at_the_same_moment_do_not_pass_the_most_that_are_kept(
    house: House, pool: Any
) -> None:
    mine, now = of(house, A), await clock.now(house.connection)
    rows = [(mine.party, f"marks_{n}", MONDAYS, now) for n in range(own.MAX_MEASURES - 1)]
    await house.connection.executemany(
        "INSERT INTO warehouse.own_measure (owner, name, declaration, defined_at) VALUES ($1, $2, $3, $4)",
        rows,
    )

    async def define(name: str) -> str:
        async with pool.acquire() as connection:
            try:
                return (await own.define(connection, mine, MONDAYS.replace("late_marks", name))).measure.title
            except Problem as problem:
                return problem.code

    answers = await asyncio.gather(*(define(f"more_{number}") for number in range(4)))
    assert sorted(answers) == ["CR-286"] * 3 + ["Late marks"]


REFUSED = {
    "name: late_marks": "name: headcount",
    "name: late_marks\n": "name: Late marks!\n",
    "levels: [school]": "levels: [school, national]",
    "benchmark: absence_overall": "benchmark: nothing",
    "entity: attendance_mark": "entity: dinner",
    "sum(code == 'L')": "sum(__import__('os'))",
    "sum(late)": "sum(early)",
    "suppression: {}": "suppression: {}\nbase: headcount",
    "decimals: 1": "tells: {by: sex, groups: [F]}",
    "unit: [school, upn]": "unit: [upn]",
    'source: "Our own"': "source: &a Own\nshown_as: *a",
    "title: Late marks": "colour: red",
    "grains: [day, week, term]": f"grains: [{'day, ' * 9000}week]",
}


@pytest.mark.parametrize("right", REFUSED)
def test_what_cannot_be_used_is_refused_when_it_is_defined(right: str) -> None:
    assert right in MONDAYS
    with pytest.raises(Problem, match=r"CR-001|CR-062|CR-063|CR-286"):
        own.declared(MONDAYS.replace(right, REFUSED[right]))


ATTAINMENT = (
    (measures.FOLDER / "attainment_8.yaml")
    .read_text("utf-8")
    .replace("name: attainment_8", "name: our_attainment")
    .replace("levels: [school, trust, authority, region, national]", "levels: [school]")
)
SLOTS = "".join(f"    more_{number}: {{of: worth > 0, places: 1}}\n" for number in range(8))
TOO_MUCH = {
    "deep": MONDAYS.replace("suppression: {}", f"suppression: {'[' * 8000}"),
    "large": MONDAYS.replace("decimals: 1", f"decimals: {'9' * 5000}"),
    "many decimals": MONDAYS.replace("decimals: 1", "decimals: 40"),
    "no scale": MONDAYS.replace("decimals: 1", "scale: 0"),
    "large number": MONDAYS.replace("sum(late)", f"sum(late) * {'9' * 400}"),
    "deep expression": MONDAYS.replace("sum(late)", f"sum({'-' * 480}late)"),
    "no title": MONDAYS.replace("title: Late marks", 'title: ""'),
    "a title that cannot be printed": MONDAYS.replace("title: Late marks", 'title: "a\\0"'),
    "no grain": MONDAYS.replace("grains: [day, week, term]", "grains: []"),
    "a day after the last": MONDAYS + "within: {entity: exclusion, side: before, days: 4000000}\n",
    "days the wrong way": MONDAYS + "within: {entity: exclusion, side: before, days: -1}\n",
    "many slots": ATTAINMENT.replace("  slots:\n", "  slots:\n" + SLOTS),
    "a name that is taken": MONDAYS.replace("late: sum", "period: sum"),
}


@pytest.mark.parametrize("what", TOO_MUCH)
def test_what_no_reader_or_compiler_can_take_is_refused_as_well(what: str) -> None:
    with pytest.raises(Problem, match=r"CR-001|CR-062|CR-286"):
        own.declared(TOO_MUCH[what])


# Of any records these can be compiled; of some they cannot be worked out.
ONLY_THE_RECORDS_SHOW = {
    "a word for a number": "sum(hundredths(upn))",
    "a product too large": "sum(9223372036854775807 if code == 'L' else 0)",
}


async def test_what_only_the_records_show_to_be_wrong_is_told_as_such(house: House) -> None:
    who = of(house, A)
    for late in ONLY_THE_RECORDS_SHOW.values():
        await own.define(house.connection, who, MONDAYS.replace("sum(code == 'L')", late))
        with pytest.raises(Problem, match="CR-286"):
            await asked(house, who)


async def test_published_figures_stand_beside(house: House) -> None:
    reader = open_reader(house.settings)
    try:
        found = await reader.beside(
            house.connection, of(house, B), "absence_overall", [B], "week", date(2026, 9, 9)
        )
    finally:
        reader.close()
    assert [(figure.level, figure.unit) for figure in found] == [
        ("school", B), ("authority", "997"), ("region", "E12000009"), ("national", "E92000001"),
    ]  # fmt: skip


async def test_the_command_line(house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMMONROOM_DATABASE", str(house.settings.database))
    file = tmp_path / "late.yaml"
    file.write_text(MONDAYS, "utf-8")
    common = ["--party", house.parties[A], "--data", str(house.settings.data)]

    async def run(*words: str) -> str:
        answer = await asyncio.to_thread(CliRunner().invoke, app, [*words, *common])
        assert answer.exit_code == 0, answer.output
        return answer.stdout

    (tmp_path / "word.yaml").write_bytes(b"name: \xff\xfe")
    refused = await asyncio.to_thread(
        CliRunner().invoke, app, ["define", str(tmp_path / "word.yaml"), *common]
    )
    assert "CR-286" in str(refused.exception)
    assert "late_marks" in await run("define", str(file))
    assert "Late marks" in await run("list")
    told = json.loads(
        await run("show", "late_marks", "--on", "2026-09-09", "--grain", "week", "--format", "json")
    )
    assert [(one["unit"], one["numerator"]) for one in told["own"]] == [(A, 2)]
    # One school of two pupils: what is published of it is hidden, also from itself, where others look.
    assert {one["level"] for one in told["published"]} == {
        "school",
        "trust",
        "authority",
        "region",
        "national",
    }
    assert (told["schools"], told["left_out"], told["similar"]["schools"]) == ([A], [], {})
    table = await run("show", "late_marks", "--on", "2026-09-09", "--grain", "week")
    assert "Of the records of: 990001" in table
    assert "late_marks" in table
    strange = [*common[2:], "--party", "urn:commonroom:org:nobody"]
    for words in (["define", str(file)], ["list"], ["show", "late_marks", "--on", "2026-09-09"]):
        refused = await asyncio.to_thread(CliRunner().invoke, app, [*words, *strange])
        assert "CR-041" in str(refused.exception)
    assert "deleted" in await run("delete", "late_marks")
    assert await run("list") == ""


FAULTS = {
    "benchmark: absence_overall": ("benchmark: happiness", "`benchmark`"),
    "numerator: sum(late)": ("numerator: sum(late)\nwhere: here", "key where"),
    "entity: attendance_mark": ("entity: attendance_marks", "attendance_marks"),
}


@pytest.mark.parametrize("right", FAULTS)
def test_a_fault_names_the_file_given_and_the_key(right: str) -> None:
    assert right in MONDAYS
    wrong, said = FAULTS[right]
    with pytest.raises(Problem) as caught:
        own.declared(MONDAYS.replace(right, wrong), Path("mine/bad.yaml"))
    assert caught.value.where.startswith("mine/bad.yaml")
    assert said in str(caught.value)


def test_without_a_party_the_published_measures_are_listed() -> None:
    listed = CliRunner().invoke(app, ["list"]).stdout
    assert "absence_overall" in listed
    assert "pupil_teacher_ratio" in listed
    assert "national" in listed


@pytest.mark.parametrize("name", own.examples())
def test_the_examples_to_start_from_can_be_used(name: str) -> None:
    assert own.declared(own.examples()[name]).name == name
