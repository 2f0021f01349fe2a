"""A return made from the record: the party's own facts in the warehouse become a version, as a file does.

`known_at` goes into the version: made again as known at that time, it is the same to the byte.
"""

from __future__ import annotations

import asyncio
from datetime import date, datetime
from pathlib import Path
from typing import Any

import msgspec

from commonroom.collections import live, loader
from commonroom.collections.engine import Engine
from commonroom.collections.live import Maker
from commonroom.collections.live_compiler import When
from commonroom.collections.model import Collection, Period
from commonroom.collections.session import Session
from commonroom.collections.tables import Tables
from commonroom.engines import clock
from commonroom.engines.duck import Duck
from commonroom.problems import Problem
from commonroom.returns import checking, codes, content, local_rules, parties, steps, uploads
from commonroom.returns.checking import Checked, Ruleset
from commonroom.returns.parties import Actor
from commonroom.returns.steps import Source
from commonroom.returns.store import Return, Version
from commonroom.settings import Settings
from commonroom.warehouse import heads, record
from commonroom.warehouse.heads import Head
from commonroom.warehouse.record import Holder, Record


class Reader(msgspec.Struct, frozen=True):
    """Who has a return made, as access knows them."""

    kind: str
    id: str
    role: str
    party: str | None = None


_KINDS = "SELECT kinds FROM hub.party WHERE urn = $1"
# As what the policy of the record knows parties of a kind.
_ROLES = {"school": "school", "local authority": "authority", "learning provider": "college"}


async def make(
    settings: Settings,
    connection: Any,
    actor: Actor,
    found: Return,
    *,
    reference: date | None = None,
    period: Period | None = None,
    known_at: datetime | None = None,
    revision: int | None = None,
    reason: str = "",
) -> Return:
    """Make the return from the record and let it be the current version; findings do not keep it out.

    `reference` and `period` take the place of the collection's own dates, `known_at` that of now. Raises Problem CR-180,
    CR-182 or CR-184 for a live.yaml that does not fit, CR-197, CR-198 or CR-200 as an upload does, CR-208 where there is
    nothing to make it from: the return is then as it was.
    """
    steps.decided(found, actor, "load")
    ruleset = await local_rules.ruleset_of(settings, connection, found)
    last = await uploads.previous(settings, connection, found)
    who = await _reader(connection, actor)
    holder = await record.holder_of(connection, who, found.party)
    head = await heads.newest(connection)
    moment = known_at or await clock.now(connection)
    checked, rows = await asyncio.to_thread(
        _check, settings, ruleset, head, holder, moment, reference, period, last
    )
    await record.note(connection, who, f"return {found.collection} {found.year}", rows)
    return await steps.add_version(
        connection,
        found,
        actor,
        checked,
        Source(kind="live", known_at=moment, reference=reference, period=period),
        revision=found.revision if revision is None else revision,
        reason=reason,
    )


async def made_again(settings: Settings, connection: Any, found: Return, version: Version) -> str:
    """The digest of a version's content, made again from the record as it was known at its time.

    Raises Problem CR-208 for a version that was not made from the record.
    """
    if version.kind != "live" or version.known_at is None:
        raise _nothing("the version is a file's", "Only what was made from the record is made again.")
    period = (
        Period(version.first_day, version.last_day)
        if version.first_day is not None and version.last_day is not None
        else None
    )
    who = Reader("person", parties.COMMAND_LINE, "operator")
    head, holder = await heads.newest(connection), await record.holder_of(connection, who, found.party)
    digest, rows = await asyncio.to_thread(
        _digest, settings, found, head, holder, version.known_at, version.reference_date, period
    )
    await record.note(connection, who, f"return {found.collection} {found.year} made again", rows)
    return digest


async def _reader(connection: Any, actor: Actor) -> Reader:
    """The actor as the policy of the record knows them."""
    if actor.party is None:
        return Reader("person", actor.who, "operator")
    kinds = await connection.fetchval(_KINDS, actor.party) or []
    role = next((_ROLES[kind] for kind in kinds if kind in _ROLES), "")
    return Reader("person", actor.who, role, actor.party)


def fill(
    settings: Settings,
    tables: Tables,
    collection: Collection,
    head: Head,
    holder: Holder,
    known_at: datetime | None,
) -> int:
    """Fill the empty tables of a return from the warehouse; how many rows of it were read.

    Raises Problem CR-180, CR-182, CR-184 or CR-208.
    """
    if not collection.live:
        raise _nothing(
            f"{collection.name} {collection.year} does not say how it is made from the record",
            "Declare it in live.yaml (docs/collections.md), or upload a file.",
        )
    maker = Maker(collection)
    duck = Duck(settings, [settings.folder("warehouse")])
    try:
        source = Record(settings, duck, head, holder, known_at)
        maker.fill(tables, _facts(collection, source))
    finally:
        duck.close()
    if not tables.filled:
        raise _nothing(
            "the warehouse has no record of this party at that time",
            "Wait until its records have arrived, or upload a file.",
        )
    return source.rows


def _facts(collection: Collection, source: Record) -> live.Facts:
    period = collection.period

    def facts(entity: str, when: When) -> Any:
        if when == "over the period":
            return source.over(entity, period.start, period.end)
        ask = source.on if when == "on the reference date" else source.until
        return ask(entity, collection.reference_date)

    return facts


def _check(
    settings: Settings,
    ruleset: Ruleset,
    head: Head,
    holder: Holder,
    known_at: datetime,
    reference: date | None,
    period: Period | None,
    last: Path | None,
) -> tuple[Checked, int]:
    collection = ruleset.load()
    with Session(Engine(collection)) as session:
        rows = fill(settings, session.tables, live.on(collection, reference, period), head, holder, known_at)
        return checking.check_session(settings, ruleset, session, last), rows


def _digest(
    settings: Settings,
    found: Return,
    head: Head,
    holder: Holder,
    known_at: datetime,
    reference: date | None,
    period: Period | None,
) -> tuple[str, int]:
    collection = loader.load(found.collection, found.year)
    tables = Tables(collection)
    try:
        rows = fill(settings, tables, live.on(collection, reference, period), head, holder, known_at)
        return content.digest_of(tables), rows
    finally:
        tables.close()


def _nothing(detail: str, remedy: str) -> Problem:
    return Problem(codes.NOTHING, f"{detail}.", status=409, remedy=remedy)
