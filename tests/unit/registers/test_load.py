"""Loading into the register: what becomes new, changed, history; repeats, races and files that come too late."""

from __future__ import annotations

import asyncio
import gzip
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from commonroom.engines import clock
from commonroom.engines.database import open_pool
from commonroom.problems import Problem
from commonroom.registers import learners, providers
from commonroom.settings import Settings
from tests.unit.registers import extracts
from tests.unit.registers.extracts import COLUMNS, row

FILE = "edubasealldata20260310.csv"
LATER = "edubasealldata20260510.csv"


async def load(
    conn: Any, folder: Path, name: str, rows: list[dict[str, str]], **more: Any
) -> providers.LoadReport:
    return await providers.load_file(
        conn, extracts.write(folder / name, rows, more.pop("columns", COLUMNS)), **more
    )


async def test_schools_and_their_authority_become_organisations(pool: asyncpg.Pool, tmp_path: Path) -> None:
    async with pool.acquire() as conn:
        report = await load(conn, tmp_path, FILE, [row(990001), row(990002)])
        assert (report.schools, report.pupils, report.authorities, report.new) == (2, 340, 1, 2)
        assert report.file_date == date(2026, 3, 10)
        school = await providers.school(conn, "990001")
        authority = await providers.authority(conn, "997")
        assert school is not None
        assert authority is not None
    assert (school.name, school.laestab, school.region_code) == (
        "Fernside Infant School",
        "9970001",
        "E12000009",
    )
    assert school.valid_from == date(2026, 3, 1)
    assert school.open_date == date(1998, 9, 1)
    assert school.facts["type_code"] == "01"
    assert (authority.name, authority.region_name) == ("Westmarch", "South West")
    assert (authority.schools, authority.pupils, authority.phases) == (2, 340, {"Primary": 2})


async def test_a_later_file_adds_a_version_for_what_changed_and_for_nothing_else(
    pool: asyncpg.Pool, tmp_path: Path
) -> None:
    async with pool.acquire() as conn:
        await load(conn, tmp_path, FILE, [row(990001), row(990002)])
        changed = row(990001, EstablishmentName="Fernside Primary School", LastChangedDate="01/05/2026")
        report = await load(conn, tmp_path, LATER, [changed, row(990002, LastChangedDate="02-05-2026")])
        assert (report.new, report.changed, report.unchanged, report.late) == (0, 1, 1, 0)
        history = await providers.versions(conn, "990001")
        assert len(await providers.versions(conn, "990002")) == 1
    assert [version.valid_from for version in history] == [date(2026, 3, 1), date(2026, 5, 1)]
    assert history[1].changes == (
        providers.Change("name", "Fernside Infant School", "Fernside Primary School"),
    )
    assert (history[1].file, history[1].line) == (LATER, 2)


async def test_a_row_older_than_what_is_known_deepens_the_history_and_leaves_the_present(
    pool: asyncpg.Pool, tmp_path: Path
) -> None:
    async with pool.acquire() as conn:
        await load(conn, tmp_path, LATER, [row(LastChangedDate="01-05-2026", NumberOfPupils="180")])
        report = await load(conn, tmp_path, FILE, [row(NumberOfPupils="170")])
        assert (report.changed, report.late) == (1, 1)
        school = await providers.school(conn, "990001")
        history = await providers.versions(conn, "990001")
    assert school is not None
    assert school.pupils == 180
    assert [(version.valid_from, version.facts["pupils"]) for version in history] == [
        (date(2026, 3, 1), 170),
        (date(2026, 5, 1), 180),
    ]


@hypothesis_settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    order=st.permutations(
        [("10-01-2026", "100"), ("10-02-2026", "110"), ("10-03-2026", "120"), ("10-04-2026", "130")]
    )
)
async def test_whatever_the_order_of_files_the_present_and_the_history_are_the_same(
    settings: Settings, tmp_path: Path, order: list[tuple[str, str]]
) -> None:
    pool = await open_pool(settings, size=1)
    try:
        async with pool.acquire() as conn:
            transaction = conn.transaction()
            await transaction.start()
            for changed, pupils in order:
                await load(conn, tmp_path, LATER, [row(LastChangedDate=changed, NumberOfPupils=pupils)])
            school = await providers.school(conn, "990001")
            history = await providers.versions(conn, "990001")
            await transaction.rollback()
    finally:
        await pool.close()
    assert school is not None
    assert school.pupils == 130
    assert [version.facts["pupils"] for version in history] == [100, 110, 120, 130]


