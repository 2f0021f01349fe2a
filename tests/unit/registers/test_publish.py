"""What the hub's directory and the warehouse learn from the register, through a real hub."""

from __future__ import annotations

import asyncio
from datetime import date
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from commonroom import exchange, hub, standard
from commonroom.exchange import Unreachable
from commonroom.hub.own_end_points import own_end_point
from commonroom.ids import alias_urn
from commonroom.registers import providers
from commonroom.settings import Settings
from tests.hub_server import enrolled_client, hub_here
from tests.unit.registers import extracts
from tests.unit.registers.extracts import row
from tests.waiting import until_async

MOVEMENTS = """
movements:
  - id: provider-register
    title: The register of providers, as it changes
    from: {party: "urn:commonroom:alias:platform:registers"}
    to: [the department's warehouse]
    types: [commonroom.organisation.changed]
    purpose: One register
    legal_basis: Invented for tests
    content: Organisations
    frequency: {how: on_change}
    classification: public
    retention_days: "30"
    active_from: 2020-01-01
"""


async def load(conn: Any, folder: Path, rows: list[dict[str, str]], day: str = "20260310") -> None:
    await providers.load_file(conn, extracts.write(folder / f"edubasealldata{day}.csv", rows))


async def agree(conn: Any, folder: Path) -> None:
    file = folder / "movements.yaml"
    file.write_text(MOVEMENTS, "utf-8")
    await hub.load_movements(conn, file)


async def test_the_directory_knows_schools_by_each_number_and_their_authority(
    pool: asyncpg.Pool, tmp_path: Path
) -> None:
    async with pool.acquire() as conn:
        await providers.ensure_platform(conn)
        await providers.ensure_platform(conn)
        await load(conn, tmp_path, [row(990001), row(990002, UKPRN="")])
        first = await providers.publish_to_directory(conn)
        assert await providers.publish_to_directory(conn) == first
        assert first.parties == 2 + 1 + 4
        school = await providers.school(conn, "990001")
        authority = await providers.authority(conn, "997")
        assert school is not None
        assert authority is not None
        for scheme, value in (("urn", "990001"), ("laestab", "9970001"), ("ukprn", "10080446")):
            assert await hub.resolve_alias(conn, alias_urn(scheme, value)) == school.party
        assert await hub.resolve_alias(conn, alias_urn("la", "997")) == authority.party
        for name in ("warehouse", "registers", "learners", "department"):
            assert await hub.resolve_alias(conn, alias_urn("platform", name))
        related = await conn.fetch("SELECT role, other FROM hub.relation WHERE party = $1", school.party)
        everyone = await conn.fetch("SELECT role FROM hub.relation WHERE party IS NULL ORDER BY role")
    assert [tuple(record) for record in related] == [("its local authority", authority.party)]
    assert [record["role"] for record in everyone] == ["the department's warehouse", "the learner register"]


async def test_the_hub_knows_the_school_days_for_schedules(pool: asyncpg.Pool) -> None:
    async with pool.acquire() as conn:
        await providers.ensure_platform(conn)
        await providers.publish_to_directory(conn)
        await providers.publish_to_directory(conn)
        days = await hub.calendar_days(conn, "school days")
    assert date(2026, 9, 7) in days
    assert date(2026, 9, 6) not in days  # a Sunday
    assert date(2026, 12, 25) not in days
    assert len(days) > 300


async def test_an_alias_follows_its_number_from_the_closed_school_to_the_open_one(
    pool: asyncpg.Pool, tmp_path: Path
) -> None:
    old = row(990009, EstablishmentNumber="2288", UKPRN="")
    closed = {**old, "EstablishmentStatus (name)": "Closed", "LastChangedDate": "01-04-2026"}
    new = row(990002, EstablishmentNumber="2288", UKPRN="", LastChangedDate="01-04-2026")
    async with pool.acquire() as conn:
        await load(conn, tmp_path, [old])
        await providers.publish_to_directory(conn)
        before = await hub.resolve_alias(conn, alias_urn("laestab", "9972288"))
        await load(conn, tmp_path, [closed, new], "20260510")
        await providers.publish_to_directory(conn)
        after = await hub.resolve_alias(conn, alias_urn("laestab", "9972288"))
        parties = [await hub.resolve_alias(conn, alias_urn("urn", urn)) for urn in ("990009", "990002")]
    assert [before, after] == parties


