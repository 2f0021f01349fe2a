"""The life of an extract: requested, approved or refused, checked, frozen, read until it expires; every step on record.

Frozen files lie in `extracts/<name>/` of the data folder. What expires goes; its manifest stays, and with it the proof.
"""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from commonroom import access, ids, log, standard
from commonroom.access.policies import Asker
from commonroom.engines import clock, files
from commonroom.engines.duck import Duck
from commonroom.hub import resolve_alias
from commonroom.problems import Problem
from commonroom.settings import Settings
from commonroom.warehouse import heads
from commonroom.warehouse.extracts import cut, packing, rights
from commonroom.warehouse.extracts.model import Declaration, judge, judge_days
from commonroom.warehouse.extracts.packing import Manifest
from commonroom.warehouse.heads import Head

DATASET = "extracts"
MOST_WHY = 1_000
LITTER_SECONDS = 24 * 3600
COMMIT_SECONDS, PAUSE = 10.0, 0.05

_REQUEST = """
INSERT INTO warehouse.extract (name, requester, declaration, digest, state)
VALUES ($1, $2, $3, $4, 'requested')
ON CONFLICT DO NOTHING
RETURNING name
"""
_STEP = """
INSERT INTO warehouse.extract_step (extract, number, step, who, why, at)
SELECT $1, count(*) + 1, $2, $3, $4, engines.domain_now() FROM warehouse.extract_step WHERE extract = $1
"""
_FIND = "SELECT name, requester, declaration, digest, state, known_at, manifest FROM warehouse.extract WHERE name = $1"
_LOCK = _FIND + " FOR UPDATE"
_ALL = """
SELECT name, requester, declaration, digest, state, known_at, manifest FROM warehouse.extract
WHERE {scope} ORDER BY name
"""
_STEPS = "SELECT step, who, why, at FROM warehouse.extract_step WHERE extract = $1 ORDER BY number"
_STATE = "UPDATE warehouse.extract SET state = $2 WHERE name = $1"
_FROZEN = "UPDATE warehouse.extract SET state = 'frozen', known_at = $2, manifest = $3 WHERE name = $1"
_OVER = """
SELECT name FROM warehouse.extract
WHERE state = 'frozen' AND (declaration ->> 'expires_on')::date < engines.domain_now()::date
"""
# Letters accepted before this moment that the warehouse has not finished: what they say was known then.
_ON_THEIR_WAY = """
SELECT count(*) FROM hub.delivery AS d JOIN hub.message AS m ON m.position = d.message
WHERE d.recipient = $1 AND d.finished_at IS NULL AND m.accepted_at <= $2
"""


