"""The hub of a national day: so many schools, their authorities and the warehouse, enrolled, on a hub process and a
PostgreSQL with fsync in a temporary folder. One end point each; tokens are renewed while the day lasts.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from commonroom.engines.database import connect, migrate
from commonroom.engines.postgres import LocalServer
from commonroom.exchange import keys
from commonroom.exchange.contract import ASSERTION_TYPE
from commonroom.exchange.keys import SigningKey
from commonroom.hub import Alias, Party, Relation, load_movements, publish
from commonroom.identity import enrol, issue_enrolment_codes
from commonroom.ids import org_urn, uuid7
from commonroom.settings import Settings
from tests.hub_server import HubProcess, assure_everybody, free_port

TOKEN_SECONDS = 300  # a token is good for twice as long
REGISTERS = "day.register.changed"

MOVEMENTS = f"""
movements:
  - id: day
    title: What schools tell on a day
    from: {{kind: school}}
    to: [its local authority, the department's warehouse]
    types: [{REGISTERS}]
    purpose: To measure
    legal_basis: Invented
    content: Random bytes
    frequency: {{how: on_change}}
    classification: confidential
    retention_days: "30"
    active_from: 2020-01-01
"""

_SEQUENCED = "SELECT (SELECT count(*) FROM hub.ledger_entry) <= (SELECT size FROM hub.ledger_sequencer)"


# With indexes, and with what updates have left behind and nobody has used again.
_ON_DISK = """
SELECT c.relname AS name, pg_total_relation_size(c.oid) AS bytes
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'hub' AND c.relkind = 'r'
ORDER BY c.relname
"""


class Station:
    """One end point. `headers` carry the token of the moment."""

    def __init__(self, party: str, key: SigningKey, end_point: str) -> None:
        self.party = party
        self.key = key
        self.end_point = end_point
        self.headers: dict[str, str] = {}

    async def sign_in(self, http: aiohttp.ClientSession, hub_url: str) -> None:
        """A new token."""
        form = {
            "grant_type": "client_credentials",
            "client_assertion_type": ASSERTION_TYPE,
            "client_assertion": keys.sign_assertion(self.key.key, self.end_point, hub_url),
        }
        async with http.post(f"{hub_url}/token", data=form) as answer:
            answer.raise_for_status()
            self.headers = {"authorization": f"Bearer {(await answer.json())['access_token']}"}


class Town(msgspec.Struct, frozen=True, kw_only=True):
    """What takes part."""

    url: str
    processes: tuple[int, ...]  # the hub and the postmaster
    postmaster: int
    database: Any  # a connection for looking on
    schools: tuple[Station, ...]
    authorities: tuple[Station, ...]
    warehouse: Station

    @property
    def recipients(self) -> tuple[Station, ...]:
        """Who collects."""
        return (*self.authorities, self.warehouse)

    async def on_disk(self) -> dict[str, int]:
        """Bytes of each table of the hub's."""
        return {row["name"]: row["bytes"] for row in await self.database.fetch(_ON_DISK)}

    async def sequenced(self) -> None:
        """Wait until the ledger's tree holds every entry."""
        async with asyncio.timeout(900):
            while not await self.database.fetchval(_SEQUENCED):  # noqa: ASYNC110 - the database does not tell
                await asyncio.sleep(0.05)


@asynccontextmanager
async def town(folder: Path, schools: int, authorities: int) -> AsyncIterator[Town]:
    """Start everything in this folder; stop it at the end."""
    server = LocalServer(folder / "postgres")
    postmaster = server.start()
    try:
        settings = Settings(data=folder, database=server.dsn, hub_port=free_port())
        await asyncio.to_thread(migrate, settings)
        connection = await connect(settings)
        groups = await _publish(connection, folder, schools, authorities)
        hub = HubProcess(settings, settings.hub_port)
        await asyncio.to_thread(hub.start)
        try:
            assert hub.process is not None
            stations = [await _enrol(connection, folder, parties) for parties in groups]
            everybody = [station for group in stations for station in group]
            renewing = asyncio.create_task(_keep_signed_in(everybody, hub.url))
            async with asyncio.timeout(120):
                while not everybody[-1].headers:  # noqa: ASYNC110 - signing in has no event
                    await asyncio.sleep(0.05)
            yield Town(
                url=hub.url,
                processes=(hub.process.pid, postmaster.pid),
                postmaster=postmaster.pid,
                database=connection,
                schools=tuple(stations[0]),
                authorities=tuple(stations[1]),
                warehouse=stations[2][0],
            )
            renewing.cancel()
        finally:
            await asyncio.to_thread(hub.stop)
            await connection.close()
    finally:
        await asyncio.to_thread(server.stop)


async def _publish(
    connection: Any, folder: Path, schools: int, authorities: int
) -> tuple[list[str], list[str], list[str]]:
    """The directory and the movement; party urns of schools, authorities and the warehouse."""
    senders, offices, platform = ([org_urn(uuid7()) for _ in range(n)] for n in (schools, authorities, 1))
    kinds = {"school": senders, "local authority": offices, "platform": platform}
    await publish(
        connection,
        [Party(urn, f"{kind} {n}", (kind,)) for kind, urns in kinds.items() for n, urn in enumerate(urns)],
        [Alias("urn:commonroom:alias:platform:warehouse", platform[0])],
        [
            *(
                Relation(urn, "its local authority", offices[n % authorities])
                for n, urn in enumerate(senders)
            ),
            Relation(None, "the department's warehouse", platform[0]),
        ],
    )
    await assure_everybody(connection)
    (folder / "movements.yaml").write_text(MOVEMENTS, "utf-8")
    await load_movements(connection, folder / "movements.yaml")
    return senders, offices, platform


async def _enrol(connection: Any, folder: Path, parties: Sequence[str]) -> list[Station]:
    codes = await issue_enrolment_codes(connection, parties, "bench", timedelta(hours=1))
    found = []
    for party, code in zip(parties, codes, strict=True):
        key = keys.load_or_create(folder / "end-points" / f"{party.rpartition(':')[2]}.pem")
        end_point = await enrol(connection, code, keys.public_jwk(key), "bench")
        found.append(Station(party, keys.signing_key(key), str(end_point.id)))
    return found


async def _keep_signed_in(stations: Sequence[Station], hub_url: str) -> None:
    """New tokens for everybody before the old ones end; in long days alone it does so twice."""
    async with aiohttp.ClientSession() as http:
        while True:
            for station in stations:
                await station.sign_in(http, hub_url)
            await asyncio.sleep(TOKEN_SECONDS)
