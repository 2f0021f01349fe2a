"""A hub to measure: a real process, a real PostgreSQL with fsync, and enrolled end points with keys and tokens.

64 schools in a ring (each writes to the next), eight authorities, eight trusts and a warehouse.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import msgspec

from commonroom.engines.database import connect, migrate
from commonroom.engines.postgres import LocalServer
from commonroom.exchange import keys
from commonroom.exchange.contract import ASSERTION_TYPE
from commonroom.exchange.keys import SigningKey
from commonroom.hub import Alias, Party, Relation, load_movements, publish
from commonroom.identity import enrol, issue_enrolment_code
from commonroom.ids import org_urn, uuid7
from commonroom.settings import Settings
from tests.hub_server import HubProcess, assure_everybody, free_port

SCHOOLS = 64
GROUPS = 8  # authorities, and trusts
TO_ONE = "bench.one.changed"  # to the authority
TO_THREE = "bench.three.changed"  # to the authority, the trust and the warehouse
TO_NEXT = "bench.next.sent"  # to the addressed school

_MOVEMENT = """
  - id: {id}
    title: Measured
    from: {{kind: school}}
    to: [{to}]
    types: [{type}]
    purpose: To measure
    legal_basis: Invented
    content: Random bytes
    frequency: {{how: on_change}}
    classification: confidential
    retention_days: "30"
    active_from: 2020-01-01
"""
MOVEMENTS = "movements:" + "".join(
    _MOVEMENT.format(id=name, to=to, type=kind)
    for name, to, kind in (
        ("one", "its local authority", TO_ONE),
        ("three", "its local authority, its academy trust, the department's warehouse", TO_THREE),
        ("next", "the addressed school", TO_NEXT),
    )
)

# All entries are there already, and the sequencer takes all that are: the last one stands for all. (Counting them would
# cost the database more than what is measured.)
_SEQUENCED = """
SELECT NOT EXISTS (
    SELECT FROM hub.ledger e
    WHERE e.entry = (SELECT max(entry) FROM hub.ledger)
        AND NOT EXISTS (SELECT FROM hub.ledger_leaf t WHERE t.entry = e.entry)
) AND NOT EXISTS (
    SELECT FROM hub.ledger_group g
    WHERE g.number = (SELECT max(number) FROM hub.ledger_group)
        AND NOT EXISTS (SELECT FROM hub.ledger_leaf_group t WHERE t.ledger_group = g.number)
)
"""
_FSYNC = "SELECT current_setting('fsync') || ', synchronous_commit ' || current_setting('synchronous_commit')"
_VERSION = "SELECT current_setting('server_version')"


class Station(msgspec.Struct, frozen=True):
    """One end point, signed in."""

    party: str
    key: SigningKey
    token: str
    next_party: str  # to whom the ring goes on

    @property
    def headers(self) -> dict[str, str]:
        """What every request of it carries."""
        return {"authorization": f"Bearer {self.token}"}


class Installation(msgspec.Struct, frozen=True, kw_only=True):
    """What is measured."""

    settings: Settings
    url: str
    hubs: tuple[int, ...]  # the hub's processes, which share one port
    processes: tuple[int, ...]  # those and the postmaster
    database: Any  # a connection for looking on
    schools: tuple[Station, ...]
    authorities: tuple[Station, ...]
    trusts: tuple[Station, ...]
    warehouse: Station

    async def sequenced(self) -> None:
        """Wait until the ledger's tree holds every entry, so that its cost counts with what caused it."""
        async with asyncio.timeout(900):
            while not await self.database.fetchval(_SEQUENCED):  # noqa: ASYNC110 - the database does not tell
                await asyncio.sleep(0.05)

    async def durability(self) -> str:
        """What the database says about itself."""
        version, fsync = await self.database.fetchval(_VERSION), await self.database.fetchval(_FSYNC)
        return f"PostgreSQL {version}, fsync {fsync}"