async def test_columns_that_a_file_does_not_have_keep_their_values_and_blank_ones_lose_them(
    pool: asyncpg.Pool, tmp_path: Path
) -> None:
    fewer = tuple(column for column in COLUMNS if column != "UKPRN")
    async with pool.acquire() as conn:
        await load(conn, tmp_path, FILE, [row()])
        await load(conn, tmp_path, LATER, [row(LastChangedDate="01-05-2026", Town="")], columns=fewer)
        school = await providers.school(conn, "990001")
    assert school is not None
    assert school.ukprn == "10080446"
    assert school.town is None


async def test_the_same_file_again_changes_nothing_and_says_so(pool: asyncpg.Pool, tmp_path: Path) -> None:
    async with pool.acquire() as conn:
        first = await load(conn, tmp_path, FILE, [row(), row(990002, OpenDate="nonsense")])
        again = await load(conn, tmp_path, "renamed.csv", [row(), row(990002, OpenDate="nonsense")])
        assert again.already
        assert again.load == first.load
        assert again.issues == first.issues
        assert (again.new, again.changed, again.unchanged) == (0, 0, 2)
        assert await conn.fetchval("SELECT count(*) FROM providers.load") == 1
        forced = await load(conn, tmp_path, FILE, [row(), row(990002, OpenDate="nonsense")], again=True)
        assert (forced.already, forced.new, forced.changed, forced.unchanged) == (False, 0, 0, 2)
        assert await conn.fetchval("SELECT count(*) FROM providers.version WHERE kind = 'school'") == 2


async def test_schools_missing_from_a_later_file_are_left_and_counted(
    pool: asyncpg.Pool, tmp_path: Path
) -> None:
    async with pool.acquire() as conn:
        await load(conn, tmp_path, FILE, [row(n) for n in (990001, 990002, 990003)])
        report = await load(conn, tmp_path, LATER, [row(990002)])
        assert report.absent == 2
        absent = await providers.school(conn, "990001")
        present = await providers.school(conn, "990002")
    assert absent is not None
    assert present is not None
    assert (absent.as_at, present.as_at) == (date(2026, 3, 10), date(2026, 5, 10))


async def test_a_date_of_change_after_the_extract_is_not_believed(pool: asyncpg.Pool, tmp_path: Path) -> None:
    async with pool.acquire() as conn:
        await load(conn, tmp_path, FILE, [row(LastChangedDate="01-03-2199")])
        school = await providers.school(conn, "990001")
    assert school is not None
    assert school.valid_from == date(2026, 3, 10)


async def test_versions_are_recorded_by_the_domain_clock(
    pool: asyncpg.Pool, settings: Settings, tmp_path: Path
) -> None:
    async with pool.acquire() as conn:
        await clock.set_to(conn, settings, datetime(2031, 5, 6, 7, 8, tzinfo=UTC))
        report = await load(conn, tmp_path, "schools.csv", [row()])
        history = await providers.versions(conn, "990001")
    assert report.file_date == date(2031, 5, 6)
    assert history[0].recorded_at.date() == date(2031, 5, 6)


async def test_faults_are_kept_with_the_load_and_people_can_list_them(
    pool: asyncpg.Pool, tmp_path: Path
) -> None:
    async with pool.acquire() as conn:
        report = await load(
            conn, tmp_path, FILE, [row(), row(990002, URN="bad"), row(990003, OpenDate="bad")]
        )
        assert (report.rows, report.loaded, report.refused, report.issue_count) == (3, 2, 1, 2)
        kept = await providers.issues_of(conn, await providers.newest_load(conn))
    assert kept == report.issues
    assert [(issue.line, issue.effect) for issue in kept] == [(3, "row refused"), (4, "value left blank")]


async def test_a_file_that_cannot_be_read_leaves_no_trace(pool: asyncpg.Pool, tmp_path: Path) -> None:
    path = tmp_path / FILE
    path.write_bytes(gzip.compress(extracts.text([row()]).encode() * 40)[:-9])
    async with pool.acquire() as conn:
        with pytest.raises(Problem, match="ends too early"):
            await providers.load_file(conn, path)
        assert await conn.fetchval("SELECT count(*) FROM providers.load") == 0


async def test_loads_at_the_same_time_wait_for_each_other_and_lose_nothing(
    pool: asyncpg.Pool, tmp_path: Path
) -> None:
    files = [
        extracts.write(tmp_path / f"{n}.csv", [row(990001 + n), row(990500, NumberOfPupils=str(100 + n))])
        for n in range(6)
    ]

    async def one(file: Path) -> providers.LoadReport:
        async with pool.acquire() as conn:
            return await providers.load_file(conn, file)

    reports = await asyncio.gather(*map(one, files), *map(one, files))
    async with pool.acquire() as conn:
        positions = await conn.fetch(
            "SELECT position FROM providers.version WHERE facts ->> 'urn' = '990500' ORDER BY load, position"
        )
        assert await conn.fetchval("SELECT count(*) FROM providers.organisation WHERE kind = 'school'") == 7
    assert sum(report.already for report in reports) == 6
    found = [record["position"] for record in positions]
    assert len(found) == 6
    assert found == sorted(found)


