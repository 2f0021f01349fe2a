"""The directory: what a register says of a party is the whole of what is true of it."""

from __future__ import annotations

from typing import Any

import pytest

from commonroom.hub import Alias, Party, Relation, aliases_of, publish, resolve_alias, resolve_aliases
from commonroom.problems import Problem

A, B, LA, TRUST = (
    "urn:commonroom:org:a",
    "urn:commonroom:org:b",
    "urn:commonroom:org:la",
    "urn:commonroom:org:t",
)
PARTIES = [
    Party(A, "A", ("school", 'a, tag with {braces} and "quotes"')),
    Party(B, "B", ("school",)),
    Party(LA, "LA", ("local authority",)),
    Party(TRUST, "Trust", ()),
]
ALIASES = [Alias("alias:a1", A), Alias("alias:a2", A), Alias("alias:b", B)]
RELATIONS = [
    Relation(A, "its local authority", LA),
    Relation(A, "its academy trust", TRUST),
    Relation(B, "its local authority", LA),
    Relation(None, "the learner register", TRUST),
]


async def relations(pool: Any) -> set[tuple[str | None, str, str]]:
    return {tuple(row) for row in await pool.fetch("SELECT party, role, other FROM hub.relation")}


async def version(pool: Any) -> int:
    number: int = await pool.fetchval("SELECT version FROM hub.routing")
    return number


@pytest.fixture
async def published(pool: Any) -> Any:
    async with pool.acquire() as connection:
        await publish(connection, PARTIES, ALIASES, RELATIONS)
        yield connection


async def test_urns_and_aliases_resolve_and_others_do_not(published: Any) -> None:
    assert await resolve_alias(published, A) == A
    assert await resolve_alias(published, "alias:a2") == A
    assert await resolve_alias(published, "alias:none") is None
    assert await resolve_aliases(published, ["alias:b", LA, "alias:none"]) == {"alias:b": B, LA: LA}
    assert await aliases_of(published, A) == ["alias:a1", "alias:a2"]


async def test_kinds_are_kept_as_they_are(published: Any) -> None:
    assert (
        tuple(await published.fetchval("SELECT kinds FROM hub.party WHERE urn = $1", A)) == PARTIES[0].kinds
    )


async def test_a_school_that_left_its_trust_has_it_no_more_and_other_parties_are_untouched(
    published: Any, pool: Any
) -> None:
    await publish(published, [Party(A, "A renamed", ("school",))], [Alias("alias:a1", A)], [RELATIONS[0]])
    assert await relations(pool) == {
        (A, "its local authority", LA),
        (B, "its local authority", LA),
        (None, "the learner register", TRUST),
    }
    assert await aliases_of(published, A) == ["alias:a1"]
    assert await aliases_of(published, B) == ["alias:b"]


async def test_an_alias_moves_to_the_party_that_has_it_now(published: Any) -> None:
    await publish(published, [], [Alias("alias:a1", B)], [])
    assert await resolve_alias(published, "alias:a1") == B


async def test_a_role_of_everyone_is_replaced_and_not_added_to(published: Any, pool: Any) -> None:
    await publish(published, [], [], [Relation(None, "the learner register", LA)])
    assert {row for row in await relations(pool) if row[0] is None} == {(None, "the learner register", LA)}


async def test_publishing_the_same_again_changes_nothing(published: Any, pool: Any) -> None:
    before = await version(pool)
    await publish(published, PARTIES, ALIASES, RELATIONS)
    assert await version(pool) == before
    await publish(published, [Party(B, "B renamed", ("school",))], [Alias("alias:b", B)], [RELATIONS[2]])
    assert await version(pool) > before


async def test_an_unknown_party_is_refused_and_nothing_of_the_call_is_kept(published: Any, pool: Any) -> None:
    for aliases, related in (
        ([Alias("alias:x", "urn:nobody")], []),
        ([Alias("alias:x", A)], [Relation(A, "its academy trust", "urn:nobody")]),
    ):
        with pytest.raises(Problem) as caught:
            await publish(published, [], aliases, related)
        assert caught.value.code == "CR-041"
    assert await resolve_alias(published, "alias:x") is None


async def test_a_country_is_published_in_one_call(pool: Any) -> None:
    schools = [f"urn:commonroom:org:{number}" for number in range(24_000)]
    parties = [*(Party(urn, urn, ("school",)) for urn in schools), Party(LA, "LA", ())]
    aliases = [Alias(f"alias:{scheme}:{urn}", urn) for urn in schools for scheme in "uk"]
    related = [Relation(urn, "its local authority", LA) for urn in schools]
    async with pool.acquire() as connection:
        for _ in range(2):
            await publish(connection, parties, aliases, related)
    assert await pool.fetchval("SELECT count(*) FROM hub.party_alias") == 48_000
    assert await pool.fetchval("SELECT count(*) FROM hub.relation") == 24_000
