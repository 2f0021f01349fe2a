"""Two schools and the register of learners at a real hub: schools post, the register takes, gives and tells."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from commonroom import exchange, standard
from commonroom.engines import clock
from commonroom.exchange import Client, Envelope, Letter, RecordSet
from commonroom.hub import Alias, Party, Relation, load_movements, publish
from commonroom.hub.own_end_points import own_end_point
from commonroom.ids import alias_urn, org_urn, uuid7
from commonroom.registers.learners import flow
from commonroom.registers.learners.flow import tellings
from commonroom.registers.learners.numbers import Numbers
from commonroom.registers.learners.store import Caller
from commonroom.settings import Settings
from commonroom.standard import identifiers
from tests.hub_server import assure_everybody, enrolled_client, hub_here

FIRST, SECOND = "990001", "990002"
MOVEMENTS = """
movements:
  - id: wanted
    title: Pupils
    from: {kind: school}
    to: [the learner register]
    types: [commonroom.learner.changed, commonroom.learner-newly-14.sent]
    purpose: Test
    legal_basis: Invented
    content: Pupils
    frequency: {how: on_change}
    classification: confidential
    retention_days: "30"
    active_from: 2020-01-01
  - id: numbers
    title: Numbers
    from: {party: "urn:commonroom:alias:platform:learners"}
    to: [the addressed school]
    types: [commonroom.learner-number.changed]
    purpose: Test
    legal_basis: Invented
    content: Numbers
    frequency: {how: on_change}
    classification: confidential
    retention_days: "30"
    active_from: 2020-01-01
"""
# Names far enough from one another that nobody is taken for anybody else.
PEOPLE = (
    ("Ada", "Lane", "2011-10-03", "F", "WM1 1AA"),
    ("Tobias", "Okonkwo", "2010-02-14", "M", "WM4 7QD"),
    ("Marguerite", "Fitzsimmons", "2012-06-30", "F", "EV2 3HP"),
    ("Zoltan", "Brightwater", "2009-12-25", "M", "EV9 8TY"),
)
Record = dict[str, Any]


def upn(serial: int) -> str:
    """The UPN of an invented pupil."""
    return identifiers.make_upn("997", 4001, 20, serial)


def record(serial: int, school: str = FIRST, **changes: Any) -> Record:
    """One of the people above as a school's record, born in time to be numbered unless said otherwise."""
    given, family, born, sex, postcode = PEOPLE[serial]
    return {
        "school": school, "upn": upn(serial), "given_name": given, "family_name": family, "date_of_birth": born,
        "sex": sex, "postcode": postcode, "address_line1": f"{serial + 1} Mill Lane", "valid_from": "2025-09-01",
        "version": 1, **changes,
    }  # fmt: skip


class World(msgspec.Struct, frozen=True):
    """What a test works with. `clients` are the schools' by URN."""

    settings: Settings
    connection: Any
    numbers: Numbers
    parties: dict[str, str]
    clients: dict[str, Client]
    register: Client

    async def tell(self, school: str, kind: str = tellings.CHANGED, **content: Any) -> str:
        """A school posts a letter; its message id."""
        envelope = Envelope(
            id=str(uuid7()),
            source=self.parties[school],
            type=kind,
            dataschema=standard.load().dataschema,
            datacontenttype=exchange.RECORDS_TYPE,
        )
        body = exchange.encode(RecordSet(standard=standard.load().version, **content))
        await self.clients[school].post(envelope, body)
        return envelope.id

    async def tell_pupils(self, school: str, records: Sequence[Record], kind: str = tellings.CHANGED) -> str:
        """A school posts these records."""
        return await self.tell(school, kind, records={"learner": list(records)})

    async def take(self) -> list[Letter]:
        """One turn of the register's end point; the letters it took."""
        letters = await self.register.pull(100, 0, "letters")
        await flow.take_letters(
            self.register, self.connection, self.numbers, self.parties["learners"], letters
        )
        return letters

    async def received(self, school: str) -> list[Record]:
        """The numbers that came to a school since it last looked, in the order of arrival."""
        letters = await self.clients[school].pull(100, 0, "letters")
        if letters:
            await self.clients[school].acknowledge([letter.delivery for letter in letters])
        found: list[Record] = []
        for letter in letters:
            assert letter.envelope.type == "commonroom.learner-number.changed"
            told = exchange.decode(letter.body, letter.envelope.datacontenttype).records["learner_number"]
            assert standard.check_records("learner_number", told).findings == []
            found += told
        return found

    async def ulns(self, school: str) -> dict[str, str]:
        """The same as numbers by UPN."""
        return {one["upn"]: one["uln"] for one in await self.received(school)}

    def clerk(self) -> Caller:
        """The clerk of the register."""
        return Caller(party=self.parties["learners"], person="clerk", purpose="register_upkeep", role="clerk")

    def school(self, urn: str = FIRST) -> Caller:
        """The office of a school."""
        return Caller(party=self.parties[urn], person="office", purpose="examinations", role="school")


@asynccontextmanager
async def world_at(settings: Settings, pool: Any, folder: Path) -> AsyncIterator[World]:
    """A hub that serves, two schools, the register with its own end point; it is 1 October 2026."""
    parties = {name: org_urn(uuid7()) for name in (FIRST, SECOND, "learners")}
    async with hub_here(settings) as served, pool.acquire() as connection, AsyncExitStack() as stack:
        await clock.set_to(connection, served, datetime(2026, 10, 1, 12, tzinfo=clock.ENGLAND))
        await publish(
            connection,
            [
                Party(parties[FIRST], "First School", ("school",)),
                Party(parties[SECOND], "Second School", ("school",)),
                Party(parties["learners"], "The register of learners", ("platform",)),
            ],
            [
                Alias(alias_urn("urn", FIRST), parties[FIRST]),
                Alias(alias_urn("urn", SECOND), parties[SECOND]),
                Alias(flow.LEARNERS, parties["learners"]),
            ],
            [Relation(None, "the learner register", parties["learners"])],
        )
        await assure_everybody(connection)
        (folder / "movements.yaml").write_text(MOVEMENTS, "utf-8")
        await load_movements(connection, folder / "movements.yaml")
        clients = {
            urn: await stack.enter_async_context(
                await enrolled_client(connection, served.hub_url, parties[urn], folder)
            )
            for urn in (FIRST, SECOND)
        }
        me = await own_end_point(served, connection, "learners", flow.LEARNERS)
        register = await stack.enter_async_context(
            Client(served.hub_url, me.key_file, me.end_point, verify=True)
        )
        yield World(served, connection, Numbers.of(served), parties, clients, register)
