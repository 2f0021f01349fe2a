"""What loads changed, links with history, the register as it was, and a load that is killed."""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from commonroom.engines import clock
from commonroom.problems import Problem
from commonroom.registers import providers
from commonroom.settings import Settings
from tests.unit.registers import extracts
from tests.unit.registers.extracts import row
from tests.waiting import until_async

FIRST, SECOND = "edubasealldata20260310.csv", "edubasealldata20260510.csv"
LINKS_HEADER = "URN,LinkURN,LinkName,LinkType,LinkEstablishedDate"
GROUP_HEADER = "URN,Group UID,Group Name,Group Type,Group Status,Joined date"


async def load(conn: Any, folder: Path, name: str, rows: list[dict[str, str]]) -> providers.LoadReport:
    return await providers.load_file(conn, extracts.write(folder / name, rows))


async def load_text(conn: Any, folder: Path, name: str, *lines: str, **more: Any) -> providers.LoadReport:
    path = folder / name
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return await providers.load_file(conn, path, **more)


async def test_changes_between_two_loads_are_told_by_kind_and_item_by_item(
    pool: asyncpg.Pool, tmp_path: Path
) -> None:
    later = {"LastChangedDate": "01-05-2026"}
    async with pool.acquire() as conn:
        first = await load(conn, tmp_path, FIRST, [row(990000 + n) for n in range(1, 6)])
        second = await load(
            conn,
            tmp_path,
            SECOND,
            [
                row(990001, EstablishmentName="Fernside Primary School", **later),
                row(990002, Postcode="WM9 9ZZ", Town="Elsewhere", **later),
                row(990003, **{"EstablishmentStatus (name)": "Closed", "CloseDate": "30-04-2026"}, **later),
                row(990004, NumberOfPupils="171", **later),
                row(990005),
                row(990006),
            ],
        )
        links = await load_text(
            conn, tmp_path, "links20260510.csv", LINKS_HEADER, "990003,990006,New School,Successor,01-05-2026"
        )
        found = await providers.between(conn, first.load, links.load)
        alone = await providers.between(conn, second.load, links.load)
        nothing = await providers.between(conn, links.load, links.load)
    told = {one.value: one for one in found.changes}
    assert {urn: one.what for urn, one in told.items()} == {
        "990001": ("renamed",),
        "990002": ("moved",),
        "990003": ("closed", "linked"),
        "990004": ("changed",),
        "990006": ("added",),
    }
    assert found.counts == {"added": 1, "changed": 1, "closed": 1, "linked": 1, "moved": 1, "renamed": 1}
    assert told["990002"].items == (
        providers.Change("postcode", "WM1 2BD", "WM9 9ZZ"),
        providers.Change("town", "Saltmere", "Elsewhere"),
    )
    [link] = told["990003"].links
    assert (link.what, link.other, link.link_type, link.since) == (
        "added",
        "990006",
        "Successor",
        date(2026, 5, 1),
    )
    assert [(one.value, one.what, one.items) for one in alone.changes] == [("990003", ("linked",), ())]
    assert nothing.changes == []


async def test_an_older_file_that_comes_late_is_no_change_of_the_present(
    pool: asyncpg.Pool, tmp_path: Path
) -> None:
    async with pool.acquire() as conn:
        await load(conn, tmp_path, SECOND, [row(LastChangedDate="01-05-2026", NumberOfPupils="180")])
        late = await load(conn, tmp_path, FIRST, [row(NumberOfPupils="170")])
        found = await providers.between(conn, late.load - 1, late.load)
    assert late.late == 1
    assert found.changes == []


async def test_links_that_a_complete_file_lacks_end_and_their_history_stays(
    pool: asyncpg.Pool, tmp_path: Path
) -> None:
    one, two = "990001,990002,B,Successor,01-01-2020", "990001,990003,C,Predecessor,01-01-2010"
    async with pool.acquire() as conn:
        await load(conn, tmp_path, FIRST, [row(990001), row(990002), row(990003)])
        await load_text(conn, tmp_path, "links20260310.csv", LINKS_HEADER, one, two)
        part = await load_text(conn, tmp_path, "links20260401.csv", LINKS_HEADER, two)
        whole = await load_text(conn, tmp_path, "links20260510.csv", LINKS_HEADER, two, "", complete=True)
        school = await providers.school(conn, "990001")
        found = await providers.between(conn, part.load, whole.load)
        back = await load_text(conn, tmp_path, "links20260610.csv", LINKS_HEADER, two, one, complete=True)
    assert (part.absent, part.ended) == (1, 0)
    assert (whole.absent, whole.ended) == (0, 1)
    assert school is not None
    assert [link.urn for link in school.links] == ["990003"]
    assert [(link.what, link.other) for link in found.changes[0].links] == [("ended", "990002")]
    assert (back.new, back.ended) == (1, 0)


