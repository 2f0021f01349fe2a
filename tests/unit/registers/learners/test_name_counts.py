"""The register counts its own names, and decides by what it counted."""

from __future__ import annotations

import asyncio
import csv
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from commonroom.problems import Problem
from commonroom.registers.learners import matching, store, upkeep
from commonroom.registers.learners.matching import Frequencies
from commonroom.registers.learners.numbers import Numbers
from commonroom.registers.learners.store import name_counts
from commonroom.settings import Settings
from tests.unit.registers.learners.people import (
    CLERK,
    caller,
    details,
    one_database,
    registration,
    undone,
)
from tests.waiting import until_async

NUMBERS = Numbers(b"\x09" * 32)
US = caller()
MOVED = {"given_name": "Layla", "family_name": "Begum", "postcode": "HX1 2ZZ"}
# So many more of these names, without block keys: nobody is compared with them.
_BORNE = """
WITH made AS (
    SELECT gen_random_uuid() AS id, given, family, (3000000000 + row_number() OVER ())::text AS number
    FROM unnest($1::text[], $2::text[], $3::integer[]) AS one (given, family, bearers),
        generate_series(1, one.bearers)
), numbered AS (
    INSERT INTO learners.uln (number, person, status, issued_at) SELECT number, id, 'active', now() FROM made
)
INSERT INTO learners.person (id, uln, version, known, more, registered_by, blocks, created_at, updated_at)
SELECT id, number, 1, json_build_object('person', id, 'details', json_build_object(
    'given_name', given, 'family_name', family, 'date_of_birth', '1990-01-02')), '{}', '{}', '{}', now(), now()
FROM made
"""


@pytest.fixture(scope="module")
def register(postgres: Any, template: str, tmp_path_factory: Any) -> Iterator[Settings]:
    yield from one_database(postgres, template, tmp_path_factory, "learner_names")


@pytest.fixture
async def conn(register: Settings) -> AsyncIterator[Any]:
    async with undone(register) as connection:
        yield connection


async def _borne(conn: Any, *names: tuple[str, str, int]) -> None:
    await conn.execute(_BORNE, *map(list, zip(*names, strict=True)))


async def test_a_name_that_many_of_the_register_bear_sends_to_a_clerk_who_else_would_be_joined(
    conn: Any, register: Settings
) -> None:
    layla = (await store.register(conn, US, registration(details(**MOVED)), NUMBERS)).uln
    elsewhere = details(**MOVED | {"postcode": "TR1 1AA"})
    await _borne(conn, ("LAYLA Maria", "Begum", 300), ("Someone", "Else", 4_700))
    before = await store.find(conn, US, elsewhere)
    assert (before.code, before.uln) == ("WSRC0004", layla)

    await upkeep.count_names(register, conn)

    after = await store.find(conn, US, elsewhere)
    assert (after.code, after.uln) == ("WSRC0003", None)
    alone = await store.register(conn, US, registration(elsewhere), NUMBERS)
    chunk = await store.register_many(
        conn, US, [registration(elsewhere, reference="a"), registration(details())], NUMBERS
    )
    assert [alone.code, chunk[0].code] == ["WSRC0003", "WSRC0003"]
    assert chunk[0].case == alone.case


async def test_what_is_loaded_is_what_the_matcher_counts(conn: Any) -> None:
    await _borne(conn, ("Zoë", "O'Neil", 40), ("ZOE ANN", "O Neil", 20), ("Ida", "", 5), ("Bo", "Ek", 1))
    done = await store.count_names(conn, CLERK)
    assert (done.persons, done.given_names, done.family_names, done.together) == (66, 2, 3, 1)
    version = await conn.fetchval("SELECT version FROM learners.name_count")
    loaded = await name_counts.of_version(conn, version)
    expected = Frequencies.counted([("zoe", "oneil", 60), ("", "ida", 5), ("bo", "ek", 1)])
    assert loaded is not None
    assert loaded.lifts == expected.lifts
    assert loaded.lifts
    for kind, name in (("given", "zoe"), ("family", "oneil"), ("given", "bo"), ("family", "smith")):
        assert loaded.rarity(kind, name) == expected.rarity(kind, name)


async def test_a_merged_person_counts_once_and_another_counting_counts_at_once(conn: Any) -> None:
    one = (await store.register(conn, US, registration(), NUMBERS)).uln or ""
    other = details(given_name="Rosalind", family_name="Farquhar", date_of_birth="1999-09-09", postcode=None)
    two = (await store.register(conn, US, registration(other), NUMBERS)).uln or ""
    assert (await store.count_names(conn, CLERK)).persons == 2
    first = await conn.fetchval("SELECT version FROM learners.name_count")
    await store.merge(conn, CLERK, one, two)
    assert (await store.count_names(conn, CLERK)).persons == 1
    second = await conn.fetchval("SELECT version FROM learners.name_count")
    assert first != second
    loaded = await name_counts.of_version(conn, second)
    assert loaded is not None
    assert loaded.rarity("family", "farquhar") == Frequencies(size=1).rarity("family", "farquhar")


async def test_who_counts_while_another_counts_waits_for_it(pool: Any) -> None:
    async with pool.acquire() as first, pool.acquire() as second, pool.acquire() as looking:
        await _borne(first, ("Zoë", "O'Neil", 40))
        async with first.transaction():
            await store.count_names(first, CLERK)
            other = asyncio.create_task(store.count_names(second, CLERK))
            waits = (
                f"SELECT wait_event_type = 'Lock' FROM pg_stat_activity WHERE pid = {second.get_server_pid()}"
            )
            await until_async(lambda: looking.fetchval(waits), what="the second counting waiting")
        assert (await other).persons == 40


async def test_only_who_keeps_the_register_counts(conn: Any) -> None:
    with pytest.raises(Problem, match="CR-111"):
        await store.count_names(conn, US)


def test_a_name_too_rare_to_be_kept_moves_no_weight_by_a_tenth_of_a_bit() -> None:
    size = 60_000_000
    rarest = matching.parameters.parameters().given.rarest
    left_out = size * rarest * name_counts.TOO_RARE
    with (Path(matching.__file__).parent / "names.csv").open(encoding="utf-8", newline="") as file:
        rows = csv.reader(line for line in file if not line.startswith("#"))
        names = ["zzyx", *(name for kind, name, _ in rows if kind == "given")]
    lost = [
        Frequencies(size=size).rarity("given", name)
        - Frequencies({name: int(left_out)}, size=size).rarity("given", name)
        for name in names
    ]
    assert left_out > 1
    assert min(lost) >= 0
    assert max(lost) < 0.1