async def test_a_number_passes_from_a_closed_school_to_its_successor(
    pool: asyncpg.Pool, tmp_path: Path
) -> None:
    old = row(990001, EstablishmentNumber="2288", UKPRN="")
    closed = {
        **old,
        "EstablishmentStatus (name)": "Closed",
        "CloseDate": "31-03-2026",
        "LastChangedDate": "01-04-2026",
    }
    new = row(
        990002, EstablishmentNumber="2288", UKPRN="", OpenDate="01-04-2026", LastChangedDate="01-04-2026"
    )
    async with pool.acquire() as conn:
        await load(conn, tmp_path, FILE, [old])
        await load(conn, tmp_path, LATER, [closed, new])
        rows = await conn.fetch(
            "SELECT o.value AS urn, a.valid_to FROM providers.alias AS a JOIN providers.organisation AS o"
            " ON o.id = a.organisation WHERE a.scheme = 'laestab' AND a.value = '9972288' ORDER BY o.value"
        )
    assert [tuple(record) for record in rows] == [("990001", date(2026, 3, 31)), ("990002", None)]


async def test_group_links_give_a_school_its_trust_and_the_last_one_joined_counts(
    pool: asyncpg.Pool, tmp_path: Path
) -> None:
    path = tmp_path / "grouplinks20260310.csv"
    header = "URN,Group UID,Group Name,Group Type,Group Status,Joined date"
    path.write_text(
        f"{header}\n990001,11,Old Trust,Multi-academy trust,Open,01/09/2012\n"
        "990001,12,New Trust,Multi-academy trust,Open,01/09/2024\n990001,13,A Federation,Federation,Open,01/09/2025\n"
    )
    async with pool.acquire() as conn:
        await load(conn, tmp_path, FILE, [row()])
        report = await providers.load_file(conn, path)
        school = await providers.school(conn, "990001")
    assert (report.kind, report.groups, report.links, report.new) == ("group_links", 3, 3, 3)
    assert school is not None
    assert school.trust is not None
    assert school.trust.name == "New Trust"
    assert {group.name for group in school.groups} == {"Old Trust", "New Trust", "A Federation"}


async def test_links_name_predecessors_even_when_the_register_does_not_have_them(
    pool: asyncpg.Pool, tmp_path: Path
) -> None:
    path = tmp_path / "links_edubasealldata20260310.csv"
    path.write_text(
        "URN,LinkURN,LinkName,LinkType,LinkEstablishedDate\n990001,990900,Old School,Predecessor,01-04-2016\n"
    )
    async with pool.acquire() as conn:
        await load(conn, tmp_path, FILE, [row()])
        await providers.load_file(conn, path)
        school = await providers.school(conn, "990001")
    assert school is not None
    assert school.links == (providers.Link("990900", "Old School", "Predecessor", date(2016, 4, 1)),)


async def test_progress_is_told_up_to_the_last_row(pool: asyncpg.Pool, tmp_path: Path) -> None:
    told: list[int] = []
    async with pool.acquire() as conn:
        await load(conn, tmp_path, FILE, [row(990000 + n) for n in range(1, 2502)], progress=told.append)
    assert told == [1000, 2000, 2501]


async def test_a_learner_keeps_one_id_however_often_and_by_however_many_it_is_asked_for(
    pool: asyncpg.Pool,
) -> None:
    upns = ["C823432117001", "T330200120017", "H938520009123", "B82343211701A"]

    async def ask(wanted: list[str]) -> dict[str, Any]:
        async with pool.acquire() as conn:
            return await learners.learner_ids(conn, wanted)

    answers = await asyncio.gather(*(ask(upns[n % 3 :] + upns[:1]) for n in range(12)))
    ids = await ask([*upns, upns[0]])
    assert len(set(ids.values())) == 4
    assert all(ids[upn] == found for answer in answers for upn, found in answer.items())
    async with pool.acquire() as conn:
        assert await conn.fetchval("SELECT count(*) FROM learners.learner") == 4


async def test_a_upn_that_is_not_valid_is_refused_by_its_place_and_never_shown(pool: asyncpg.Pool) -> None:
    async with pool.acquire() as conn:
        with pytest.raises(Problem, match="positions 1") as caught:
            await learners.learner_ids(conn, ["C823432117001", "Q207000016049"])
        assert await conn.fetchval("SELECT count(*) FROM learners.learner") == 0
    assert "Q207000016049" not in str(caught.value.as_json())