@asynccontextmanager
async def installation(folder: Path, hubs: int | None = None) -> AsyncIterator[Installation]:
    """Start everything in this folder, with so many hub processes, or one for each core; stop it at the end."""
    server = LocalServer(folder / "postgres")
    postmaster = server.start()
    try:
        settings = Settings(
            data=folder,
            database=server.dsn,
            hub_port=free_port(),
            hub_processes=hubs or os.cpu_count() or 1,
            quota_messages_a_minute=10**9,
            quota_bytes_a_minute=10**12,
        )
        await asyncio.to_thread(migrate, settings)
        connection = await connect(settings)
        groups = await _publish(connection, folder)
        running = [
            HubProcess(settings, settings.hub_port, start_seconds=120) for _ in range(settings.hub_processes)
        ]
        try:
            for hub in running:
                await asyncio.to_thread(hub.start)
            numbers = tuple(hub.process.pid for hub in running if hub.process is not None)
            url = settings.hub_url
            stations = [await _stations(connection, settings, folder, parties, url) for parties in groups]
            yield Installation(
                settings=settings,
                url=url,
                hubs=numbers,
                processes=(*numbers, postmaster.pid),
                database=connection,
                schools=stations[0],
                authorities=stations[1],
                trusts=stations[2],
                warehouse=stations[3][0],
            )
        finally:
            for hub in running:
                if hub.process is not None:
                    await asyncio.to_thread(hub.stop)
            await connection.close()
    finally:
        await asyncio.to_thread(server.stop)


async def _publish(connection: asyncpg.Connection, folder: Path) -> tuple[list[str], ...]:
    """The directory and the movements; party urns of schools, authorities, trusts and the warehouse."""
    schools, authorities, trusts, platform = (
        [org_urn(uuid7()) for _ in range(number)] for number in (SCHOOLS, GROUPS, GROUPS, 1)
    )
    kinds = {"school": schools, "local authority": authorities, "academy trust": trusts, "platform": platform}
    roles = [
        Relation(school, role, others[number % GROUPS])
        for number, school in enumerate(schools)
        for role, others in (("its local authority", authorities), ("its academy trust", trusts))
    ]
    await publish(
        connection,
        [Party(urn, f"{kind} {n}", (kind,)) for kind, urns in kinds.items() for n, urn in enumerate(urns)],
        [Alias("urn:commonroom:alias:platform:warehouse", platform[0])],
        [*roles, Relation(None, "the department's warehouse", platform[0])],
    )
    await assure_everybody(connection)
    (folder / "movements.yaml").write_text(MOVEMENTS, "utf-8")
    await load_movements(connection, folder / "movements.yaml")
    return schools, authorities, trusts, platform


async def _stations(
    connection: asyncpg.Connection, settings: Settings, folder: Path, parties: Sequence[str], url: str
) -> tuple[Station, ...]:
    async with aiohttp.ClientSession() as http:
        following = itertools.islice(itertools.cycle(parties), 1, None)
        return tuple(
            [
                await _station(connection, http, folder, party, next_party, url)
                for party, next_party in zip(parties, following, strict=False)
            ]
        )


async def _station(
    connection: asyncpg.Connection,
    http: aiohttp.ClientSession,
    folder: Path,
    party: str,
    next_party: str,
    url: str,
) -> Station:
    key = keys.load_or_create(folder / "end-points" / f"{party.rpartition(':')[2]}.pem")
    code = await issue_enrolment_code(connection, party, "bench", timedelta(hours=1))
    end_point = await enrol(connection, code, keys.public_jwk(key), "bench")
    form = {
        "grant_type": "client_credentials",
        "client_assertion_type": ASSERTION_TYPE,
        "client_assertion": keys.sign_assertion(key, str(end_point.id), url),
    }
    async with http.post(f"{url}/token", data=form) as answer:
        answer.raise_for_status()
        token = (await answer.json())["access_token"]
    return Station(party, keys.signing_key(key), token, next_party)
