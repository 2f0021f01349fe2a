"""Batches worked off, chunk by chunk. Killed at any moment, the work goes on where it was.

The records were written with the job. A chunk of them is registered in one transaction that also writes their answers, so
what has an answer is done and what has none was never begun: nobody is registered twice, whoever is killed and when.
Batches take turns chunk by chunk: a short one does not wait for a long one.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec

from commonroom import log
from commonroom.engines import database
from commonroom.problems import Problem
from commonroom.registers.learners import files, store
from commonroom.registers.learners.batches.jobs import FIELDS, Job, counted, get, job_of
from commonroom.registers.learners.numbers import Numbers
from commonroom.registers.learners.store import Caller, Registered, Registration
from commonroom.settings import Settings

# Records of one transaction: large enough for the columnar scorer, small enough that others do not wait for its locks.
CHUNK = 2000
KEPT = timedelta(days=30)
PAUSE_SECONDS = 2.0
_log = log.get("learner batches")

NOT_PROCESSED = "WSEC0001"
_REASONS = {
    "WSRC0003": "The learner may be registered already; a clerk will decide.",
    "WSRC0021": "Too many learners are alike; send more items, such as the UPN or the address.",
    NOT_PROCESSED: "The record could not be processed; the register's operator finds the fault in the log.",
}

_CLAIM = f"""
SELECT {FIELDS} FROM learners.batch
WHERE state IN ('waiting', 'running') AND ($1::uuid IS NULL OR id = $1)
ORDER BY touched_at LIMIT 1
FOR UPDATE SKIP LOCKED
"""  # noqa: S608 - a constant of ours
_TO_DO = """
SELECT position, learner, sent ->> 'MISIdentifier' AS reference FROM learners.batch_record
WHERE batch = $1 AND code IS NULL ORDER BY position LIMIT $2
"""
_TO_DO = """
SELECT position, learner, sent ->> 'MISIdentifier' AS reference FROM learners.batch_record
WHERE batch = $1 AND code IS NULL ORDER BY position LIMIT $2
"""
_TAKEN = "SELECT DISTINCT uln FROM learners.batch_record WHERE batch = $1 AND uln IS NOT NULL"
_ANSWER = """
UPDATE learners.batch_record r SET code = a.code, uln = a.uln, reason = a.reason
FROM unnest($2::integer[], $3::text[], $4::text[], $5::text[]) AS a (position, code, uln, reason)
WHERE r.batch = $1 AND r.position = a.position
"""
_PROGRESS = """
UPDATE learners.batch
SET answered = answered + $2, counts = $3, touched_at = clock_timestamp(),
    started_at = coalesce(started_at, engines.domain_now()),
    state = CASE WHEN answered + $2 >= records THEN 'finished' ELSE 'running' END,
    finished_at = CASE WHEN answered + $2 >= records THEN engines.domain_now() END
