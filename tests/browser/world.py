"""A tiny world behind the browser tests, made through the real parts: register file, hub, end points, warehouse loader.

Five open schools and a closed one in two invented authorities. Four schools send: one of thirty pupils, two of four and five
(their figures are withheld), one in the other authority. One of them also sends a record with a fault, and a letter that
nobody can read.
"""

from __future__ import annotations

import asyncio
from datetime import date, datetime
from pathlib import Path
from typing import Any, cast
from zoneinfo import ZoneInfo

from commonroom import simulation, standard, warehouse
from commonroom.engines import clock
from commonroom.engines.database import connect
from commonroom.exchange import RECORDS_TYPE, Client, Envelope, RecordSet, encode
from commonroom.hub import load_movements, resolve_alias, tracking
from commonroom.identity import Principal, Role
from commonroom.ids import alias_urn, uuid7
from commonroom.portal import SamplePerson, add_sample_people
from commonroom.registers import providers
from commonroom.settings import Settings
from commonroom.standard import identifiers, terms
from commonroom.warehouse import loader, own
from tests.hub_server import assure_everybody, enrolled_client, hub_here
from tests.unit.registers.ukrlp_answers import RECORD, write_lines
from tests.waiting import until_async

REGISTER = Path(__file__).parents[1] / "data" / "portal_register.csv"
MOVEMENTS = Path(simulation.__file__).parent / "movements.yaml"
NOW = datetime(2026, 10, 22, 15, 30, tzinfo=ZoneInfo("Europe/London"))
FIRST_DAY, LAST_DAY = date(2026, 9, 7), date(2026, 10, 22)
ENTRY = "2026-09-01"
SCHOOL, SMALL_SCHOOL, SILENT_SCHOOL, OTHER_SCHOOL = "990901", "990902", "990903", "990904"
# With one small school alone its authority's figures would give it away, and hide those of its neighbour.
SMALL_TOO = "990906"
AUTHORITY = "997"
TRUST = "9901"  # of the other school, and of the silent one
PROVIDER = RECORD["UKPRN"]
PUPILS = {SCHOOL: 30, SMALL_SCHOOL: 4, SMALL_TOO: 5, OTHER_SCHOOL: 20}
PASSWORD = "a-sample-password"
RECORDS_A_MESSAGE = 500
PATIENCE = 60.0


async def build(settings: Settings) -> None:
    """Fill an empty migrated database and data folder."""
    connection = await connect(settings)
    try:
        await clock.set_to(connection, settings, NOW)
        await providers.ensure_platform(connection)
        await providers.load_file(connection, REGISTER)
        await providers.load_file(
            connection, write_lines(settings.folder("register") / "ukrlp20260310.json", [RECORD])
        )
        await providers.publish_to_directory(connection)
        await assure_everybody(connection)
        await load_movements(connection, MOVEMENTS)
        await _add_people(connection, settings)
        async with hub_here(settings) as served:
            stop = asyncio.Event()
            parts = [asyncio.create_task(part(served, stop=stop)) for part in (providers.run, loader.run)]
            for urn, pupils in PUPILS.items():
                await _send_school(connection, served, urn, pupils)
            await _wait_for_the_warehouse(connection)
            stop.set()
            await asyncio.gather(*parts)
        await _define_measures(connection)
    finally:
        await connection.close()


async def _add_people(connection: Any, settings: Settings) -> None:
    school = await resolve_alias(connection, alias_urn("urn", SCHOOL))
    authority = await resolve_alias(connection, alias_urn("la", AUTHORITY))
    provider = await resolve_alias(connection, alias_urn("ukprn", PROVIDER))
    people = [
        SamplePerson("school", PASSWORD, "school", "Saltmere Primary School", "its messages", school),
        SamplePerson("authority", PASSWORD, "authority", "Westmarch data team", "its schools", authority),
        SamplePerson("clerk", PASSWORD, "clerk", "Clerk of the learner register", "cases to decide"),
        SamplePerson("operator", PASSWORD, "operator", "Hub operator", "the hub's traffic"),
        SamplePerson("governance", PASSWORD, "governance", "Data governance group", "requests to decide"),
        SamplePerson("researcher", PASSWORD, "researcher", "A researcher", "its extracts", provider),
    ]
    await add_sample_people(connection, settings, people)