_BEING_WRITTEN = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_xid IS NOT NULL AND xact_start <= $1
"""

_log = log.get("extracts")


class Step(msgspec.Struct, frozen=True):
    """One step of its life."""

    step: str
    who: str
    why: str
    at: datetime


class Extract(msgspec.Struct, frozen=True, kw_only=True):
    """An extract as it stands."""

    name: str
    requester: str
    declaration: Declaration
    digest: str
    state: str
    known_at: datetime | None
    manifest: Manifest | None


async def request(connection: Any, asked: Declaration, who: Asker) -> Extract:
    """Ask for an extract, as the party itself. Raises Problem CR-265, CR-336."""
    judge(asked)
    judge_days(asked, await clock.today(connection))
    requester = await resolve_alias(connection, asked.requester)
    if requester is None or requester != who.party:
        raise Problem(
            "CR-265",
            "the requester is not you",
            status=403,
            where="requester",
            remedy="Ask for your own party.",
        )
    content = msgspec.json.encode(asked)
    async with connection.transaction():
        await rights.need_room(connection, requester)
        made = await connection.fetchval(
            _REQUEST, asked.name, requester, asked, hashlib.sha256(content).hexdigest()
        )
        if made is None:
            raise Problem("CR-265", "an extract has this name already", status=409, where="name")
        await _note(connection, asked.name, "requested", who, asked.purpose)
    return await _found(connection, asked.name)


async def decide(connection: Any, name: str, approve: bool, who: Asker, why: str) -> Extract:
    """Approve or refuse a request, for a reason. The requester's dated evidence must hold on the day.

    Raises Problem CR-266, CR-267, CR-269, CR-337.
    """
    async with connection.transaction():
        found = await _locked(connection, name, "requested")
        if found.requester == who.party:
            raise Problem("CR-267", "nobody decides about a request of its own", status=403, where=name)
        rights.need_role(who, "decide", name)
        if approve:
            await rights.need_protection(connection, found.requester, found.declaration.form, found.name)
        await connection.execute(_STATE, name, "approved" if approve else "refused")
        await _note(connection, name, "approved" if approve else "refused", who, why)
    return await _found(connection, name)


async def trial(settings: Settings, connection: Any, duck: Duck, name: str, who: Asker) -> list[packing.File]:
    """Within the checking window: what would be frozen now, counted and hashed and thrown away.

    Raises Problem CR-266, CR-267, CR-337; CR-269 for a requester who has no protection of today.
    """
    found = await visible(connection, name, who)
    if found.requester != who.party:
        rights.need_role(who, "try", name)
    _at(found, "approved")
    today = await clock.today(connection)
    if today < found.declaration.checking_from:
        raise Problem(
            "CR-267", f"checking begins on {found.declaration.checking_from}", status=409, where=name
        )
    if found.requester == who.party:
        await rights.need_protection(connection, found.requester, found.declaration.form, found.name)
    known_at = await _settled_moment(connection)
    head = await heads.newest(connection)
    folder = settings.folder("extracts") / f".{name}.{ids.uuid7()}.trial"
    try:
        made = await asyncio.to_thread(_make, settings, duck, head, found, known_at, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    await access.audit(connection, who, DATASET, "checking an extract", sum(file.rows for file in made.files))
    return list(made.files)


async def freeze(settings: Settings, connection: Any, duck: Duck, name: str, who: Asker) -> Extract:
    """Make the copy for good, on or after its announced day. Safe to repeat after a crash.

    Raises Problem CR-267 when it is not the day, or letters accepted before now are still on their way in, CR-337.
    """
    await visible(connection, name, who)
    rights.need_role(who, "freeze", name)
    async with connection.transaction():
        found = await _locked(connection, name, "approved")
        if await clock.today(connection) < found.declaration.freeze_on:
            raise Problem("CR-267", f"it is frozen on {found.declaration.freeze_on}", status=409, where=name)
        await rights.need_protection(connection, found.requester, found.declaration.form, found.name)
        known_at = await _settled_moment(connection)
        head = await heads.newest(connection)
        folder = settings.folder("extracts") / name
        new = folder.with_name(f".{name}.{ids.uuid7()}.new")
        try:
            manifest = await asyncio.to_thread(_make, settings, duck, head, found, known_at, new)
            await asyncio.to_thread(packing.seal, settings, new, manifest)
            if folder.exists():  # of a run that was killed before its transaction ended
                shutil.rmtree(folder)
            new.rename(folder)
            files.sync([folder])
        finally:
            shutil.rmtree(new, ignore_errors=True)
        await connection.execute(_FROZEN, name, known_at, manifest)
        await _note(connection, name, "frozen", who, f"{sum(file.rows for file in manifest.files):,} rows")
    return await _found(connection, name)


async def made_again(settings: Settings, connection: Any, duck: Duck, name: str) -> list[str]:
    """Make a frozen extract again from its `known_at`: the names of files that are not the same; none is right."""
    found = await _found(connection, name)
    if found.manifest is None or found.known_at is None:
        raise Problem("CR-267", "it is not frozen", status=409, where=name)
    folder = settings.folder("extracts") / f".{name}.{ids.uuid7()}.again"
    head = await heads.newest(connection)
    try:
        again = await asyncio.to_thread(_make, settings, duck, head, found, found.known_at, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    was = {file.name: file for file in found.manifest.files}
    now = {file.name: file for file in again.files}
    return sorted(file for file in was.keys() | now.keys() if was.get(file) != now.get(file))


async def folder_of(settings: Settings, connection: Any, name: str, who: Asker, purpose: str) -> Path:
    """The folder of a frozen extract, for its requester, today. The read is noted.

    Raises Problem CR-266, CR-267 when it has expired, CR-269, CR-337 for others who may know of it.
    """
    found = await visible(connection, name, who)
    if found.requester != who.party:  # who decides about an extract or makes it knows of it, and has no copy
        raise Problem("CR-337", "its files are for its requester", status=403, where=name)
    _at(found, "frozen")
    if await clock.today(connection) > found.declaration.expires_on:
        raise Problem("CR-267", "its time is over", status=410, where=name)
    await rights.need_protection(connection, found.requester, found.declaration.form, found.name)
    assert found.manifest is not None
    await access.audit(connection, who, DATASET, purpose, sum(file.rows for file in found.manifest.files))
    return settings.folder("extracts") / name


async def listed(connection: Any, who: Asker) -> list[Extract]:
    """The extracts that somebody may know of."""
    scope = access.rows(who, DATASET, "postgres")
    rows = await connection.fetch(_ALL.format(scope=scope.sql), *scope.params)
    return [_extract(row) for row in rows]


async def visible(connection: Any, name: str, who: Asker) -> Extract:
    """One of them. Raises Problem CR-266, also for one that is not for them."""
    for one in await listed(connection, who):
        if one.name == name:
            return one
    raise _unknown(name)


async def history(connection: Any, name: str) -> Sequence[Step]:
    """The steps of an extract, first to last."""
    return [Step(**row) for row in await connection.fetch(_STEPS, name)]


async def expire(settings: Settings, connection: Any) -> None:
    """The recurring job: delete the files whose time is over. Manifests and steps stay."""
    folder = settings.folder("extracts")
    for row in await connection.fetch(_OVER):
        try:
            await asyncio.to_thread(_remove, folder / row["name"])
        except OSError as error:  # it stays, and is tried again: what is over must not lie about unseen
            _log.error("an extract that is over cannot be deleted", extract=row["name"], number=error.errno)
            continue
        await connection.execute(_STATE, row["name"], "expired")
        await connection.execute(_STEP, row["name"], "expired", "commonroom", "its time was over")

    await asyncio.to_thread(_clear_litter, folder)


def _clear_litter(folder: Path) -> None:
    """Take away what killed runs left half made."""
    before = time.time() - LITTER_SECONDS
    for path in folder.glob(".*"):
        if path.stat().st_mtime < before:
            shutil.rmtree(path, ignore_errors=True)


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


def _make(
    settings: Settings, duck: Duck, head: Head, found: Extract, known_at: datetime, folder: Path
) -> Manifest:
    folder.mkdir(parents=True)
    asked = found.declaration
    made = []
    for table in asked.tables:
        with cut.rows(settings, duck, head, asked, table, known_at) as rows:
            made.append(packing.write(folder, f"{table.entity}.csv", rows))
    version = standard.load().version
    return Manifest(
        asked.name, asked.title, found.digest, asked.form, version, known_at.astimezone(UTC), tuple(made)
    )


async def _settled_moment(connection: Any) -> datetime:
    """Now, when nothing that was accepted before is still on its way into the warehouse."""
    # Letters are accepted by the domain clock, transactions begin by the real one.
    row = await connection.fetchrow("SELECT engines.domain_now() AS now, clock_timestamp() AS really")
    now: datetime = row["now"]
    await _all_committed(connection, row["really"])
    warehouse = await resolve_alias(connection, "urn:commonroom:alias:platform:warehouse")
    waiting = await connection.fetchval(_ON_THEIR_WAY, warehouse or "", now)
    if waiting:
        raise Problem(
            "CR-267",
            f"{waiting:,} letters of before are still on their way into the warehouse",
            status=409,
            remedy="Try again in a moment: made again later, the extract would hold what they say.",
        )
    return now


async def _all_committed(connection: Any, moment: datetime) -> None:
    """Wait until what was being written at a moment is written: a letter's time is from before its commit."""
    deadline = time.monotonic() + COMMIT_SECONDS
    while await _being_written(connection, moment):
        if time.monotonic() > deadline:
            raise Problem(
                "CR-267",
                "something began to be written before and is not finished",
                status=409,
                remedy="Try again.",
            )
        await asyncio.sleep(PAUSE)