WHERE id = $1
"""
_FAIL = """
UPDATE learners.batch SET state = 'failed', reason = $2, finished_at = engines.domain_now() WHERE id = $1
"""
_COUNTS = "SELECT counts FROM learners.batch WHERE id = $1"
_TOUCH = "UPDATE learners.batch SET touched_at = clock_timestamp() WHERE id = $1"
_PURGE = "DELETE FROM learners.batch WHERE finished_at < engines.domain_now() - $1::interval"


async def work_once(conn: Any, numbers: Numbers, job: UUID | None = None, chunk: int = CHUNK) -> bool:
    """Work one chunk of the batch whose turn it is, or of `job`; whether there was one.

    A refusal that the next try would meet again ends the batch; what is out of order for a while is raised (Problem of
    429 or 500 and more), and the batch waits. A record that nobody foresaw is answered as such and stops no other.
    """
    later: Problem | None = None
    async with conn.transaction():
        row = await conn.fetchrow(_CLAIM, job)
        if row is None:
            return False
        batch = job_of(row)
        todo = await conn.fetch(_TO_DO, batch.id, chunk)
        try:
            await _register(conn, numbers, batch, todo)
        except Problem as problem:
            if problem.status >= 500 or problem.status == 429:
                later = problem
                await conn.execute(_TOUCH, batch.id)
            else:
                await conn.execute(_FAIL, batch.id, f"{problem.code} {problem.detail}"[:500])
    if later is not None:
        raise later
    return True


async def work_off(conn: Any, numbers: Numbers, who: Caller, job: UUID, progress: Any = None) -> Job:
    """Work a batch off here and now, beside whoever else works on it; the finished batch."""
    found = await get(conn, who, job)
    while found.unfinished:
        if not await work_once(conn, numbers, job):
            # Another process has it in hand.
            await asyncio.sleep(PAUSE_SECONDS / 10)
        found = await get(conn, who, job)
        if progress is not None:
            progress(found.answered)
    return found


async def run(settings: Settings, chunk: int = CHUNK) -> None:
    """Work batches off until cancelled; waits for the database where it is away."""
    numbers = await asyncio.to_thread(Numbers.of, settings)
    while True:
        try:
            connection = await database.connect(settings)
            try:
                while True:
                    if not await work_once(connection, numbers, chunk=chunk):
                        await asyncio.sleep(PAUSE_SECONDS)
            finally:
                connection.terminate()
        except database.DATABASE_AWAY as error:
            _log.warning("interrupted, starts again", error=type(error).__name__)
        except Exception as error:
            log.fault(_log, "interrupted, starts again", error)
        await asyncio.sleep(PAUSE_SECONDS)


async def purge(settings: Settings, connection: Any) -> None:
    """The recurring job: forget batches that were finished a while ago. What was registered stays."""
    await connection.execute(_PURGE, KEPT)


def registration_of(learner: files.Learner, reference: str | None, source: str) -> Registration:
    """What the register is told of a learner of a file."""
    other = learner.others
    return Registration(
        details=learner.details,
        verification_type=learner.verification_type,
        ability_to_share=learner.ability_to_share,
        verification_description=other.get("OtherVerificationDescription"),
        title=other.get("Title"),
        family_name_at_16=other.get("FamilyNameAtAge16"),
        address_line_2=other.get("LastKnownAddressLine2"),
        county=other.get("LastKnownAddressCountyOrCity"),
        date_of_address_capture=other.get("DateOfAddressCapture"),
        nationality=other.get("Nationality"),
        scottish_candidate_number=other.get("ScottishCandidateNumber"),
        notes=learner.notes,
        reference=reference,
        uln=learner.uln,
        source=source,
    )


async def _register(conn: Any, numbers: Numbers, batch: Job, todo: Sequence[Any]) -> None:
    """Register records of a batch and write their answers; one at a time where they cannot be registered together."""
    taken = [row["uln"] for row in await conn.fetch(_TAKEN, batch.id)]
    source = "census" if batch.form == "census" else "batch"
    positions = [row["position"] for row in todo]
    try:
        async with conn.transaction():
            registrations = [
                registration_of(msgspec.convert(row["learner"], files.Learner), row["reference"], source)
                for row in todo
            ]
            answers = await store.register_many(conn, batch.caller, registrations, numbers, taken=taken)
            await _answer(conn, batch.id, positions, answers)
    except (*database.DATABASE_AWAY, Problem):
        raise
    except Exception as error:
        log.fault(_log, "records failed", error)
        if len(todo) > 1:
            for row in todo:
                await _register(conn, numbers, batch, [row])
        else:
            await _answer(conn, batch.id, positions, [Registered(code=NOT_PROCESSED)])


async def _answer(conn: Any, batch: UUID, positions: Sequence[int], answers: Sequence[Registered]) -> None:
    await conn.execute(
        _ANSWER,
        batch,
        positions,
        [one.code for one in answers],
        [one.uln for one in answers],
        [_reason(one) for one in answers],
    )
    before: dict[str, int] = await conn.fetchval(_COUNTS, batch)
    counts = Counter(before) + counted([one.code for one in answers])
    await conn.execute(_PROGRESS, batch, len(positions), dict(counts))


def _reason(answer: Registered) -> str:
    if answer.missing:
        return f"Missing: {', '.join(answer.missing)}."
    if answer.wrong:
        return f"{', '.join(f'{one.item} {one.reason}' for one in answer.wrong)}."
    return _REASONS.get(answer.code, "")