async def _define_measures(connection: Any) -> None:
    """The school and the authority each have a measure of their own."""
    for role, alias in (("school", alias_urn("urn", SCHOOL)), ("authority", alias_urn("la", AUTHORITY))):
        party = await resolve_alias(connection, alias)
        principal = Principal(kind="person", id="", role=cast(Role, role), party=party)
        await own.define(connection, principal, own.examples()["late_marks"])
    # Of a version before, which nobody can define today.
    await connection.execute(
        """
        INSERT INTO warehouse.own_measure (owner, name, declaration, defined_at)
        SELECT owner, 'of_before', declaration || E'\ncolour: red\n', defined_at
        FROM warehouse.own_measure WHERE owner = $1
        """,
        await resolve_alias(connection, alias_urn("urn", SCHOOL)),
    )


async def _send_school(connection: Any, settings: Settings, urn: str, pupils: int) -> None:
    party = await resolve_alias(connection, alias_urn("urn", urn))
    assert party is not None
    upns = [identifiers.make_upn("997", 4000 + int(urn) % 10, 20, number) for number in range(pupils)]
    learners = [_learner(urn, upn, number) for number, upn in enumerate(upns)]
    enrolments = [_enrolment(urn, upn) for upn in upns]
    marks = [
        _mark(urn, upn, number, day, session)
        for day in terms.school_days(FIRST_DAY, LAST_DAY)
        for number, upn in enumerate(upns)
        for session in ("AM", "PM")
    ]
    keys = settings.folder("keys")
    async with await enrolled_client(connection, settings.hub_url, party, keys, f"agent of {urn}") as client:
        for entity, records in (("learner", learners), ("enrolment", enrolments), ("attendance_mark", marks)):
            for start in range(0, len(records), RECORDS_A_MESSAGE):
                await _post(client, party, entity, records[start : start + RECORDS_A_MESSAGE])
        if urn == SCHOOL:
            wrong = {**_mark(urn, upns[0], 0, LAST_DAY, "AM"), "code": "?", "version": 2}
            await _post(client, party, "attendance_mark", [wrong, {**marks[0], "version": 2}])
            await client.post(_envelope(party, "learner"), b"this is no record set")


async def _post(client: Client, party: str, entity: str, records: list[dict[str, Any]]) -> None:
    content = RecordSet(standard=standard.load().version, records={entity: records})
    await client.post(_envelope(party, entity), encode(content))


def _envelope(party: str, entity: str) -> Envelope:
    return Envelope(
        id=str(uuid7()),
        source=party,
        type=f"commonroom.{entity.replace('_', '-')}.changed",
        dataschema=standard.load().dataschema,
        datacontenttype=RECORDS_TYPE,
    )


def _learner(urn: str, upn: str, number: int) -> dict[str, Any]:
    return {
        "school": urn,
        "upn": upn,
        "given_name": "Given",
        "family_name": f"Family{'abcdefghijklmnopqrstuvwxyz'[number % 26]}",
        "date_of_birth": "2017-03-04",
        "sex": "F" if number % 2 else "M",
        "valid_from": ENTRY,
        "version": 1,
    }


def _enrolment(urn: str, upn: str) -> dict[str, Any]:
    return {
        "school": urn,
        "upn": upn,
        "entry_date": ENTRY,
        "enrolment_status": "C",
        "nc_year": "4",
        "valid_from": ENTRY,
        "version": 1,
    }


def _mark(urn: str, upn: str, number: int, day: date, session: str) -> dict[str, Any]:
    """Present, except that each pupil is ill on some days and one in ten stays away on others."""
    code = "/" if session == "AM" else "\\"
    if (number * 7 + day.toordinal()) % 19 == 0:
        code = "I"
    if number % 10 == 3 and day.toordinal() % 6 == 0:
        code = "O"
    return {
        "school": urn,
        "upn": upn,
        "date": day.isoformat(),
        "session": session,
        "code": code,
        "valid_from": day.isoformat(),
        "version": 1,
    }


async def _wait_for_the_warehouse(connection: Any) -> None:
    """Until everything sent to the warehouse has been loaded or refused; the authority has no end point here."""
    party = await resolve_alias(connection, loader.WAREHOUSE)
    senders = {await resolve_alias(connection, alias_urn("urn", urn)) for urn in PUPILS}

    async def settled() -> bool:
        stories = await tracking.messages_of(connection, party, 500)
        arrived = {story.sender for story in stories} >= senders
        fates = [delivery.state for story in stories for delivery in story.deliveries]
        return arrived and all(state in ("acknowledged", "refused") for state in fates)

    await until_async(settled, PATIENCE, "the warehouse having loaded everything")
    head = await warehouse.newest_head(connection)
    assert "organisation" in head.tables, "the register's own messages have not been loaded"
