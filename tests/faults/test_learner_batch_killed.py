"""A batch of learners whose worker is killed with -9 again and again: everybody is registered, nobody twice."""

from __future__ import annotations

import csv
import io
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from typing import Any

import pytest

from commonroom.ids import org_urn, uuid7
from commonroom.registers.learners import batches
from commonroom.registers.learners.files import items
from commonroom.registers.learners.store import Caller
from commonroom.settings import Settings
from tests.waiting import until_async

SEED = 20261122
GIVEN = ("Amara", "Chidi", "Lucia", "Thomas", "Maja", "Owen", "Priya", "Rhiannon", "Samuel", "Zofia")
FAMILY = (
    "Ashdown",
    "Okonkwo",
    "Pereira",
    "Whitlock",
    "Zielinski",
    "Bennett",
    "Kaur",
    "Lloyd",
    "Marsh",
    "Nowak",
)
WORKER = """
import asyncio, sys
from pathlib import Path
from commonroom.registers.learners import batches
from commonroom.settings import Settings
asyncio.run(batches.run(Settings(data=Path(sys.argv[1]), database=sys.argv[2]), chunk=int(sys.argv[3])))
"""


@pytest.mark.parametrize(
    ("records", "chunk", "kills"),
    [pytest.param(160, 20, 2), pytest.param(50_000, 500, 12, marks=pytest.mark.soak)],
    ids=["160", "50000"],
)
async def test_a_killed_batch_resumes_without_a_duplicate(
    settings: Settings, pool: Any, records: int, chunk: int, kills: int
) -> None:
    chance = random.Random(SEED)
    who = Caller(party=org_urn(uuid7()), person=None, purpose="enrolment", role="school")
    async with pool.acquire() as conn:
        job = await batches.submit(conn, who, _people(records, chance), "LRB_10037611_010920261200.CSV")
        for moment in sorted(chance.sample(range(1, records * 3 // 4), kills)):
            with _worker(settings, chunk) as process:
                await until_async(lambda least=moment: _beyond(conn, who, job.id, least), 300, "the batch")
                assert process.poll() is None
            # The database notices that the worker is gone and undoes what it had begun.
        with _worker(settings, chunk):
            await until_async(lambda: _beyond(conn, who, job.id, records), 900, "the rest of the batch")
        done = await batches.get(conn, who, job.id)
        _, result = await batches.result(conn, who, job.id)
        twice = await conn.fetchval(
            "SELECT count(*) FROM (SELECT sent ->> 'reference' FROM learners.registration GROUP BY 1 HAVING count(*) > 1) t"
        )
        registrations = await conn.fetchval("SELECT count(*) FROM learners.registration")
        numbers = await conn.fetchval("SELECT count(*) FROM learners.uln")
    rows = list(csv.reader(io.StringIO(result.decode())))[3:]
    new = [row for row in rows if row[0] == "WSRC0005"]
    assert (done.state, done.answered, len(rows)) == ("finished", records, records)
    assert (registrations, twice) == (records, 0)
    assert numbers == len(new) == done.counts["NewLearnersCount"]
    assert len(new) > records / 2


async def _beyond(conn: Any, who: Caller, job: Any, least: int) -> bool:
    return (await batches.get(conn, who, job)).answered >= least


@contextmanager
def _worker(settings: Settings, chunk: int) -> Iterator[subprocess.Popen[bytes]]:
    """A worker of its own that is killed at the end, in the midst of whatever it does."""
    command = [sys.executable, "-c", WORKER, str(settings.data), str(settings.database), str(chunk)]
    process = subprocess.Popen(command, env=os.environ | {"COMMONROOM_LOG_LEVEL": "error"})
    try:
        yield process
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(30)


def _people(count: int, chance: random.Random) -> bytes:
    """A batch file of people who differ in all but, by chance, a name."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    names = items.lrs_items().names
    writer.writerow(names)
    for number in range(count):
        record = {
            "MISIdentifier": f"S{number}",
            "GivenName": chance.choice(GIVEN),
            "FamilyName": f"{chance.choice(FAMILY)}{_letters(number)}",
            "DateOfBirth": (date(2004, 1, 1) + timedelta(days=chance.randrange(2000))).isoformat(),
            "Gender": chance.choice("12"),
            "LastKnownPostCode": f"{chance.choice(('LS', 'BS', 'NE', 'CV'))}{chance.randrange(1, 30)} "
            f"{chance.randrange(10)}{chance.choice('ABDEFGHJ')}{chance.choice('ABDEFGHJ')}",
            "VerificationType": "1",
            "AbilityToShare": "1",
        }
        writer.writerow([record.get(name, "") for name in names])
    return out.getvalue().encode()


def _letters(number: int) -> str:
    """A number as letters, so that family names differ in more than a slip of the pen."""
    return "".join("bdfgklmnpr"[int(digit)] + "aeiouaeiou"[int(digit)] for digit in f"{number:05d}")
