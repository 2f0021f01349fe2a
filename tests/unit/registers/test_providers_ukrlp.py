"""UKRLP beside GIAS: both forms of its answers, one record a UKPRN, and schools of the other nations."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from commonroom import hub
from commonroom.ids import alias_urn
from commonroom.problems import Problem
from commonroom.registers import providers
from commonroom.registers.providers.sources import read_file
from tests.unit.registers import extracts, ukrlp_answers
from tests.unit.registers.extracts import row
from tests.unit.registers.ukrlp_answers import RECORD, SOAP, SOAP_RECORD, changed, write_lines

FILE = "ukrlp20260310.json"


async def record(conn: Any, ukprn: str, **more: Any) -> dict[str, Any]:
    [found] = await providers.answers.records(conn, providers.answers.Asked((ukprn,), **more))
    return found


def test_both_forms_of_an_answer_say_the_same(tmp_path: Path) -> None:
    lines = read_file(write_lines(tmp_path / "a.json", [RECORD]))
    soap = tmp_path / "b.xml"
    soap.write_text(SOAP.format(records=SOAP_RECORD), "utf-8")
    [one], [other] = lines.rows, read_file(soap).rows
    assert lines.issues == ()
    assert one.facts == other.facts
    assert one.facts["postcode"] == "WM1 2BD"
    assert one.facts["contact_updated"] == "2024-02-01"
    assert one.facts["trading_names"] == ["Saltmere Tech", "The Harbour Academy of Trades"]


@pytest.mark.parametrize(
    "text",
    [
        json.dumps([RECORD]),
        json.dumps({"MatchingProviderRecords": [RECORD]}),
        json.dumps({name[0].lower() + name[1:]: value for name, value in RECORD.items()}) + "\n",
    ],
    ids=["a list", "a list in an object", "names in small letters"],
)
def test_other_ways_of_writing_the_same_answer_are_read(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text, "utf-8")
    [found] = read_file(path).rows
    wanted = {"ukprn": "10099001", "telephone": "01632 960001", "status": "Open"}
    if "uKPRN" not in text:
        assert wanted.items() <= found.facts.items()
    assert found.facts["name"] == "SALTMERE COLLEGE LIMITED"


def test_bad_records_are_listed_by_line_and_stop_nothing(tmp_path: Path) -> None:
    bad_postcode = changed(UKPRN="10099002", TradingAddress={"Address1": "x", "PostCode": "nonsense"})
    records = [
        RECORD,
        "not an object",
        changed(UKPRN="123"),
        changed(UKPRN="10099003", ProviderName=""),
        RECORD,
        bad_postcode,
    ]
    parsed = read_file(write_lines(tmp_path / "a.json", records))
    assert [row.facts["ukprn"] for row in parsed.rows] == ["10099001", "10099002"]
    assert [(issue.line, issue.effect) for issue in parsed.issues] == [
        (2, "row refused"),
        (3, "row refused"),
        (4, "row refused"),
        (5, "row refused"),
        (6, "value left blank"),
    ]


def test_an_answer_that_is_broken_xml_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "a.xml"
    path.write_text(SOAP.format(records=SOAP_RECORD)[:400], "utf-8")
    with pytest.raises(Problem) as caught:
        read_file(path)
    assert caught.value.code == "CR-081"


async def test_persons_named_as_contacts_are_never_kept(pool: asyncpg.Pool, tmp_path: Path) -> None:
    async with pool.acquire() as conn:
        await providers.load_file(conn, write_lines(tmp_path / FILE, [RECORD]))
        kept = await conn.fetchval("SELECT string_agg(facts::text, '') FROM providers.version")
    assert "Perpetua" not in kept
    assert "Nobodyson" not in kept
    assert "Registry" in kept


async def test_a_provider_is_answered_as_ukrlp_answers_it(pool: asyncpg.Pool, tmp_path: Path) -> None:
    async with pool.acquire() as conn:
        report = await providers.load_file(conn, write_lines(tmp_path / FILE, [RECORD]))
        found = await record(conn, "10099001")
    assert (report.kind, report.providers, report.new, report.file_date) == ("ukrlp", 1, 1, date(2026, 3, 10))
    same = ("UKPRN", "ProviderName", "ProviderStatus", "ProviderAliases", "VerificationDetails")
    assert {name: found[name] for name in same} == {name: RECORD[name] for name in same}
    assert found["VerificationDate"] == "2022-09-15"
    assert (found["LegalAddress"]["Address1"], found["LegalAddress"]["Postcode"]) == (
        "1 Registered Row",
        "WM1 1AA",
    )
    assert (found["TradingAddress"]["Town"], found["PrimaryContact"]["ContactEmail"]) == (
        "Saltmere",
        "registry@saltmere.example",
    )


@pytest.mark.parametrize("gias_first", [True, False], ids=["GIAS first", "UKRLP first"])
async def test_a_school_and_its_ukrlp_record_are_one_whatever_came_first(
    pool: asyncpg.Pool, tmp_path: Path, gias_first: bool
) -> None:
    gias = extracts.write(tmp_path / "edubasealldata20260310.csv", [row(UKPRN="10099001")])
    ukrlp = write_lines(tmp_path / FILE, [RECORD])
    async with pool.acquire() as conn:
        await providers.ensure_platform(conn)
        for file in (gias, ukrlp) if gias_first else (ukrlp, gias):
            await providers.load_file(conn, file)
        school = await providers.school(conn, "990001")
        found = await record(conn, "10099001")
        everybody = await providers.find(conn, "10099001", kinds=providers.EVERYBODY)
        await providers.publish_to_directory(conn)
        kinds = await conn.fetch("SELECT kinds FROM hub.party WHERE kinds && '{school,learning provider}'")
        named = await hub.resolve_alias(conn, alias_urn("ukprn", "10099001"))
    assert school is not None
    assert school.name == "Fernside Infant School"  # neither source overwrites the other's items
    assert found["ProviderName"] == "SALTMERE COLLEGE LIMITED"
    assert [one["number"] for one in found["Establishments"]] == ["990001"]
    assert found["Party"] == named == school.party
    assert [one.urn for one in everybody] == ["990001"]
    assert [party["kinds"] for party in kinds] == [["school"]]


async def test_a_list_of_providers_never_undoes_the_verified_name(pool: asyncpg.Pool, tmp_path: Path) -> None:
    listed = tmp_path / "ukprn_providers.csv"
    listed.write_text(
        "ukprn,provider_name,provider_type,first_year,last_year\n"
        "10099001,SALTMERE COLL,General FE College,2022/23,2025/26\n"
        "10099009,ANOTHER LTD,Private Sector,2022/23,2025/26\n"
    )
    async with pool.acquire() as conn:
        await providers.load_file(conn, write_lines(tmp_path / FILE, [RECORD]))
        report = await providers.load_file(conn, listed)
        found = [await record(conn, ukprn) for ukprn in ("10099001", "10099009")]
        state = await providers.as_of.state(conn, "ukprn", "10099001", date.max)
    assert (report.kind, report.providers, report.new, report.changed) == ("providers", 2, 1, 1)
    assert [one["ProviderName"] for one in found] == ["SALTMERE COLLEGE LIMITED", "ANOTHER LTD"]
    assert state is not None
    assert state.facts["type"] == "General FE College"


async def test_a_deactivated_provider_is_closed_and_a_later_answer_changes_only_what_differs(
    pool: asyncpg.Pool, tmp_path: Path
) -> None:
    later = changed(
        ProviderStatus="Provider deactivated, not verified", ProviderAliases=[{"Name": "Saltmere Tech"}]
    )
    async with pool.acquire() as conn:
        await providers.load_file(conn, write_lines(tmp_path / FILE, [RECORD]))
        await providers.load_file(conn, write_lines(tmp_path / "ukrlp20260510.json", [later]))
        [change] = (await providers.between(conn, 1, 2)).changes
        names = await providers.as_of.names(conn, "ukprn", "10099001")
        then = await record(conn, "10099001", on=date(2026, 4, 1))
        now = await record(conn, "10099001")
    assert change.what == ("closed",)
    assert [item.item for item in change.items] == ["status", "trading_names", "ukrlp_status"]
    assert (then["ProviderStatus"], len(then["ProviderAliases"])) == ("Active", 2)
    assert (now["ProviderStatus"], len(now["ProviderAliases"])) == ("Provider deactivated, not verified", 1)
    assert [(one.use, one.name, one.until) for one in names] == [
        ("name", "SALTMERE COLLEGE LIMITED", None),
        ("trading name", "Saltmere Tech", None),
        ("trading name", "The Harbour Academy of Trades", date(2026, 5, 10)),
    ]


async def test_a_provider_is_found_by_its_trading_name(pool: asyncpg.Pool, tmp_path: Path) -> None:
    async with pool.acquire() as conn:
        await providers.load_file(conn, write_lines(tmp_path / FILE, [RECORD]))
        found = await providers.find(conn, "harbor academy trades", kinds=providers.EVERYBODY)
        schools = await providers.find(conn, "harbour")
    assert [(one.scheme, one.urn) for one in found] == [("ukprn", "10099001")]
    assert schools == []


async def test_schools_of_the_other_nations_load_and_the_hub_resolves_their_authority(
    pool: asyncpg.Pool, tmp_path: Path
) -> None:
    path = tmp_path / "nations20260310.csv"
    path.write_text(ukrlp_answers.NATIONS, "utf-8")
    async with pool.acquire() as conn:
        report = await providers.load_file(conn, path)
        await providers.publish_to_directory(conn)
        parties = [
            await hub.resolve_alias(conn, alias_urn(scheme, number))
            for scheme, number in (
                ("wales", "6714047"),
                ("scotland", "5530741"),
                ("northern-ireland", "1230456"),
            )
        ]
        authorities = [
            await conn.fetchval(
                "SELECT p.name FROM hub.relation r JOIN hub.party p ON p.urn = r.other"
                " WHERE r.party = $1 AND r.role = 'its local authority'",
                party,
            )
            for party in parties
        ]
        by_ukprn = await hub.resolve_alias(conn, alias_urn("ukprn", "10099103"))
        found = await providers.find(conn, "glen sampel")
        welsh = await record(conn, "10099101")
    assert (report.kind, report.schools, report.pupils, report.authorities, report.refused) == (
        "nations",
        3,
        1660,
        3,
        2,
    )
    assert authorities == ["Ceredigion Sample", "City of Sample", "Education Authority Sample"]
    assert None not in parties
    assert by_ukprn == parties[2]
    assert [(one.scheme, one.urn, one.la_name) for one in found] == [
        ("scotland", "5530741", "City of Sample")
    ]
    assert welsh["Establishments"][0]["scheme"] == "wales"


async def test_records_are_asked_for_by_day_and_page_by_page(pool: asyncpg.Pool, tmp_path: Path) -> None:
    many = [changed(UKPRN=str(10099001 + n)) for n in range(5)]
    async with pool.acquire() as conn:
        await providers.load_file(conn, write_lines(tmp_path / FILE, many))
        today = await conn.fetchval("SELECT engines.domain_now()::date")
        first = await providers.answers.records(conn, providers.answers.Asked(updated_since=today, limit=3))
        rest = await providers.answers.records(
            conn, providers.answers.Asked(updated_since=today, after=first[-1]["UKPRN"])
        )
        none = await providers.answers.records(conn, providers.answers.Asked(updated_since=date(2999, 1, 1)))
    assert [one["UKPRN"] for one in (*first, *rest)] == [one["UKPRN"] for one in many]
    assert none == []
