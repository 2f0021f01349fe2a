"""Who sees what: the whole of it in one table. What is not in the table is denied.

`all` every row; `own` rows of the asker's own organisation; `-` nothing (403).
"""

from __future__ import annotations

import re
from typing import Any

import asyncpg
import duckdb
import pytest

from commonroom import access
from commonroom.access import Predicate, Scope
from commonroom.identity import PUBLIC, ROLES_OF_PEOPLE, Principal
from commonroom.problems import Problem

OURS, THEIRS = "urn:commonroom:org:1", "urn:commonroom:org:2"

TABLE = """
                    public  school  authority  operator  governance  analyst  learner  clerk  researcher  end_point
figures             all     all     all        all       all         all      all      all    all         all
figures.lineage     all     all     all        all       all         all      all      all    all         all
movements           all     all     all        all       all         all      all      all    all         all
hub.messages        -       own     own        all       -           -        -        -      -           -
hub.traffic         -       -       -          all       -           -        -        -      -           -
authority.schools   -       -       own        -         -           -        -        -      -           -
learner.records     -       own     own        -         -           -        -        -      -           -
warehouse.facts     -       own     own        -         -           all      -        -      -           -
warehouse.record    -       own     own        all       -           -        -        -      -           -
warehouse.measures  -       own     own        -         -           -        -        -      -           -
warehouse.own       -       own     own        -         -           -        -        -      -           -
learners.find       -       all     own        -         -           -        -        all    -           -
learners.check      -       all     all        -         -           -        -        all    -           -
learners.register   -       all     all        -         -           -        -        all    -           -
learners.update     -       own     own        -         -           -        -        all    -           -
learners.merge      -       -       -          -         -           -        -        all    -           -
learners.review     -       -       -          -         -           -        -        all    -           -
learners.audit      -       own     own        all       -           -        -        -      -           -
learners.numbers    -       own     -          -         -           -        -        -      -           -
extracts            -       own     own        all       all         own      -        -      own         own
extracts.register   all     all     all        all       all         all      all      all    all         all
"""
# The column by which a dataset knows whose a row is; where there are several, each of them does.
OWNER: dict[tuple[str, str], str | tuple[str, ...]] = {
    **{
        ("extracts", role): "requester"
        for role in ("school", "authority", "analyst", "researcher", "end_point")
    },
    ("hub.messages", "school"): "party",
    ("hub.messages", "authority"): "party",
    ("authority.schools", "authority"): "authority",
    ("warehouse.facts", "school"): "sender",
    ("warehouse.facts", "authority"): "sender",
    ("warehouse.record", "school"): "holder",
    ("warehouse.record", "authority"): "holder",
    ("warehouse.own", "school"): ("sender", "trust"),
    ("warehouse.own", "authority"): ("sender", "brought_to", "trust"),
    ("warehouse.measures", "school"): "owner",
    ("warehouse.measures", "authority"): "owner",
    ("learner.records", "school"): "school",
    ("learner.records", "authority"): "authority",
    ("learners.find", "authority"): "authority",
    ("learners.update", "school"): "party",
    ("learners.update", "authority"): "authority",
    ("learners.audit", "school"): "party",
    ("learners.numbers", "school"): "party",
    ("learners.audit", "authority"): "party",
}
HEADER, *LINES = [line.split() for line in TABLE.strip().splitlines()]
CELLS = [(dataset, role, rule) for dataset, *rules in LINES for role, rule in zip(HEADER, rules, strict=True)]


def principal(role: Any, party: str | None = OURS) -> Principal:
    if role == "public":
        return PUBLIC
    return Principal(kind="end_point" if role == "end_point" else "person", id="p1", role=role, party=party)


def literal(text: str | None) -> str:
    return "NULL" if text is None else "'" + text.replace("'", "''") + "'"