async def test_a_school_that_left_its_trust_is_told_so_and_its_authority_stays(
    pool: asyncpg.Pool, tmp_path: Path
) -> None:
    kept = "990002,11,A Trust,Multi-academy trust,Open,01/09/2012"
    async with pool.acquire() as conn:
        await load(conn, tmp_path, FIRST, [row(990001), row(990002)])
        joined = await load_text(
            conn,
            tmp_path,
            "grouplinks20260310.csv",
            GROUP_HEADER,
            "990001,11,A Trust,Multi-academy trust,Open,01/09/2012",
            kept,
        )
        left = await load_text(conn, tmp_path, "grouplinks20260510.csv", GROUP_HEADER, kept, complete=True)
        found = await providers.between(conn, joined.load, left.load)
        await providers.publish_to_directory(conn)
        roles = await conn.fetch(
            "SELECT a.alias, r.role, other.name FROM hub.relation r JOIN hub.party_alias a ON a.party = r.party"
            " JOIN hub.party other ON other.urn = r.other WHERE a.alias LIKE '%:urn:%' ORDER BY 1, 2"
        )
    [change] = found.changes
    assert (change.value, [(link.relation, link.what, link.name) for link in change.links]) == (
        "990001",
        [("membership", "ended", "A Trust")],
    )
    assert [(record["alias"][-6:], record["role"], record["name"]) for record in roles] == [
        ("990001", "its local authority", "Westmarch"),
        ("990002", "its academy trust", "A Trust"),
        ("990002", "its local authority", "Westmarch"),
    ]


@pytest.mark.parametrize("bad", ["990001,nonsense,B,Successor,", "a file of schools"])
async def test_a_file_that_cannot_be_complete_ends_nothing(
    pool: asyncpg.Pool, tmp_path: Path, bad: str
) -> None:
    async with pool.acquire() as conn:
        await load_text(conn, tmp_path, "links1.csv", LINKS_HEADER, "990001,990002,B,Successor,")
        path = tmp_path / "second.csv"
        path.write_text(extracts.text([row()]) if bad.startswith("a file") else f"{LINKS_HEADER}\n{bad}\n")
        with pytest.raises(Problem) as caught:
            await providers.load_file(conn, path, complete=True)
        assert await conn.fetchval("SELECT count(*) FROM providers.link") == 1
    assert caught.value.code == "CR-080"


async def test_the_register_as_it_was_on_a_day_and_as_it_was_known(
    pool: asyncpg.Pool, settings: Settings, tmp_path: Path
) -> None:
    async with pool.acquire() as conn:
        await clock.set_to(conn, settings, datetime(2026, 3, 11, 8, tzinfo=UTC))
        await load(conn, tmp_path, FIRST, [row(990001), row(990002)])
        await clock.set_to(conn, settings, datetime(2026, 5, 11, 8, tzinfo=UTC))
        closed = {"EstablishmentStatus (name)": "Closed", "LastChangedDate": "20-04-2026"}
        await load(conn, tmp_path, SECOND, [row(990001, **closed), row(990002)])

        async def status(on: date, known: datetime | None = None) -> str | None:
            found = await providers.as_of.state(conn, "urn", "990001", on, known)
            return str(found.facts["status"]) if found else None

        assert await status(date(2026, 2, 1)) is None
        assert await status(date(2026, 4, 19)) == "Open"
        assert await status(date(2026, 4, 20)) == "Closed"
        # On 1 May the register did not know yet that the school had closed in April.
        assert await status(date(2026, 4, 20), datetime(2026, 5, 1, tzinfo=UTC)) == "Open"
        before = {one.kind: one for one in await providers.as_of.counts(conn, date(2026, 4, 1))}
        after = {one.kind: one for one in await providers.as_of.counts(conn, date(2026, 5, 1))}
    assert (before["school"].known, before["school"].open, before["school"].pupils) == (2, 2, 340)
    assert (after["school"].known, after["school"].open, after["school"].pupils) == (2, 1, 170)


async def test_a_load_that_is_killed_leaves_the_register_as_it_was_and_can_be_loaded_again(
    pool: asyncpg.Pool, settings: Settings, tmp_path: Path
) -> None:
    path = extracts.write(tmp_path / SECOND, [row(990000 + n, NumberOfPupils="200") for n in range(1, 3001)])
    async with pool.acquire() as conn, pool.acquire() as other:
        await load(conn, tmp_path, FIRST, [row(990001)])
        # The versions of the load cannot be written while this is held, so it is killed in the middle of its work.
        held = other.transaction()
        await held.start()
        await other.execute("LOCK TABLE providers.version IN SHARE MODE")
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "commonroom", "providers", "load", str(path)),
            env={
                **os.environ,
                "COMMONROOM_DATA": str(settings.data),
                "COMMONROOM_DATABASE": str(settings.database),
            },
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )

        async def in_the_middle() -> bool:
            waiting = await conn.fetchval(
                "SELECT count(*) FROM pg_locks WHERE relation = 'providers.version'::regclass AND NOT granted"
            )
            return bool(waiting)

        try:
            await until_async(in_the_middle, 60, "the load writing versions")
        finally:
            process.kill()
            await asyncio.wait_for(process.wait(), 10)
            await held.rollback()

        async def is_over() -> bool:
            rest = await conn.fetchval(
                "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database ="
                " (SELECT oid FROM pg_database WHERE datname = current_database())"
            )
            return not rest

        await until_async(is_over, 30, "the database noticing that the loader is gone")
        assert await conn.fetchval("SELECT count(*) FROM providers.load") == 1
        assert await conn.fetchval("SELECT count(*) FROM providers.organisation WHERE kind = 'school'") == 1
        assert (
            await conn.fetchval("SELECT count(*) FROM providers.version WHERE facts ->> 'pupils' = '200'")
            == 0
        )
        again = await providers.load_file(conn, path)
    assert (again.new, again.changed) == (2_999, 1)
