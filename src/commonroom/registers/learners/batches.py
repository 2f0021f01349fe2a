"""Batches: a file of learners becomes a job with progress and a result file. Killed at any moment, it goes on where it was.

The records are written with the job. A chunk of them is registered in one transaction that also writes their answers, so
what has an answer is done and what has none was never begun: nobody is registered twice, whoever is killed and when.
Batches take turns chunk by chunk: a short one does not wait for a long one.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

import msgspec

from commonroom import log
from commonroom.engines import clock, database
from commonroom.hub import directory
from commonroom.ids import alias_urn, uuid7
from commonroom.problems import Problem, add_codes
from commonroom.registers.learners import files, store
from commonroom.registers.learners.numbers import Numbers
from commonroom.registers.learners.store import Caller, Registered, Registration, permissions
from commonroom.settings import Settings

add_codes({"CR-243": "There is no such batch", "CR-244": "The batch cannot be taken"})

# Records of one transaction: large enough for the columnar scorer, small enough that others do not wait for its locks.
CHUNK = 2000
KEPT = timedelta(days=30)
PAUSE_SECONDS = 2.0
# Files that one process reads at once: each lies in memory as a whole.
READ_AT_ONCE = 2
_SLOTS = asyncio.Semaphore(READ_AT_ONCE)
# Unfinished batches of one provider.
MOST_UNFINISHED = 20
_log = log.get("learner batches")

NO_SUCH_JOB, NOT_PROCESSED = "WSRC0018", "WSEC0001"
_KIND = {
    "WSRC0005": "NewLearnersCount",
    "WSRC0004": "ExistsUpdatedLearnersCount",
    "WSRC0022": "ExistsUpdatedLearnersCount",
    "WSRC0003": "PossibleMatchLearnersCount",
    "WSRC0001": "LearnersNotFoundCount",
}
_REASONS = {
    "WSRC0003": "The learner may be registered already; a clerk will decide.",
    "WSRC0021": "Too many learners are alike; send more items, such as the UPN or the address.",
    NOT_PROCESSED: "The record could not be processed; the register's operator finds the fault in the log.",
}

_NEW = """
INSERT INTO learners.batch
    (id, party, person, role, purpose, file_name, form, ukprn, digest, remarks, records, answered, counts, state,
     finished_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13,
    CASE WHEN $11::integer = $12::integer THEN 'finished' ELSE 'waiting' END,
    CASE WHEN $11::integer = $12::integer THEN engines.domain_now() END)
"""
_UNFINISHED = "SELECT count(*) FROM learners.batch WHERE party = $1 AND state IN ('waiting', 'running')"
_SAME = """
SELECT id FROM learners.batch
WHERE party = $1 AND digest = $2 AND purpose = $3 AND state IN ('waiting', 'running')
ORDER BY submitted_at LIMIT 1
"""
_FIELDS = """
id, party, person, role, purpose, file_name, form, ukprn, remarks, state, reason, records, answered, counts,
submitted_at, started_at, finished_at
"""
_ONE = f"SELECT {_FIELDS} FROM learners.batch WHERE id = $1"  # noqa: S608 - a constant of ours
_LISTED = f"""
SELECT {_FIELDS} FROM learners.batch WHERE party = $1 ORDER BY submitted_at DESC, id DESC LIMIT $2
"""  # noqa: S608 - a constant of ours
_CLAIM = f"""
SELECT {_FIELDS} FROM learners.batch
WHERE state IN ('waiting', 'running') AND ($1::uuid IS NULL OR id = $1)
ORDER BY touched_at LIMIT 1
FOR UPDATE SKIP LOCKED
"""  # noqa: S608 - a constant of ours
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
_RECORDS = """
SELECT position, line, sent, code, uln, reason FROM learners.batch_record WHERE batch = $1 ORDER BY position
"""
_REFUSED = """
SELECT position, line, code, reason FROM learners.batch_record
WHERE batch = $1 AND code IS NOT NULL AND uln IS NULL ORDER BY position LIMIT $2
"""
_COUNTS = "SELECT counts FROM learners.batch WHERE id = $1"
_TOUCH = "UPDATE learners.batch SET touched_at = clock_timestamp() WHERE id = $1"
_PURGE = "DELETE FROM learners.batch WHERE finished_at < engines.domain_now() - $1::interval"

State = Literal["waiting", "running", "finished", "failed"]


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A batch as it stands. `counts` by the names of the LRS batch output, and of single codes."""

    id: UUID
    party: str
    person: str | None
    role: str
    purpose: str
    file_name: str
    form: files.FileForm
    ukprn: str | None
    remarks: tuple[str, ...]
    state: State
    reason: str
    records: int
    answered: int
    counts: dict[str, int]
    submitted_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @property
    def unfinished(self) -> bool:
        """Whether records wait."""
        return self.state in ("waiting", "running")

    @property
    def caller(self) -> Caller:
        """Who handed it in: the batch is worked off in that name."""
        return Caller(party=self.party, person=self.person, purpose=self.purpose, role=self.role)


