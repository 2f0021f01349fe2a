"""Batches as their providers see them: a file handed in becomes a job with progress and a result file."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import msgspec

from commonroom.engines import clock
from commonroom.hub import directory
from commonroom.ids import alias_urn, uuid7
from commonroom.problems import Problem, add_codes
from commonroom.registers.learners import files
from commonroom.registers.learners.store import Caller, permissions

add_codes({"CR-243": "There is no such batch", "CR-244": "The batch cannot be taken"})

# Files that one process reads at once: each lies in memory as a whole.
READ_AT_ONCE = 2
_SLOTS = asyncio.Semaphore(READ_AT_ONCE)
# Unfinished batches of one provider.
MOST_UNFINISHED = 20

# Who issues numbers from any school's census, and gets no right over anybody by it.
_ISSUING = ("department", "clerk")
NO_SUCH_JOB = "WSRC0018"
_KIND = {
    "WSRC0005": "NewLearnersCount",
    "WSRC0004": "ExistsUpdatedLearnersCount",
    "WSRC0022": "ExistsUpdatedLearnersCount",
    "WSRC0003": "PossibleMatchLearnersCount",
    "WSRC0001": "LearnersNotFoundCount",
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
_AUTHORITY = "SELECT other FROM hub.relation WHERE party = $1 AND role = 'its local authority'"
FIELDS = """
id, party, person, role, purpose, file_name, form, ukprn, remarks, state, reason, records, answered, counts,
submitted_at, started_at, finished_at
"""
_ONE = f"SELECT {FIELDS} FROM learners.batch WHERE id = $1"  # noqa: S608 - a constant of ours
_LISTED = f"""
SELECT {FIELDS} FROM learners.batch WHERE party = $1 ORDER BY submitted_at DESC, id DESC LIMIT $2
"""  # noqa: S608 - a constant of ours
_RECORDS = """
SELECT position, line, sent, code, uln, reason FROM learners.batch_record WHERE batch = $1 ORDER BY position
"""
_REFUSED = """
SELECT position, line, code, reason FROM learners.batch_record
WHERE batch = $1 AND code IS NOT NULL AND uln IS NULL ORDER BY position LIMIT $2
"""


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
    permissions.require(who, "register")
    found = await _get(conn, job)
    if found.party != who.party:
        raise _none()
    return found


async def listed(conn: Any, who: Caller, limit: int = 20) -> list[Job]:
    """The batches of a party, newest first."""
    permissions.require(who, "register")
    return [job_of(row) for row in await conn.fetch(_LISTED, who.party, limit)]


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


async def _check_provider(conn: Any, who: Caller, batch: files.BatchFile) -> None:
    """A file that names a provider or school is handed in by that one, where the directory knows the number.

    A census may also come from the school's authority, and the Department issues numbers from any. Whoever handed a file in
    may from then on change the pupils who were new, so nobody may hand in another school's census. A transfer file is
    made by the school that a pupil leaves and handed in by the one that takes him: it names no right.
    """
    alias = alias_urn("ukprn", batch.ukprn) if batch.ukprn else None
    if batch.form == "census" and batch.laestab:
        alias = alias_urn("laestab", batch.laestab)
    owner = await directory.resolve_alias(conn, alias) if alias else None
    if owner is None or owner == who.party:
        return
    if batch.form == "census" and (
        who.role in _ISSUING or await conn.fetchval(_AUTHORITY, owner) == who.party
    ):
        return
    raise Problem(
        "CR-244",
        "the file is another school's census"
        if batch.form == "census"
        else "the file names the UKPRN of another provider",
        status=403,
        where=batch.name,
        remedy="Hand in files of your own provider.",
    )


async def _write(conn: Any, who: Caller, batch: files.BatchFile, digest: bytes) -> Job:
    """The job with all its records, or nothing."""
    job = uuid7()
    counts = counted([entry.fault.code for entry in batch.entries if entry.fault])
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


def counted(codes: Sequence[str]) -> Counter[str]:
    """How many of each code, and of each kind that the LRS counts."""
    kinds = Counter(_KIND.get(code, "RejectedLearnersCount") for code in codes)
    return Counter(codes) + kinds


async def _get(conn: Any, job: UUID) -> Job:
    row = await conn.fetchrow(_ONE, job)
    if row is None:
        raise _none()
    return job_of(row)


def job_of(row: Any) -> Job:
    return Job(**{**row, "remarks": tuple(row["remarks"])})


def _none() -> Problem:
    return Problem(
        "CR-243",
        "there is no such batch, or it was finished more than 30 days ago",
        status=404,
        remedy="Hand the file in again: who has a number keeps it.",
        extra={"answer": NO_SUCH_JOB},
    )
