"""Batches: taken, refused, worked off in chunks, and told as a result file."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from commonroom.hub import Alias, Party, Relation, publish
from commonroom.ids import alias_urn, org_urn, uuid7
from commonroom.problems import Problem
from commonroom.registers.learners import batches, callers
from commonroom.registers.learners.numbers import Numbers
from commonroom.registers.learners.store import Caller
from commonroom.settings import Settings
from commonroom.standard import is_valid
from tests.unit.registers.learners.test_files import GOOD, NAME, csv_of

# Five who have nothing in common.
PEOPLE = tuple(
    GOOD
    | {
        "MISIdentifier": f"S{number}",
        "GivenName": given,
        "FamilyName": family,
        "DateOfBirth": born,
        "LastKnownPostCode": postcode,
    }
    for number, (given, family, born, postcode) in enumerate(
        (
            ("Amara", "Ashdown", "2009-03-14", "LS1 4AP"),
            ("Chidi", "Okonkwo", "2007-11-02", "BS2 8QJ"),
            ("Lucia", "Pereira", "2010-01-29", "NE4 5TG"),
            ("Thomas", "Whitlock", "2008-07-07", "PL1 1AA"),
            ("Maja", "Zielinski", "2006-05-21", "CV4 9EE"),
        )
    )
)


def caller(party: str | None = None) -> Caller:
    """A school that registers its learners."""
    return Caller(party=party or org_urn(uuid7()), person=None, purpose="enrolment", role="school")


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


async def test_a_census_is_handed_in_by_its_own_school_its_authority_or_who_issues_numbers(
    pool: Any, shared: Path
) -> None:
    name = "school_census_spring_2026.xml"
    content = (shared / "standards" / "files" / "constructed_samples" / name).read_bytes()
    school, other, authority = (org_urn(uuid7()) for _ in range(3))
    async with pool.acquire() as conn:
        # A school that the directory does not know cannot be told from the one that hands the file in.
        assert (await batches.submit(conn, caller(other), content, name)).party == other
        parties = [Party(school, "Sample School", ("school",)), Party(authority, "LA", ("local authority",))]
        alias = Alias(alias_urn("laestab", "8234321"), school)
        await publish(conn, parties, [alias], [Relation(school, "its local authority", authority)])
        for party, role in ((school, "school"), (authority, "authority"), (org_urn(uuid7()), "department")):
            who = msgspec.structs.replace(caller(party), role=role)
            assert (await batches.submit(conn, who, content, name)).records == 4
        for role in ("school", "college", "authority"):
            who = msgspec.structs.replace(caller(), role=role)
            with pytest.raises(Problem, match="another school's census") as raised:
                await batches.submit(conn, who, content, name)
            assert (raised.value.code, raised.value.status) == ("CR-244", 403)


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
    monkeypatch.setattr(batches.jobs, "MOST_UNFINISHED", 1)
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
            [Party(owner, "A college", ("learning provider",))],
            [Alias(alias_urn("ukprn", "10037611"), owner)],
            [],
        )
        assert await callers.role_of_party(conn, owner) == "college"
        with pytest.raises(Problem) as raised:
            await batches.submit(conn, caller(), csv_of(GOOD), NAME)
        assert (raised.value.code, raised.value.status) == ("CR-244", 403)
        assert (await batches.submit(conn, caller(owner), csv_of(GOOD), NAME)).ukprn == "10037611"


async def test_a_batch_is_worked_off_in_chunks(pool: Any, settings: Settings) -> None:
    who, numbers = caller(), Numbers.of(settings)
    async with pool.acquire() as conn:
        job = await batches.submit(conn, who, csv_of(*PEOPLE, GOOD | {"Gender": "M"}), NAME)
        seen = []
        while await batches.work_once(conn, numbers, chunk=2):
            seen.append((await batches.get(conn, who, job.id)).answered)
        done = await batches.get(conn, who, job.id)
        _, content = await batches.result(conn, who, job.id)
    assert seen == [3, 5, 6]
    assert (done.state, done.counts["NewLearnersCount"], done.counts["RejectedLearnersCount"]) == (
        "finished",
        5,
        1,
    )
    rows = rows_of(content)
    assert [row["ReturnCode"] for row in rows] == ["WSRC0005"] * 5 + ["RC011"]
    assert all(is_valid("ULN", row["ULN"]) for row in rows[:5])
    assert len({row["ULN"] for row in rows[:5]}) == 5
    assert [row["MISIdentifier"] for row in rows[:5]] == ["S0", "S1", "S2", "S3", "S4"]


async def test_the_same_file_again_gives_the_same_numbers(pool: Any, settings: Settings) -> None:
    who, numbers = caller(), Numbers.of(settings)
    answers = []
    async with pool.acquire() as conn:
        for _ in range(2):
            job = await batches.submit(conn, who, csv_of(*PEOPLE), NAME)
            await batches.work_off(conn, numbers, who, job.id)
            _, content = await batches.result(conn, who, job.id)
            answers.append([(row["ReturnCode"], row["ULN"]) for row in rows_of(content)])
    assert [uln for _, uln in answers[0]] == [uln for _, uln in answers[1]]
    assert {code for code, _ in answers[1]} == {"WSRC0004"}


async def test_two_of_one_file_never_get_one_number(pool: Any, settings: Settings) -> None:
    who, numbers = caller(), Numbers.of(settings)
    async with pool.acquire() as conn:
        job = await batches.submit(conn, who, csv_of(GOOD, GOOD | {"MISIdentifier": "S2"}), NAME)
        while await batches.work_once(conn, numbers, chunk=1):
            pass
        refused = await batches.refused(conn, who, job.id)
    # In chunks of one: the second record knows what the first was answered.
    assert [(line, code) for line, code, _ in refused] == [(5, "WSRC0003")]


async def test_batches_take_turns(pool: Any, settings: Settings) -> None:
    long, short, numbers = caller(), caller(), Numbers.of(settings)
    async with pool.acquire() as conn:
        first = await batches.submit(conn, long, csv_of(*PEOPLE), NAME)
        second = await batches.submit(conn, short, csv_of(GOOD), NAME)
        await batches.work_once(conn, numbers, chunk=2)
        await batches.work_once(conn, numbers, chunk=2)
        assert (await batches.get(conn, short, second.id)).state == "finished"
        assert (await batches.get(conn, long, first.id)).state == "running"


async def test_who_may_not_register_hands_in_nothing(pool: Any) -> None:
    who = Caller(party=org_urn(uuid7()), person=None, purpose="examinations", role="awarding_body")
    async with pool.acquire() as conn:
        with pytest.raises(Problem) as raised:
            await batches.submit(conn, who, csv_of(GOOD), NAME)
        assert (raised.value.code, raised.value.status) == ("CR-111", 403)
        with pytest.raises(Problem, match="CR-211"):
            await batches.submit(conn, msgspec.structs.replace(caller(), purpose=""), csv_of(GOOD), NAME)


async def test_a_batch_whose_provider_may_no_longer_register_fails_with_the_reason(
    pool: Any, settings: Settings
) -> None:
    who = caller()
    async with pool.acquire() as conn:
        job = await batches.submit(conn, who, csv_of(GOOD), NAME)
        await conn.execute("UPDATE learners.batch SET role = 'learner' WHERE id = $1", job.id)
        assert await batches.work_once(conn, Numbers.of(settings))
        failed = await batches.get(conn, who, job.id)
        assert not await batches.work_once(conn, Numbers.of(settings))
    assert failed.state == "failed"
    assert failed.reason.startswith("CR-111")


async def test_finished_batches_are_forgotten_and_their_numbers_stay(pool: Any, settings: Settings) -> None:
    who, numbers = caller(), Numbers.of(settings)
    async with pool.acquire() as conn:
        job = await batches.submit(conn, who, csv_of(GOOD), NAME)
        await batches.work_off(conn, numbers, who, job.id)
        await batches.purge(settings, conn)
        await batches.get(conn, who, job.id)
        await conn.execute("UPDATE learners.batch SET finished_at = finished_at - interval '31 days'")
        await batches.purge(settings, conn)
        with pytest.raises(Problem, match="CR-243"):
            await batches.get(conn, who, job.id)
        assert await conn.fetchval("SELECT count(*) FROM learners.batch_record") == 0
        assert await conn.fetchval("SELECT count(*) FROM learners.uln") == 1
