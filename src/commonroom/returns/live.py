"""A return made from the record: the party's own facts in the warehouse become a version, as a file does.

`known_at` goes into the version: made again as known at that time, it is the same to the byte.
"""

from __future__ import annotations

import asyncio
from datetime import date, datetime
from pathlib import Path
from typing import Any

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
from commonroom.returns import checking, codes, content, local_rules, steps, uploads
from commonroom.returns.checking import Checked, Ruleset
from commonroom.returns.parties import Actor
from commonroom.returns.steps import Source
from commonroom.returns.store import Return, Version
from commonroom.settings import Settings
from commonroom.warehouse import heads
from commonroom.warehouse.heads import Head
from commonroom.warehouse.record import Holder, Record

# The numbers by which records name their holder.
_NUMBERS = """
SELECT split_part(alias, ':', 5) AS number FROM hub.party_alias
WHERE party = $1 AND split_part(alias, ':', 4) IN ('urn', 'la', 'ukprn')
ORDER BY 1
"""


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
    holder = await holder_of(connection, found.party)
    head = await heads.newest(connection)
    moment = known_at or await clock.now(connection)
    checked = await asyncio.to_thread(
        _check, settings, ruleset, head, holder, moment, reference, period, last
    )
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
    head, holder = await heads.newest(connection), await holder_of(connection, found.party)
    return await asyncio.to_thread(
        _digest, settings, found, head, holder, version.known_at, version.reference_date, period
    )


async def holder_of(connection: Any, party: str) -> Holder:
    """The party with the numbers that its records name it by."""
    return Holder(party, tuple(row["number"] for row in await connection.fetch(_NUMBERS, party)))


def fill(
    settings: Settings,
    tables: Tables,
    collection: Collection,
    head: Head,
    holder: Holder,
    known_at: datetime | None,
) -> None:
    """Fill the empty tables of a return from the warehouse. Raises Problem CR-180, CR-182, CR-184 or CR-208."""
    if not collection.live:
        raise _nothing(
            f"{collection.name} {collection.year} does not say how it is made from the record",
            "Declare it in live.yaml (docs/collections.md), or upload a file.",
        )
    maker = Maker(collection)
    duck = Duck(settings, [settings.folder("warehouse")])
    try:
        maker.fill(tables, _facts(collection, Record(settings, duck, head, holder, known_at)))
    finally:
        duck.close()
    if not tables.filled:
        raise _nothing(
            "the warehouse has no record of this party at that time",
            "Wait until its records have arrived, or upload a file.",
        )


def _facts(collection: Collection, record: Record) -> live.Facts:
    period = collection.period

    def facts(entity: str, when: When) -> Any:
        if when == "over the period":
            return record.over(entity, period.start, period.end)
        ask = record.on if when == "on the reference date" else record.until
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
) -> Checked:
    collection = ruleset.load()
    with Session(Engine(collection)) as session:
        fill(settings, session.tables, live.on(collection, reference, period), head, holder, known_at)
        return checking.check_session(settings, ruleset, session, last)


def _digest(
    settings: Settings,
    found: Return,
    head: Head,
    holder: Holder,
    known_at: datetime,
    reference: date | None,
    period: Period | None,
) -> str:
    collection = loader.load(found.collection, found.year)
    tables = Tables(collection)
    try:
        fill(settings, tables, live.on(collection, reference, period), head, holder, known_at)
        return content.digest_of(tables)
    finally:
        tables.close()


def _nothing(detail: str, remedy: str) -> Problem:
    return Problem(codes.NOTHING, f"{detail}.", status=409, remedy=remedy)