async def _being_written(connection: Any, moment: datetime) -> int:
    await connection.execute(
        "SELECT pg_stat_clear_snapshot()"
    )  # a transaction sees the first answer again otherwise
    found: int = await connection.fetchval(_BEING_WRITTEN, moment)
    return found


async def _note(connection: Any, name: str, step: str, who: Asker, why: str) -> None:
    await connection.execute(_STEP, name, step, f"{who.role} {who.id}", why[:MOST_WHY])


async def _locked(connection: Any, name: str, state: str) -> Extract:
    row = await connection.fetchrow(_LOCK, name)
    if row is None:
        raise _unknown(name)
    found = _extract(row)
    _at(found, state)
    return found


async def _found(connection: Any, name: str) -> Extract:
    row = await connection.fetchrow(_FIND, name)
    if row is None:
        raise _unknown(name)
    return _extract(row)


def _at(found: Extract, state: str) -> None:
    if found.state != state:
        raise Problem("CR-267", f"it is {found.state}, not {state}", status=409, where=found.name)


def _extract(row: Any) -> Extract:
    manifest = row["manifest"]
    return Extract(
        name=row["name"],
        requester=row["requester"],
        declaration=msgspec.convert(row["declaration"], Declaration),
        digest=row["digest"],
        state=row["state"],
        known_at=row["known_at"],
        manifest=None if manifest is None else msgspec.convert(manifest, Manifest),
    )


def _unknown(name: str) -> Problem:
    return Problem("CR-266", "there is no such extract for you", status=404, where=name[:60])