def seen(scope: Scope, columns: tuple[str, ...], values: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """The rows of a table of `columns` that the scope lets through, in DuckDB."""
    names = ", ".join(columns)
    marks = ", ".join(f"({', '.join('?' for _ in columns)})" for _ in values)
    flat = [value for row in values for value in row]
    sql = f"SELECT {names} FROM (VALUES {marks}) AS t({names}) WHERE {scope.sql}"
    return duckdb.connect().execute(sql, [*flat, *scope.params]).fetchall()


def test_the_table_names_every_dataset_and_every_role() -> None:
    assert {dataset for dataset, *_ in LINES} == set(access.load())
    assert set(HEADER) == {"public", "end_point", *ROLES_OF_PEOPLE}


@pytest.mark.parametrize(("dataset", "role", "rule"), CELLS)
def test_each_role_sees_exactly_what_the_table_says(dataset: str, role: str, rule: str) -> None:
    if rule == "-":
        with pytest.raises(Problem) as caught:
            access.rows(principal(role), dataset, "duckdb")
        assert (caught.value.status, caught.value.code) == (403, "CR-111")
        return
    scope = access.rows(principal(role), dataset, "duckdb")
    columns = access.load()[dataset].columns
    given = OWNER.get((dataset, role), ())
    owners = (given,) if isinstance(given, str) else given
    mine = [tuple(OURS if column == owner else "any" for column in columns) for owner in owners or ("",)]
    theirs = tuple(THEIRS if column in owners else OURS for column in columns)
    expected = [*mine, theirs] if rule == "all" else mine
    assert seen(scope, columns, [*mine, theirs]) == expected


@pytest.mark.parametrize(("dataset", "role"), [(d, r) for d, r, rule in CELLS if rule == "own"])
def test_somebody_without_an_organisation_has_no_own_rows(dataset: str, role: str) -> None:
    with pytest.raises(Problem, match="CR-111"):
        access.rows(principal(role, party=None), dataset, "postgres")


def test_a_dataset_nobody_declared_is_denied_to_everyone() -> None:
    for role in HEADER:
        with pytest.raises(Problem, match="CR-111"):
            access.rows(principal(role), "identity.person", "postgres")


CONDITIONS = [
    "party = $party",
    "party = $party or party = 'urn:x'",
    "not (party <> $party)",
    "party in ('a', $party) and size >= 10",
    "party is not null and (size < 10 or party = $party)",
    "party = 'it''s'",
    "true",
    "false",
]
ROWS = [(OURS, 5), (OURS, 10), (THEIRS, 5), (THEIRS, 10), ("urn:x", 1), ("a", 99), ("it's", 1), (None, 3)]


@pytest.mark.parametrize("condition", CONDITIONS)
async def test_a_condition_means_the_same_in_postgresql_and_in_duckdb(
    condition: str, pool: asyncpg.Pool
) -> None:
    predicate = Predicate(condition, ["party", "size"], "test")
    values = ", ".join(f"({literal(party)}, {size})" for party, size in ROWS)
    sql = f"SELECT party, size FROM (VALUES {values}) AS t(party, size) WHERE "
    duck_sql, duck_values = predicate.emit("duckdb", {"party": OURS})
    their_sql, their_values = predicate.emit("postgres", {"party": OURS}, first_parameter=2)
    in_duck = duckdb.connect().execute(sql + duck_sql, duck_values).fetchall()
    in_postgres = await pool.fetch(f"{sql}{their_sql} AND $1::int = 1", 1, *their_values)
    assert sorted(in_duck, key=str) == sorted(map(tuple, in_postgres), key=str)


REFUSED = [
    "1 = 1; drop table x",
    "lower(party) = 'x'",
    "party = (select 1)",
    "party in (select 1)",
    "party::text = 'x'",
    "party = $password",
    "party = ?",
    "secret = 1",
    "other.party = 'x'",
    "party like 'x%'",
    "size = 1.5",
    "size + 1 = 2",
    "case when true then true end",
    "party",
    "'text'",
    "*",
    "",
    "party = ",
    "(" * 5000,
]


@pytest.mark.parametrize("condition", REFUSED, ids=lambda text: text[:30] or "nothing")
def test_what_is_not_in_the_language_is_refused_and_the_place_is_named(condition: str) -> None:
    with pytest.raises(Problem, match=r"CR-110 policies/x\.yaml"):
        Predicate(condition, ["party", "size"], "policies/x.yaml")


def test_a_comment_in_a_condition_does_not_reach_the_query() -> None:
    sql, _ = Predicate("party = 'x' -- ' or true", ["party"], "test").emit("postgres", {})
    assert sql == "(party = 'x')"


async def test_a_read_leaves_who_what_why_and_how_many_and_nothing_else(pool: asyncpg.Pool) -> None:
    async with pool.acquire() as connection:
        await access.audit(connection, principal("school"), "learner.records", "school page", 12)
        await access.audit(connection, PUBLIC, "figures", "download", 0, ["990001"])
        rows = await connection.fetch("SELECT * FROM access.audit ORDER BY id")
    assert [tuple(row)[2:] for row in rows] == [
        ("person", "p1", "school", OURS, "learner.records", "school page", 12, None),
        ("public", "", "public", None, "figures", "download", 0, ["990001"]),
    ]


def test_every_grant_says_why() -> None:
    for policy in access.load().values():
        for grant in policy.grants:
            assert re.search(r"\w+ \w+ \w+", grant.because)
