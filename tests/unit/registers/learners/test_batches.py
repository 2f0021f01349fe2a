"""Batches: taken, refused, worked off in chunks, and told as a result file."""

from __future__ import annotations

import csv
import io
from typing import Any
from uuid import uuid4

import pytest

from commonroom.hub import Alias, Party, publish
from commonroom.ids import alias_urn, org_urn, uuid7
from commonroom.problems import Problem
from commonroom.registers.learners import batches
from commonroom.registers.learners.store import Caller
from tests.unit.registers.learners.test_files import GOOD, NAME, csv_of


def caller(party: str | None = None) -> Caller:
    """A school that registers its learners."""
    return Caller(party=party or org_urn(uuid7()), person=None, purpose="registration", role="school")


def rows_of(content: bytes) -> list[dict[str, str]]:
    """The records of a result file."""
    table = list(csv.reader(io.StringIO(content.decode())))
    return [dict(zip(table[2], row, strict=True)) for row in table[3:]]


async def test_a_file_of_bad_records_is_finished_at_once(pool: Any) -> None:
    who = caller()
    async with pool.acquire() as conn:
        job = await batches.submit(
            conn, who, csv_of(GOOD | {"Gender": "M"}, GOOD | {"DateOfBirth": ""}), NAME
        )
        name, content = await batches.result(conn, who, job.id)
        refused = await batches.refused(conn, who, job.id)
    assert (job.state, job.records, job.answered) == ("finished", 2, 2)
    assert job.counts == {"RC011": 1, "RC006": 1, "RejectedLearnersCount": 2}
    assert name == "LRB_10037611_010920261200_RESULT.CSV"
    assert [row["ReturnCode"] for row in rows_of(content)] == ["RC011", "RC006"]
    assert [(line, code) for line, code, _ in refused] == [(4, "RC011"), (5, "RC006")]


async def test_a_batch_is_seen_only_by_who_handed_it_in(pool: Any) -> None:
    who = caller()
    async with pool.acquire() as conn:
        job = await batches.submit(conn, who, csv_of(GOOD | {"Gender": "M"}), NAME)
        assert [one.id for one in await batches.listed(conn, who)] == [job.id]
        assert await batches.listed(conn, caller()) == []
        for asker, asked in ((caller(), job.id), (who, uuid4())):
            with pytest.raises(Problem) as raised:
                await batches.get(conn, asker, asked)
            assert (raised.value.status, raised.value.extra["answer"]) == (404, "WSRC0018")


async def test_the_same_file_again_is_the_same_job_while_it_waits(pool: Any) -> None:
    who = caller()
    async with pool.acquire() as conn:
        first = await batches.submit(conn, who, csv_of(GOOD), NAME)
        again = await batches.submit(conn, who, csv_of(GOOD), NAME)
        other = await batches.submit(conn, caller(), csv_of(GOOD), NAME)
        with pytest.raises(Problem) as raised:
            await batches.result(conn, who, first.id)
    assert (again.id, raised.value.code) == (first.id, "CR-244")
    assert other.id != first.id


async def test_too_many_batches_at_once(pool: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "MOST_UNFINISHED", 1)
    who = caller()
    async with pool.acquire() as conn:
        await batches.submit(conn, who, csv_of(GOOD), NAME)
        with pytest.raises(Problem) as raised:
            await batches.submit(conn, who, csv_of(GOOD, GOOD), NAME)
    assert (raised.value.status, raised.value.extra) == (429, {"retry_after": 60})


async def test_the_file_of_another_provider(pool: Any) -> None:
    owner = org_urn(uuid7())
    async with pool.acquire() as conn:
        await publish(
            conn,
            [Party(owner, "A college", ("college",))],
            [Alias(alias_urn("ukprn", "10037611"), owner)],
            [],
        )
        with pytest.raises(Problem) as raised:
            await batches.submit(conn, caller(), csv_of(GOOD), NAME)
        assert (raised.value.code, raised.value.status) == ("CR-244", 403)
        assert (await batches.submit(conn, caller(owner), csv_of(GOOD), NAME)).ukprn == "10037611"
