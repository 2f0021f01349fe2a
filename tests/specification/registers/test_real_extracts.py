"""The real public extracts: what each holds, as its provenance says, and what people find in them."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterator
from datetime import date
from pathlib import Path

import asyncpg
import psycopg
import pytest

from commonroom.engines.database import connect, migrate
from commonroom.engines.postgres import LocalServer
from commonroom.registers import providers
from commonroom.settings import Settings

ENGLAND = "data/gias/gias_open_mainstream_20220706.csv.gz"
TWO_LAS = "data/gias/gias_download_850_936_20220420.csv.gz"
LINKS = "data/gias/links_edubasealldata20250422.csv.gz"
GROUPS = "data/gias/gias_groups_2026.csv.gz"
PROVIDERS = "data/providers/ukprn_providers.csv"
FULL_WIDTH = "standards/files/gias_finance/gias.csv"
SAMPLE_LINKS = "standards/files/gias_finance/gias_links.csv"
GROUP_LINKS = "standards/files/gias_finance/gias_all_links.csv"

REGISTER = "registers_of_england"


@pytest.fixture(scope="module")
def england(
    postgres: LocalServer, shared: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Settings, list[providers.LoadReport]]]:
    """One register with England's schools, two LAs' ragged file, links and groups; loaded once for all these tests."""
    import asyncio

    base = postgres.dsn.rsplit("/", 1)[0]
    with psycopg.connect(f"{base}/postgres", autocommit=True) as maintenance:
        maintenance.execute(f"CREATE DATABASE {REGISTER}")
    settings = Settings(data=tmp_path_factory.mktemp("england"), database=f"{base}/{REGISTER}")
    migrate(settings)

    async def load() -> list[providers.LoadReport]:
        conn = await connect(settings)
        try:
            return [
                await providers.load_file(conn, shared / file)
                for file in (ENGLAND, TWO_LAS, LINKS, GROUPS, PROVIDERS)
            ]
        finally:
            await conn.close()

    yield settings, asyncio.run(load())
    with psycopg.connect(f"{base}/postgres", autocommit=True) as maintenance:
        maintenance.execute(f"DROP DATABASE {REGISTER} WITH (FORCE)")


@pytest.fixture
async def conn(england: tuple[Settings, list[providers.LoadReport]]) -> AsyncIterator[asyncpg.Connection]:
    connection = await connect(england[0])
    yield connection
    await connection.close()


async def test_england_has_20188_open_mainstream_schools_with_7972954_pupils_in_152_authorities(
    england: tuple[Settings, list[providers.LoadReport]], conn: asyncpg.Connection
) -> None:
    report = england[1][0]
    assert (report.kind, report.encoding, report.rows, report.refused) == (
        "establishments",
        "cp1252",
        20_188,
        0,
    )
    assert (report.schools, report.pupils, report.authorities, report.new) == (20_188, 7_972_954, 152, 20_188)
    assert report.issue_count == 0
    totals = await conn.fetchrow(
        "SELECT count(*) AS schools, sum((facts ->> 'pupils')::integer) AS pupils FROM providers.version WHERE load = $1"
        " AND kind = 'school'",
        report.load,
    )
    assert tuple(totals) == (20_188, 7_972_954)


async def test_the_ragged_file_loads_all_1096_rows_and_its_surplus_fields_are_links(
    england: tuple[Settings, list[providers.LoadReport]], conn: asyncpg.Connection
) -> None:
    report = england[1][1]
    assert (report.rows, report.loaded, report.refused, report.issue_count) == (1_096, 1_096, 0, 0)
    surplus = await conn.fetchval(
        "SELECT count(*) FROM providers.version WHERE load = $1 AND facts ->> 'linked_establishments' LIKE '%,%'",
        report.load,
    )
    assert surplus >= 69
    assert report.absent == 20_188 + 369 - 1_096
    assert report.late > 0


def test_all_33801_links_and_7176_groups_load(england: tuple[Settings, list[providers.LoadReport]]) -> None:
    links, groups = england[1][2:4]
    assert (links.kind, links.loaded, links.new, links.issue_count) == ("links", 33_801, 33_801, 0)
    assert (groups.kind, groups.loaded, groups.new, groups.issue_count) == ("groups", 7_176, 7_176, 0)


async def test_all_1602_providers_load_and_none_is_a_school(
    england: tuple[Settings, list[providers.LoadReport]], conn: asyncpg.Connection
) -> None:
    report = england[1][4]
    assert (report.kind, report.providers, report.new, report.issue_count) == ("providers", 1_602, 1_602, 0)
    [found] = await providers.find(conn, "10000055", kinds=providers.EVERYBODY)
    assert (found.name, found.scheme, found.kind) == ("ABINGDON AND WITNEY COLLEGE", "ukprn", "provider")
    assert await providers.find(conn, "10000055") == []


async def test_the_loads_tell_what_each_of_them_changed(
    england: tuple[Settings, list[providers.LoadReport]], conn: asyncpg.Connection
) -> None:
    first, second, links, groups, listed = england[1]
    ragged = await providers.between(conn, first.load, second.load)
    added = [one for one in ragged.changes if one.kind == "school" and one.what == ("added",)]
    assert len(added) == 369
    # Rows older than England's file only deepen the history; the columns England's file lacks are changes.
    assert sum(one.kind == "school" for one in ragged.changes) == 369 + second.changed - second.late
    assert (await providers.between(conn, groups.load, listed.load)).counts == {"added": 1_602}
    linked = await providers.between(conn, second.load, links.load)
    assert sum(len(one.links) for one in linked.changes) == 33_801
    assert (await providers.between(conn, links.load, groups.load)).counts == {"added": 7_176}


async def test_the_register_of_england_as_of_a_day(conn: asyncpg.Connection) -> None:
    now = {one.kind: one for one in await providers.as_of.counts(conn, date.max)}
    before = {one.kind: one for one in await providers.as_of.counts(conn, date(2022, 4, 20))}
    assert (now["school"].known, now["school"].authorities) == (20_188 + 369, 152)
    assert now["school"].open == await providers.count(conn, is_open=True)
    assert 0 < before["school"].known < now["school"].known
    state = await providers.as_of.state(conn, "urn", "115850", date(2022, 4, 20))
    assert state is not None
    assert (state.name, state.facts["ukprn"]) == ("Alton Infant School", "10080446")


SLIPS = [
    ("altn infant", "115850"),
    ("alton infent", "115850"),
    ("Aldgaet School", "100000"),
    ("argyel camden", "100008"),
    ("hampsire alton infant", "115850"),
]


@pytest.mark.parametrize(("typed", "urn"), SLIPS, ids=[case[0] for case in SLIPS])
async def test_a_school_of_england_is_found_first_in_spite_of_a_slip(
    conn: asyncpg.Connection, typed: str, urn: str
) -> None:
    assert (await providers.find(conn, typed))[0].urn == urn


async def test_nine_of_ten_names_with_one_slip_are_found_among_the_first_ten(
    conn: asyncpg.Connection,
) -> None:
    chance = random.Random(20260310)
    rows = await conn.fetch(
        "SELECT value, name, coalesce(facts ->> 'town', '') AS town FROM providers.organisation"
        " WHERE kind = 'school' AND is_open ORDER BY value"
    )
    found = 0
    asked = chance.sample(rows, 30)
    for row in asked:
        hits = await providers.find(conn, f"{_slip(row['name'], chance)} {row['town']}", limit=10)
        found += row["value"] in [hit.urn for hit in hits]
    assert found >= 0.9 * len(asked)


def _slip(name: str, chance: random.Random) -> str:
    """The name with one letter left out, doubled, exchanged or swapped with its neighbour."""
    place = chance.choice([number for number, sign in enumerate(name) if sign.isalpha()])
    other = chance.choice("abcdefghijklmnopqrstuvwxyz")
    before, sign, after = name[:place], name[place], name[place + 1 :]
    if chance.random() < 0.25:
        return before + after[:1] + sign + after[1:]
    return before + chance.choice(["", sign * 2, other]) + after


async def test_the_nine_regions_add_up_to_england(conn: asyncpg.Connection) -> None:
    regions = await providers.regions(conn)
    authorities = await providers.authorities(conn)
    assert len(regions) == 9
    assert sum(region.authorities for region in regions) == len(authorities) == 152
    assert sum(region.schools for region in regions) == sum(one.schools for one in authorities)
    assert sum(region.pupils for region in regions) == sum(one.pupils for one in authorities) > 7_900_000


FINDS = [
    ("115850", "115850", "its URN"),
    ("850/2000", "115850", "its LAESTAB with a stroke"),
    ("8502000", "115850", "its LAESTAB"),
    ("10080446", "115850", "its UKPRN, from the other file"),
    ("GU34 1DH", "115850", "its postcode"),
    ("gu341dh", "115850", "its postcode as people type it"),
    ("alton infant", "115850", "the beginning of its name"),
    ("infant alton", "115850", "words in another order"),
    ("ALTON INF", "115850", "the beginning of a word, in capitals"),
    ("aldgate school", "100000", "a name without its article"),
    ("argyle camden", "100008", "name and authority"),
]


@pytest.mark.parametrize(("text", "urn", "by"), FINDS, ids=[case[2] for case in FINDS])
async def test_a_school_is_among_the_first_found_by(
    conn: asyncpg.Connection, text: str, urn: str, by: str
) -> None:
    found = await providers.find(conn, text, limit=3)
    assert urn in [school.urn for school in found], by


async def test_a_name_that_begins_with_the_search_comes_before_others(conn: asyncpg.Connection) -> None:
    assert (await providers.find(conn, "alton infant"))[0].urn == "115850"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("saint james", "st james"),
        ("st. james", "st james"),
        ("ST JAMES'", "st james"),
        ("abbas and templecombe c of e", "abbas templecombe church of england"),
        ("abbas & templecombe cofe", "abbas and templecombe church of england"),
    ],
)
async def test_usual_ways_of_writing_a_name_find_the_same(
    conn: asyncpg.Connection, one: str, other: str
) -> None:
    found = {school.urn for school in await providers.find(conn, one, limit=500)}
    assert found
    assert found == {school.urn for school in await providers.find(conn, other, limit=500)}


async def test_st_marys_is_found_with_and_without_its_apostrophe(conn: asyncpg.Connection) -> None:
    with_sign = {school.urn for school in await providers.find(conn, "st mary's surrey", limit=500)}
    without = {school.urn for school in await providers.find(conn, "st marys surrey", limit=500)}
    assert without
    assert without <= with_sign


async def test_open_schools_come_before_closed_ones_and_filters_hold(conn: asyncpg.Connection) -> None:
    found = await providers.find(conn, "", la="936", limit=500)
    states = [school.is_open for school in found]
    assert states == sorted(states, reverse=True)
    assert {school.la_code for school in found} == {"936"}
    primary = await providers.count(conn, "", la="936", phase="Primary", is_open=True)
    authority = await providers.authority(conn, "936")
    assert authority is not None
    assert primary == authority.phases["Primary"]
    paged = [
        one.urn
        for start in range(0, 40, 10)
        for one in await providers.find(conn, "", la="936", limit=10, offset=start)
    ]
    assert paged == [school.urn for school in found][:40]


@pytest.mark.parametrize(
    "text", ["%", "' OR 1=1 --", ":* & | !", "\x00", "x" * 5_000, "a " * 500, "école", "()", "\\"]
)
async def test_no_search_however_odd_is_an_error(conn: asyncpg.Connection, text: str) -> None:
    assert len(await providers.find(conn, text)) <= 20
    assert await providers.count(conn, text) < 20_188


async def test_an_accent_typed_or_not_makes_no_difference(conn: asyncpg.Connection) -> None:
    plain = await conn.fetchval("SELECT providers.plain('École  Jeannine-Manuel, St. Zoë’s')")
    assert plain == "ecole jeannine manuel st zoes"


async def test_a_school_knows_its_predecessors_and_successors(conn: asyncpg.Connection) -> None:
    row = await conn.fetchrow(
        "SELECT l.urn, l.link_urn FROM providers.link AS l JOIN providers.organisation AS o"
        " ON o.scheme = 'urn' AND o.value = l.urn ORDER BY l.urn LIMIT 1"
    )
    school = await providers.school(conn, row["urn"])
    assert school is not None
    assert row["link_urn"] in {link.urn for link in school.links}


async def test_the_full_width_file_lists_its_bad_uprns_and_keeps_no_head(
    pool: asyncpg.Pool, shared: Path
) -> None:
    async with pool.acquire() as connection:
        report = await providers.load_file(connection, shared / FULL_WIDTH)
        links = await providers.load_file(connection, shared / SAMPLE_LINKS)
        members = await providers.load_file(connection, shared / GROUP_LINKS)
        school = await providers.school(connection, "130000")
        kept = await connection.fetchval("SELECT string_agg(facts::text, '') FROM providers.version")
    assert (report.rows, report.loaded, report.issue_count) == (60, 60, 60)
    assert {(issue.item, issue.effect) for issue in report.issues} == {("UPRN", "value left blank")}
    assert (links.loaded, [issue.effect for issue in links.issues]) == (60, ["note"])
    assert (members.kind, members.loaded) == ("group_links", 60)
    assert school is not None
    assert school.trust is not None
    assert (school.trust.name, school.type, school.facts["type_code"]) == (
        "trust name 1",
        "Academy sponsor led",
        "28",
    )
    assert "Doe 1" not in kept
    assert "Headteacher" not in kept
    assert "01111111111" not in kept
