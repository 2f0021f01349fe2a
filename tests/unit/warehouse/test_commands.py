"""The commands print what the warehouse holds."""

from __future__ import annotations

import asyncio
import csv
import io
import socket
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from commonroom.cli import _build
from commonroom.engines import clock
from commonroom.hub import directory
from commonroom.identity import PUBLIC
from commonroom.problems import Problem
from commonroom.settings import HUB_ADDRESS, Settings
from commonroom.warehouse import loader, measures
from commonroom.warehouse.commands import app
from commonroom.warehouse.reader import open_reader
from tests.unit.warehouse.house import House, enrolment

A, B, C = "990001", "990002", "990003"
ASKED = ["measure", "headcount", "--first", "2026-09-07", "--last", "2026-09-07", "--grain", "day"]


@pytest.fixture
async def loaded(pool: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Nine pupils at one school, two at each of two others."""
    async with pool.acquire() as connection:
        await clock.set_to(connection, settings, datetime.fromisoformat("2026-09-08T12:00+00:00"))
        house = await House(connection, settings, [A, B, C]).open()
        await house.register()
        await house.load(
            house.letter(A, "enrolment", [enrolment(A, n, "2026-09-01") for n in range(1, 10)]),
            house.letter(B, "enrolment", [enrolment(B, n, "2026-09-01") for n in (10, 11)]),
            house.letter(C, "enrolment", [enrolment(C, n, "2026-09-01") for n in (12, 13)]),
        )
    monkeypatch.setenv("COMMONROOM_DATABASE", str(settings.database))
    monkeypatch.setenv("COMMONROOM_DATA", str(settings.data))
    return settings


def run(*arguments: str) -> str:
    done = CliRunner().invoke(app, list(arguments), catch_exceptions=False, env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    return done.stdout


def test_figures_as_csv_json_and_table_and_the_status(loaded: Settings) -> None:
    rows = list(csv.DictReader(io.StringIO(run(*ASKED, "--level", "school", "--format", "csv"))))
    assert [(row["unit"], row["value"], row["numerator"]) for row in rows] == [
        (A, "9", "9"),
        (B, "", ""),
        (C, "", ""),
    ]
    assert [row["symbol"] for row in rows] == ["", "c", "c"]
    (nation,) = msgspec.json.decode(run(*ASKED, "--format", "json"))
    assert (nation["unit"], nation["numerator"], nation["symbol"]) == ("E92000001", 13, None)
    assert "School 990001" in run(*ASKED, "--level", "school", "--unit", A)
    status = msgspec.json.decode(run("status", "--json"))
    assert [(table["table"], table["rows"]) for table in status["tables"]] == [
        ("enrolment", 13),
        ("organisation", 3),
    ]


def test_no_other_measure_is_compiled_than_the_one_asked_for(
    loaded: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled, compile_one = set(), measures.duckdb_sql

    def noted(name: str) -> str:
        compiled.add(name)
        return compile_one(name)

    monkeypatch.setattr(measures, "duckdb_sql", noted)
    run(*ASKED)
    assert compiled == {"headcount"}


def test_figures_of_one_day_as_parquet_by_the_shorter_name(loaded: Settings, tmp_path: Path) -> None:
    asked = [
        "measure",
        "headcount",
        "--by",
        "school",
        "--on",
        "2026-09-07",
        "--grain",
        "day",
        "--format",
        "parquet",
    ]
    done = CliRunner().invoke(
        _build(asked), [*asked, "--output", str(tmp_path / "f.parquet")], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    rows = pq.read_table(tmp_path / "f.parquet").to_pylist()
    assert [(row["unit"], row["value"], row["symbol"]) for row in rows] == [
        (A, Decimal(9), None),
        (B, None, "c"),
        (C, None, "c"),
    ]


def test_without_a_grain_a_measure_has_the_one_that_it_is_made_by(loaded: Settings) -> None:
    asked = ["measure", "leavers_to_education", "--on", "2026-09-07"]
    assert run(*asked).count("year") == run(*asked, "--grain", "year").count("year")
    assert "day" in run(*ASKED)


def test_of_what_nothing_is_known_something_is_said(loaded: Settings) -> None:
    asked = ["measure", "expected_joiners", "--on", "2026-09-07"]
    done = CliRunner().invoke(app, asked, catch_exceptions=False)
    assert "Nothing is known of expected_joiners" in done.stderr
    pupil = ["life", "A801200001001", "--as", "analyst", "--purpose", "a test"]
    assert "Nothing is known" in CliRunner().invoke(app, pupil, catch_exceptions=False).stderr
    assert CliRunner().invoke(app, ASKED, catch_exceptions=False).stderr == ""


def test_a_state_on_one_day_is_that_of_the_day(loaded: Settings) -> None:
    assert run("measure", "headcount", "--on", "2026-09-07").count("2026-09-07") == 1
    assert "Autumn term" in run("measure", "headcount", "--on", "2026-09-07", "--grain", "term")
    several = ["--first", "2026-09-07", "--last", "2026-09-08"]
    assert "Autumn term" in run("measure", "headcount", *several)


def test_a_table_says_as_of_when_it_is_and_what_its_symbols_mean(loaded: Settings) -> None:
    shown = run(*ASKED, "--level", "school")
    assert "As known on 8 September 2026 at 13:00, England's time" in shown
    assert "c = withheld to protect individuals" in shown
    assert "denominator" not in shown  # a count has none
    assert "denominator" in run(*ASKED, "--level", "school", "--format", "csv")


async def test_a_table_says_when_its_figures_were_released(
    loaded: Settings, pool: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMMONROOM_FIGURES", "released")
    async with pool.acquire() as connection:
        await clock.set_to(connection, loaded, datetime.fromisoformat("2026-09-09T12:00+00:00"))
    shown = await asyncio.to_thread(run, "measure", "headcount", "--on", "2026-09-08", "--by", "school")
    assert "As released on 8 September 2026 at 17:00, England's time" in shown


async def test_questions_of_one_moment_see_no_release_that_came_after_it(loaded: Settings, pool: Any) -> None:
    reader = open_reader(msgspec.structs.replace(loaded, figures="released"))
    day = {"first": date(2026, 9, 8), "last": date(2026, 9, 8)}
    try:
        async with pool.acquire() as connection:
            await clock.set_to(connection, loaded, datetime.fromisoformat("2026-09-08T16:30+00:00"))
            seen = [
                await reader.figures(
                    connection, PUBLIC, measure="headcount", level="national", grain="day", **day, now=now
                )
                for now in (datetime.fromisoformat("2026-09-08T15:59+00:00"), None)
            ]
    finally:
        reader.close()
    assert [len(found) for found in seen] == [0, 1]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (["--first", "2026-09-08", "--last", "2026-09-07"], "the first day is after the last one"),
        (["--on", "2026-09-09"], "2026-09-09 has not come yet"),
        (["--on", "2026-09-05"], "there is no school on Saturday 2026-09-05"),
        (["--on", "2026-09-07", "--by", "school", "--unit", "123"], "the register knows no school 123"),
        (["--on", "2026-09-07", "--known-at", "yesterday"], "is not a time"),
        (["--on", "2026-09-07", "--known-at", "2026-09-07T18:00"], "without its zone"),
        (["--on", "2026-09-07", "--known-at", "2026-09-08T18:00Z"], "has not come yet"),
    ],
)
def test_what_cannot_be_answered_is_a_problem_that_says_why(
    loaded: Settings, wrong: list[str], said: str
) -> None:
    with pytest.raises(Problem, match=said) as caught:
        run("measure", "headcount", *wrong)
    assert caught.value.code == "CR-063"


async def test_a_hub_that_does_not_answer_is_a_problem_with_its_address(loaded: Settings, pool: Any) -> None:
    party = "urn:commonroom:org:00000000-0000-7000-8000-000000000001"
    named = [directory.Alias(loader.WAREHOUSE, party)]
    async with pool.acquire() as connection:
        await directory.publish(
            connection, [directory.Party(party, "The warehouse", ("platform",))], named, []
        )
    folder = loaded.folder("run")
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{taken.getsockname()[1]}"
        (folder / HUB_ADDRESS).write_text(address, "utf-8")
        with pytest.raises(Problem) as caught:
            await asyncio.to_thread(run, "replay")
    assert (caught.value.code, caught.value.where) == ("CR-340", address)


def test_the_tables_are_compacted_and_looked_through(loaded: Settings) -> None:
    assert "2 tables compacted" in run("compact")
    checked = msgspec.json.decode(run("verify", "--json"))
    assert [(one["table"], one["rows"], one["faults"]) for one in checked] == [
        ("enrolment", 13, []),
        ("organisation", 3, []),
    ]


def test_looking_back_as_an_analyst_names_no_pupil(loaded: Settings) -> None:
    printed = run("state", "enrolment", "--on", "2026-09-07", "--purpose", "a test")
    rows = [msgspec.json.decode(line) for line in printed.splitlines()]
    assert len(rows) == 13
    assert not any("upn" in row for row in rows)


def test_a_measure_that_does_not_exist_is_answered_with_those_that_do(loaded: Settings) -> None:
    with pytest.raises(Problem, match="Use one of: absence_authorised"):
        run("measure", "happiness", "--first", "2026-09-07", "--last", "2026-09-07")


def test_where_a_figure_comes_from(loaded: Settings) -> None:
    asked = ["lineage", "headcount", "--on", "2026-09-07", "--grain", "day", "--unit"]
    printed = run(*asked, A)
    assert "headcount, School 990001, 2026-09-07: 9" in printed
    assert "Enrolment: table version 1" in printed
    assert "batch 2, position 4 of the hub" in printed
    hidden = msgspec.json.decode(run(*asked, B, "--json"))
    assert (hidden["figure"]["symbol"], hidden["parts"][0]["senders"]) == ("c", None)
    assert "hidden" in hidden["withheld"]
    known = msgspec.json.decode(run(*asked, B, "--json", "--as", "analyst", "--rows", "1"))
    enrolments = known["parts"][0]
    assert (enrolments["facts"], enrolments["all_messages"], len(enrolments["shown"])) == (2, 1, 1)
    assert "upn" not in enrolments["shown"][0]
    assert "2 facts in 2 rows and 1 messages" in run(*asked, B, "--as", "analyst")