async def test_the_warehouse_gets_every_version_once_as_records_of_the_standard(
    settings: Settings, pool: asyncpg.Pool, tmp_path: Path
) -> None:
    async with hub_here(settings) as served, pool.acquire() as conn:
        await providers.ensure_platform(conn)
        await load(conn, tmp_path, [row(990000 + n) for n in range(1, 1103)])
        await providers.publish_to_directory(conn)
        await agree(conn, tmp_path)
        me = await own_end_point(served, conn, "registers", providers.REGISTERS)
        warehouse = await hub.resolve_alias(conn, providers.WAREHOUSE)
        assert warehouse is not None
        reader = await enrolled_client(conn, served.hub_url, warehouse, tmp_path)
        async with reader, exchange.Client(served.hub_url, me.key_file, me.end_point) as client:
            done = await providers.publish_changes(conn, client, me.party)
            assert (done.messages, done.records, done.refused) == (3, 1_102 + 1 + 1, 0)
            assert (await providers.publish_changes(conn, client, me.party)).messages == 0
            # A crash after posting and before noting it: the same messages go again and change nothing.
            await conn.execute("UPDATE providers.announcement SET accepted = false")
            assert (await providers.publish_changes(conn, client, me.party)).messages == 3
            await load(conn, tmp_path, [row(NumberOfPupils="171", LastChangedDate="01-04-2026")], "20260510")
            assert (await providers.publish_changes(conn, client, me.party)).records == 1
            letters = await reader.pull(limit=50, wait=5)
    assert len(letters) == 4
    records = [
        record
        for letter in letters
        for record in exchange.decode(letter.body, letter.envelope.datacontenttype).records["organisation"]
    ]
    checked = standard.check_records("organisation", records, None)
    assert len(records) == 1_105
    assert [finding.message for finding in checked.findings if finding.severity == "error"] == []
    kinds = {record["kind"] for record in records}
    assert kinds == {"school", "local_authority", "department"}
    versions = [record["version"] for record in records if record.get("urn") == "990001"]
    assert versions == sorted(versions)
    assert len(set(versions)) == 2


async def test_what_the_hub_refuses_waits_and_goes_when_the_movement_is_agreed(
    settings: Settings, pool: asyncpg.Pool, tmp_path: Path
) -> None:
    async with hub_here(settings) as served, pool.acquire() as conn:
        await load(conn, tmp_path, [row()])
        await providers.ensure_platform(conn)
        await providers.publish_to_directory(conn)
        me = await own_end_point(served, conn, "registers", providers.REGISTERS)
        key = served.folder("keys") / "registers.pem"
        async with exchange.Client(served.hub_url, key, me.end_point) as client:
            assert (await providers.publish_changes(conn, client, me.party)).refused == 1
            await agree(conn, tmp_path)

            async def taken() -> bool:
                return (await providers.publish_changes(conn, client, me.party)).messages == 1

            await until_async(taken, 10, "the hub taking the message")


async def test_without_a_hub_nothing_is_lost(settings: Settings, pool: asyncpg.Pool, tmp_path: Path) -> None:
    async with pool.acquire() as conn:
        async with hub_here(settings) as served:
            await load(conn, tmp_path, [row()])
            await agree(conn, tmp_path)
            await providers.ensure_platform(conn)
            await providers.publish_to_directory(conn)
            me = await own_end_point(served, conn, "registers", providers.REGISTERS)
        key = served.folder("keys") / "registers.pem"
        async with exchange.Client(served.hub_url, key, me.end_point) as client:
            with pytest.raises(Unreachable):
                await providers.publish_changes(conn, client, me.party)
        assert await conn.fetchval("SELECT count(*) FROM providers.announcement WHERE NOT accepted") == 1