async def submit(conn: Any, who: Caller, content: bytes, name: str) -> Job:
    """Take a file: its records are judged and kept, and the job waits for `work`.

    The same file again while it is being worked on is the same job. Raises Problem CR-240 to CR-242 (the file),
    CR-244 (another provider's file, or too many batches at once), CR-111 and CR-211 (the caller).
    """
    permissions.require(who, "register")
    digest = hashlib.sha256(content).digest()
    known: UUID | None = await conn.fetchval(_SAME, who.party, digest, who.purpose)
    if known is not None:
        return await _get(conn, known)
    if await conn.fetchval(_UNFINISHED, who.party) >= MOST_UNFINISHED:
        raise Problem(
            "CR-244",
            f"{MOST_UNFINISHED} batches of this provider are not finished yet",
            status=429,
            remedy="Wait until one is finished.",
            extra={"retry_after": 60},
        )
    async with _SLOTS:
        batch = await asyncio.to_thread(files.read_content, content, name, await clock.today(conn))
        await _check_provider(conn, who, batch)
        return await _write(conn, who, batch, digest)


async def get(conn: Any, who: Caller, job: UUID) -> Job:
    """The batch, to who handed it in. Raises Problem CR-243: to all others it is not there."""
    found = await _get(conn, job)
    if found.party != who.party:
        raise _none()
    return found


async def listed(conn: Any, who: Caller, limit: int = 20) -> list[Job]:
    """The batches of a party, newest first."""
    return [_job(row) for row in await conn.fetch(_LISTED, who.party, limit)]


async def result(conn: Any, who: Caller, job: UUID) -> tuple[str, bytes]:
    """The name and the content of the result file of a finished batch. Raises Problem CR-243 and CR-244."""
    found = await get(conn, who, job)
    if found.unfinished:
        raise Problem("CR-244", "the batch is not finished yet", status=409, remedy="Ask again in a while.")
    rows = await conn.fetch(_RECORDS, job)
    answered = [
        (
            files.Entry(position=row["position"], line=row["line"], values=row["sent"]),
            files.Answer(
                code=row["code"] or "",
                uln=row["uln"] or "",
                reason=row["reason"],
                substituted=row["code"] == "WSRC0022",
            ),
        )
        for row in rows
    ]
    head = files.Head(name=found.file_name, ukprn=found.ukprn or "", counts=found.counts)
    content = await asyncio.to_thread(files.write_result, found.form, head, answered)
    return files.result_name(found.file_name, found.form), content


async def refused(conn: Any, who: Caller, job: UUID, limit: int = 100) -> list[tuple[int, str, str]]:
    """The first records that got no number: line (or position), code, reason."""
    await get(conn, who, job)
    rows = await conn.fetch(_REFUSED, job, limit)
    return [(row["line"] or row["position"], row["code"], row["reason"]) for row in rows]


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
        batch = _job(row)
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
    counts = Counter(before) + _counted([one.code for one in answers])
    await conn.execute(_PROGRESS, batch, len(positions), dict(counts))


async def _check_provider(conn: Any, who: Caller, batch: files.BatchFile) -> None:
    """A file that names a provider is that provider's, where the directory knows the number."""
    if batch.ukprn is None:
        return
    owner = await directory.resolve_alias(conn, alias_urn("ukprn", batch.ukprn))
    if owner is not None and owner != who.party and who.role != "operator":
        raise Problem(
            "CR-244",
            "the file names the UKPRN of another provider",
            status=403,
            where=batch.name,
            remedy="Hand in files of your own provider.",
        )


async def _write(conn: Any, who: Caller, batch: files.BatchFile, digest: bytes) -> Job:
    """The job with all its records, or nothing."""
    job = uuid7()
    counts = _counted([entry.fault.code for entry in batch.entries if entry.fault])
    values = [
        who.party, who.person, who.role, who.purpose, batch.name[:200], batch.form, batch.ukprn, digest,
        list(batch.remarks), len(batch.entries), len(batch.bad), dict(counts),
    ]  # fmt: skip
    async with conn.transaction():
        await conn.execute(_NEW, job, *values)
        await conn.copy_records_to_table(
            "batch_record",
            schema_name="learners",
            columns=("batch", "position", "line", "sent", "learner", "code", "reason"),
            records=(
                (
                    job,
                    entry.position,
                    entry.line,
                    entry.values,
                    entry.learner,
                    entry.fault.code if entry.fault else None,
                    entry.fault.reason if entry.fault else "",
                )
                for entry in batch.entries
            ),
        )
    return await _get(conn, job)


def _counted(codes: Sequence[str]) -> Counter[str]:
    """How many of each code, and of each kind that the LRS counts."""
    kinds = Counter(_KIND.get(code, "RejectedLearnersCount") for code in codes)
    return Counter(codes) + kinds


def _reason(answer: Registered) -> str:
    if answer.missing:
        return f"Missing: {', '.join(answer.missing)}."
    return _REASONS.get(answer.code, "")


async def _get(conn: Any, job: UUID) -> Job:
    row = await conn.fetchrow(_ONE, job)
    if row is None:
        raise _none()
    return _job(row)


def _job(row: Any) -> Job:
    return Job(**{**row, "remarks": tuple(row["remarks"])})


def _none() -> Problem:
    return Problem(
        "CR-243",
        "there is no such batch, or it was finished more than 30 days ago",
        status=404,
        remedy="Hand the file in again: who has a number keeps it.",
        extra={"answer": NO_SUCH_JOB},
    )