async def test_the_running_register_tells_hub_and_warehouse_of_a_load_by_itself(
    settings: Settings, pool: asyncpg.Pool, tmp_path: Path
) -> None:
    stop = asyncio.Event()
    async with hub_here(settings) as served, pool.acquire() as conn:
        await agree_early(conn, tmp_path)
        running = asyncio.create_task(providers.run(served, stop=stop))
        try:
            await load(conn, tmp_path, [row()])

            async def told() -> bool:
                told_all = await conn.fetchval(
                    "SELECT (SELECT max(position) FROM providers.version)"
                    " = (SELECT max(last_position) FROM providers.announcement WHERE accepted)"
                )
                return (
                    bool(told_all) and await hub.resolve_alias(conn, alias_urn("urn", "990001")) is not None
                )

            await until_async(told, 20, "directory and hub knowing the school")
        finally:
            stop.set()
            await asyncio.wait_for(running, 10)


async def agree_early(conn: Any, folder: Path) -> None:
    """The movement names the registers, so they must be in the directory before it."""
    await providers.ensure_platform(conn)
    await providers.publish_to_directory(conn)
    await agree(conn, folder)


async def test_a_schools_trust_is_told_as_it_was_known_when_the_letter_was_made_and_again_when_it_changes(
    settings: Settings, pool: asyncpg.Pool, tmp_path: Path
) -> None:
    async with hub_here(settings) as served, pool.acquire() as conn:
        await providers.ensure_platform(conn)
        await load(conn, tmp_path, [row(990001), row(990002), row(990003)])
        await members(
            conn, tmp_path, "20260311", "990001,77,Kestrel Trust,Multi-academy trust,Open,01-09-2020"
        )
        await providers.publish_to_directory(conn)
        await agree(conn, tmp_path)
        me = await own_end_point(served, conn, "registers", providers.REGISTERS)
        warehouse = await hub.resolve_alias(conn, providers.WAREHOUSE)
        assert warehouse is not None
        reader = await enrolled_client(conn, served.hub_url, warehouse, tmp_path)
        async with reader, exchange.Client(served.hub_url, me.key_file, me.end_point) as client:
            await providers.publish_changes(conn, client, me.party)
            # The school has left the trust meanwhile; the letter, sent again, is the same and is taken.
            await conn.execute("UPDATE providers.announcement SET accepted = false")
            await members(
                conn, tmp_path, "20260312", "990002,78,Merlin Trust,Multi-academy trust,Open,01-09-2021"
            )
            done = await providers.publish_changes(conn, client, me.party)
            assert (done.messages, done.refused) == (2, 0)
            letters = await reader.pull(limit=50, wait=5)
        history = await providers.versions(conn, "990001")
    first, second = (
        {
            record.get("urn"): (record.get("trust_uid"), record.get("trust_name"))
            for record in exchange.decode(letter.body, letter.envelope.datacontenttype).records[
                "organisation"
            ]
        }
        for letter in letters
    )
    assert (first["990001"], first["990002"]) == (("77", "Kestrel Trust"), (None, None))
    assert (second["990001"], second["990002"]) == ((None, None), ("78", "Merlin Trust"))
    assert "990003" not in second
    assert len(history) == 1  # the school itself has not changed


async def members(conn: Any, folder: Path, day: str, line: str) -> None:
    """Load a complete file of the members of trusts."""
    file = folder / f"grouplinks_edubaseallgroup{day}.csv"
    header = "URN,Group UID,Group Name,Group Type,Group Status,Joined date"
    file.write_text(f"{header}\n{line}\n", "cp1252")
    await providers.load_file(conn, file, complete=True)
