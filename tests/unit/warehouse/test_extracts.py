"""Extracts: who may ask and decide, what is frozen, how it is proved, and that it is made again byte for byte."""

from __future__ import annotations

import asyncio
import csv
import os
from collections.abc import AsyncIterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from joserfc.jwk import OKPKey

from commonroom.engines import clock
from commonroom.exchange import keys
from commonroom.hub import assurance
from commonroom.identity import PUBLIC, Principal
from commonroom.ids import alias_urn
from commonroom.problems import Problem
from commonroom.settings import Settings
from commonroom.warehouse.extracts import model, office, packing, register, rights
from commonroom.warehouse.extracts.model import Declaration
from tests.unit.warehouse.house import House, enrolment, mark, upn

A, B = "990001", "990002"
GOVERNANCE = Principal(kind="person", id="g1", role="governance")
OPERATOR = Principal(kind="person", id="o1", role="operator")
DAYS = ["2026-09-07", "2026-09-08"]


class Desk(msgspec.Struct):
    """A warehouse with some marks and stays, and a school that asks for an extract of them."""

    house: House
    settings: Settings
    connection: Any
    today: date

    @property
    def requester(self) -> Principal:
        """Somebody of school B."""
        return Principal(kind="person", id="r1", role="school", party=self.house.parties[B])

    def asked(self, **changes: Any) -> Declaration:
        """A request that nothing is wrong with, and what is wrong in it."""
        values: dict[str, Any] = {
            "name": "attendance-study", "title": "Attendance in two schools", "requester": alias_urn("urn", B),
            "purpose": "research into attendance", "legal_basis": "public task", "form": "pseudonymised",
            "tables": [
                {"entity": "attendance_mark", "first": "2026-09-01", "last": "2026-09-30",
                 "items": ["school", "date", "session", "code"]},
                {"entity": "enrolment", "on": "2026-09-08", "items": ["school", "nc_year"]},
            ],
            "checking_from": self.today, "freeze_on": self.today, "expires_on": self.today + timedelta(days=30),
            "evidence": "a certificate",
        }  # fmt: skip
        return msgspec.convert({**values, **changes}, Declaration)

    async def protect(self, level: Any = "confidential", **changes: Any) -> None:
        """Dated evidence that the requester protects data."""
        values = {"valid_from": self.today, "valid_to": self.today + timedelta(days=365), **changes}
        await assurance.record(
            self.connection,
            [self.house.parties[B]],
            level,
            kind="certificate",
            reference="certificate 17",
            by="test",
            **values,
        )

    async def frozen(self, **changes: Any) -> Path:
        """The folder of an extract that went the whole way."""
        await self.protect()
        asked = self.asked(**changes)
        await office.request(self.connection, asked, self.requester)
        await office.decide(self.connection, asked.name, True, GOVERNANCE, "proportionate")
        await office.freeze(self.settings, self.connection, self.house.duck, asked.name, OPERATOR)
        return await self.get(asked.name)

    async def get(self, name: str = "attendance-study", who: Principal | None = None) -> Path:
        """The folder, as the requester reads it."""
        return await office.folder_of(self.settings, self.connection, name, who or self.requester, "reading")


@pytest.fixture
async def desk(settings: Settings, pool: Any) -> AsyncIterator[Desk]:
    async with pool.acquire() as connection:
        house = await House(connection, settings, [A, B]).open()
        await house.register()
        marks = [mark(A, pupil, day, "AM", "/" if pupil else "N") for pupil in range(3) for day in DAYS]
        await house.load(
            house.letter(A, "attendance_mark", marks),
            house.letter(A, "enrolment", [enrolment(A, pupil, "2026-09-01") for pupil in range(3)]),
        )
        yield Desk(house, settings, connection, await clock.today(connection))
        house.duck.close()


def _rows(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / name).open(newline="") as file:
        return list(csv.DictReader(file))


# What is wrong with a request, and words of the answer.
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"name": "../up"}, "its name"),
    ({"tables": []}, "no table"),
    ({"tables": [{"entity": "nothing", "items": [], "on": "2026-09-08"}]}, "no entity"),
    ({"tables": [{"entity": "enrolment", "items": ["shoe_size"], "on": "2026-09-08"}]}, "shoe_size"),
    ({"tables": [{"entity": "enrolment", "items": ["nc_year"]}]}, "of a day"),
    ({"tables": [{"entity": "enrolment", "items": ["upn"], "on": "2026-09-08"}]}, "would name persons"),
    ({"tables": [{"entity": "learner", "items": ["postcode"], "on": "2026-09-08"}]}, "would name persons"),
    (
        {"tables": [{"entity": "learner", "items": ["date_of_birth"], "on": "2026-09-08"}]},
        "would name persons",
    ),
    (
        {"tables": [{"entity": "address", "items": ["easting", "northing"], "on": "2026-09-08"}]},
        "would name persons",
    ),
    ({"tables": [{"entity": "enrolment", "items": [], "on": "2026-09-08"}]}, "no item of it"),
    (
        {
            "tables": [
                {"entity": "enrolment", "items": ["nc_year"], "first": "2026-09-08", "last": "2026-09-07"}
            ]
        },
        "before the first",
    ),
    ({"freeze_on": "2020-01-01"}, "follow each other"),
    ({"expires_on": "9999-12-31"}, "10 years from today"),
    ({"evidence_on": "9999-01-01"}, "day of the evidence has come"),
]


@pytest.mark.parametrize(("changes", "words"), WRONG, ids=[words for _, words in WRONG])
async def test_a_request_that_cannot_be_met_is_refused_at_once(
    desk: Desk, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(Problem, match=words) as raised:
        await office.request(desk.connection, desk.asked(**changes), desk.requester)
    assert raised.value.code == "CR-265"
    assert await office.listed(desk.connection, GOVERNANCE) == []


async def test_nobody_asks_for_another_and_nobody_decides_for_itself(desk: Desk) -> None:
    other = Principal(kind="person", id="x", role="school", party=desk.house.parties[A])
    with pytest.raises(Problem, match="not you"):
        await office.request(desk.connection, desk.asked(), other)
    await office.request(desk.connection, desk.asked(), desk.requester)
    with pytest.raises(Problem, match="its own"):
        await office.decide(desk.connection, "attendance-study", True, desk.requester, "please")


async def test_without_evidence_that_holds_today_nothing_is_approved(desk: Desk) -> None:
    await office.request(desk.connection, desk.asked(), desk.requester)
    yesterday = desk.today - timedelta(days=1)
    await desk.protect(valid_from=yesterday - timedelta(days=9), valid_to=yesterday)
    await desk.protect(level="internal")
    with pytest.raises(Problem) as raised:
        await office.decide(desk.connection, "attendance-study", True, GOVERNANCE, "why not")
    assert raised.value.code == "CR-269"
    await desk.protect()
    found = await office.decide(desk.connection, "attendance-study", True, GOVERNANCE, "proportionate")
    assert found.state == "approved"


async def test_what_is_approved_is_announced_to_everybody_with_its_day_and_stays_in_the_register(
    desk: Desk,
) -> None:
    later = desk.today + timedelta(days=14)
    asked = desk.asked(freeze_on=later)
    await office.request(desk.connection, asked, desk.requester)
    assert await register.announced(desk.connection, PUBLIC, "a test") == []
    await desk.protect()
    await office.decide(desk.connection, asked.name, True, GOVERNANCE, "proportionate")
    (one,) = await register.announced(desk.connection, PUBLIC, "a test")
    assert (one.requester, one.state, one.declaration.freeze_on) == (f"School {B}", "approved", later)
    assert one.approved_at is not None
    # Known of, and no more: it is not made before its day, and nobody reads it but its requester.
    with pytest.raises(Problem, match="it is frozen on"):
        await office.freeze(desk.settings, desk.connection, desk.house.duck, asked.name, OPERATOR)
    with pytest.raises(Problem, match="CR-111"):
        await desk.get(who=PUBLIC)


async def test_what_is_frozen_is_what_was_asked_with_pupils_behind_pseudonyms(desk: Desk) -> None:
    folder = await desk.frozen()
    marks, stays = _rows(folder, "attendance_mark.csv"), _rows(folder, "enrolment.csv")
    assert (len(marks), len(stays)) == (6, 3)
    assert set(marks[0]) == {"pupil", "school", "date", "session", "code", "valid_from", "valid_to"}
    assert {row["pupil"] for row in marks} == {row["pupil"] for row in stays}
    content = b"".join(path.read_bytes() for path in folder.iterdir())
    assert upn(1).encode() not in content
    assert packing.verify(folder, packing.signing_key(desk.settings)).form == "pseudonymised"


async def test_two_extracts_share_no_pseudonym(desk: Desk) -> None:
    one = {row["pupil"] for row in _rows(await desk.frozen(), "enrolment.csv")}
    other = {row["pupil"] for row in _rows(await desk.frozen(name="another-study"), "enrolment.csv")}
    assert len(one) == len(other) == 3
    assert one.isdisjoint(other)


async def test_identifiable_needs_more_protection_and_then_has_the_names_asked_for(desk: Desk) -> None:
    tables = [{"entity": "enrolment", "on": "2026-09-08", "items": ["school", "upn", "nc_year"]}]
    with pytest.raises(Problem) as raised:
        await desk.frozen(form="identifiable", tables=tables)
    assert raised.value.code == "CR-269"
    await desk.protect(level="restricted")
    await office.decide(desk.connection, "attendance-study", True, GOVERNANCE, "the law says so")
    await office.freeze(desk.settings, desk.connection, desk.house.duck, "attendance-study", OPERATOR)
    assert {row["upn"] for row in _rows(await desk.get(), "enrolment.csv")} == {upn(n) for n in range(3)}


async def test_made_again_after_corrections_it_is_the_same_to_the_byte(desk: Desk) -> None:
    folder = await desk.frozen()
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    late = [mark(A, 0, DAYS[0], "AM", "I", version=2), mark(A, 7, DAYS[0], "AM", "/")]
    await desk.house.load(desk.house.letter(A, "attendance_mark", late))
    args = desk.settings, desk.connection, desk.house.duck
    assert await office.made_again(*args, "attendance-study") == []
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    later = {row["code"] for row in _rows(await desk.frozen(name="later"), "attendance_mark.csv")}
    assert later == {"/", "I", "N"}


async def test_any_changed_byte_and_any_other_key_is_found(desk: Desk) -> None:
    folder = await desk.frozen()
    public = packing.public_key(msgspec.json.encode(keys.public_jwk(packing.signing_key(desk.settings))))
    packing.verify(folder, public)
    with pytest.raises(Problem, match="signature"):
        packing.verify(folder, OKPKey.generate_key("Ed25519"))
    for path in sorted(folder.iterdir()):
        whole = path.read_bytes()
        path.write_bytes(whole[:-3] + bytes([whole[-3] ^ 1]) + whole[-2:])
        with pytest.raises(Problem) as raised:
            packing.verify(folder, public)
        assert raised.value.code == "CR-268"
        path.write_bytes(whole)
    (folder / "enrolment.csv").unlink()
    with pytest.raises(Problem, match=r"enrolment\.csv"):
        packing.verify(folder, public)


async def test_files_as_a_browser_saved_them_are_verified_and_two_extracts_in_one_folder_are_not(
    desk: Desk, tmp_path: Path
) -> None:
    folder = await desk.frozen()
    public = packing.public_key(msgspec.json.encode(keys.public_jwk(packing.signing_key(desk.settings))))
    saved = tmp_path / "saved"
    saved.mkdir()
    for path in folder.iterdir():
        (saved / f"attendance-study-{path.name}").write_bytes(path.read_bytes())
    assert packing.verify(saved, public) == packing.verify(folder, public)
    enrolments = saved / "attendance-study-enrolment.csv"
    enrolments.write_bytes(enrolments.read_bytes() + b" ")
    with pytest.raises(Problem, match=r"attendance-study-enrolment\.csv"):
        packing.verify(saved, public)
    (saved / "other-manifest.json").write_bytes(b"")
    with pytest.raises(Problem, match="2 extracts"):
        packing.verify(saved, public)


async def test_only_the_requester_reads_it_only_while_it_lasts_and_every_read_is_noted(desk: Desk) -> None:
    folder = await desk.frozen()
    stranger = Principal(kind="person", id="x", role="school", party=desk.house.parties[A])
    with pytest.raises(Problem) as raised:
        await desk.get(who=stranger)
    assert raised.value.code == "CR-266"
    for other in (GOVERNANCE, OPERATOR):  # who know of it
        with pytest.raises(Problem, match="CR-337"):
            await desk.get(who=other)
    reads = await desk.connection.fetch("SELECT purpose, rows FROM access.audit WHERE dataset = 'extracts'")
    assert [tuple(row) for row in reads] == [("reading", 9)]
    await clock.set_to(desk.connection, desk.settings, await clock.now(desk.connection) + timedelta(days=31))
    with pytest.raises(Problem, match="over"):
        await desk.get()
    await office.expire(desk.settings, desk.connection)
    assert not folder.exists()
    found = await office.visible(desk.connection, "attendance-study", desk.requester)
    assert (found.state, found.manifest is not None) == ("expired", True)
    assert [step.step for step in await office.history(desk.connection, found.name)] == [
        "requested", "approved", "frozen", "expired",
    ]  # fmt: skip


async def test_files_that_cannot_be_deleted_are_tried_again_and_litter_goes(
    desk: Desk,
) -> None:
    folder = await desk.frozen()
    litter = folder.parent / ".attendance-study.x.trial"
    litter.mkdir()
    os.utime(litter, (0, 0))
    await clock.set_to(desk.connection, desk.settings, await clock.now(desk.connection) + timedelta(days=31))
    away = folder.rename(folder.parent / "elsewhere")
    folder.write_text("no folder: it cannot be removed as one")
    await office.expire(desk.settings, desk.connection)
    assert (await office.visible(desk.connection, "attendance-study", desk.requester)).state == "frozen"
    assert not litter.exists()
    folder.unlink()
    away.rename(folder)
    await office.expire(desk.settings, desk.connection)
    assert not folder.exists()


async def test_freezing_waits_for_what_is_being_written(desk: Desk, pool: Any) -> None:
    await desk.protect()
    await office.request(desk.connection, desk.asked(), desk.requester)
    await office.decide(desk.connection, "attendance-study", True, GOVERNANCE, "proportionate")
    async with pool.acquire() as other:
        transaction = other.transaction()
        await transaction.start()
        await other.execute("SELECT pg_current_xact_id()")
        freezing = asyncio.create_task(
            office.freeze(desk.settings, desk.connection, desk.house.duck, "attendance-study", OPERATOR)
        )
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(freezing), 0.3)
        await transaction.commit()
        assert (await freezing).state == "frozen"


async def test_nothing_is_frozen_before_its_day_nor_checked_before_its_window(desk: Desk) -> None:
    await desk.protect()
    later = desk.today + timedelta(days=5)
    asked = desk.asked(checking_from=later, freeze_on=later)
    await office.request(desk.connection, asked, desk.requester)
    await office.decide(desk.connection, asked.name, True, GOVERNANCE, "proportionate")
    args = desk.settings, desk.connection, desk.house.duck, asked.name, OPERATOR
    for step in (office.trial, office.freeze):
        with pytest.raises(Problem, match=str(later)):
            await step(*args)
    await clock.set_to(desk.connection, desk.settings, await clock.now(desk.connection) + timedelta(days=5))
    with pytest.raises(Problem, match="CR-337"):  # who decided needs no look at what comes of it
        await office.trial(*args[:4], GOVERNANCE)
    tried = await office.trial(*args)
    assert [file.rows for file in tried] == [6, 3]
    assert not list(desk.settings.folder("extracts").iterdir())
    frozen = await office.freeze(*args)
    assert frozen.manifest is not None
    assert list(frozen.manifest.files) == tried


def test_the_request_of_the_page_is_a_good_one(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "extracts.md").read_text("utf-8")
    (tmp_path / "request.yaml").write_text(page.partition("```yaml\n")[2].partition("```")[0])
    assert model.load(tmp_path / "request.yaml").form == "pseudonymised"


async def test_who_is_of_another_role_neither_decides_nor_freezes(desk: Desk) -> None:
    await desk.protect()
    await office.request(desk.connection, desk.asked(), desk.requester)
    with pytest.raises(Problem, match="to decide is for governance") as raised:
        await office.decide(desk.connection, "attendance-study", True, OPERATOR, "of its own accord")
    assert (raised.value.code, raised.value.status) == ("CR-337", 403)
    await office.decide(desk.connection, "attendance-study", True, GOVERNANCE, "proportionate")
    for who in (desk.requester, GOVERNANCE):
        with pytest.raises(Problem, match="to freeze is for operator"):
            await office.freeze(desk.settings, desk.connection, desk.house.duck, "attendance-study", who)


async def test_a_party_has_so_many_requests_waiting_and_no_more(desk: Desk) -> None:
    for number in range(rights.MOST_WAITING):
        await office.request(desk.connection, desk.asked(name=f"study-{number}"), desk.requester)
    with pytest.raises(Problem, match="wait for a decision") as raised:
        await office.request(desk.connection, desk.asked(name="one-more"), desk.requester)
    assert (raised.value.code, raised.value.status) == ("CR-336", 429)
    await office.decide(desk.connection, "study-0", False, GOVERNANCE, "no")
    await office.request(desk.connection, desk.asked(name="one-more"), desk.requester)


async def test_requests_at_the_same_moment_do_not_pass_the_most_that_may_wait(desk: Desk, pool: Any) -> None:
    for number in range(rights.MOST_WAITING - 1):
        await office.request(desk.connection, desk.asked(name=f"study-{number}"), desk.requester)

    async def ask(name: str) -> str:
        async with pool.acquire() as connection:
            try:
                return (await office.request(connection, desk.asked(name=name), desk.requester)).state
            except Problem as problem:
                return problem.code

    answers = await asyncio.gather(*(ask(f"more-{number}") for number in range(4)))
    assert sorted(answers) == ["CR-336"] * 3 + ["requested"]


async def test_a_requester_tries_with_protection_of_that_day_alone(desk: Desk) -> None:
    await desk.protect(valid_to=desk.today)
    await office.request(desk.connection, desk.asked(), desk.requester)
    await office.decide(desk.connection, "attendance-study", True, GOVERNANCE, "proportionate")
    args = desk.settings, desk.connection, desk.house.duck, "attendance-study"
    assert await office.trial(*args, desk.requester)
    await clock.set_to(desk.connection, desk.settings, await clock.now(desk.connection) + timedelta(days=2))
    with pytest.raises(Problem, match="CR-269"):
        await office.trial(*args, desk.requester)
    assert await office.trial(*args, OPERATOR)


async def test_ten_years_after_a_leap_day_is_a_day(desk: Desk) -> None:
    leap = date(2028, 2, 29)
    model.judge_days(desk.asked(expires_on=date(2038, 2, 28)), leap)
    with pytest.raises(Problem, match="10 years from today"):
        model.judge_days(desk.asked(expires_on=date(2038, 3, 1)), leap)


@pytest.mark.parametrize(
    "changes", [{"purpose": ""}, {"purpose": "x" * 2001}, {"title": "a\0b"}, {"schools": ["990001"] * 2001}]
)
async def test_what_is_written_by_hand_has_its_bounds(desk: Desk, changes: dict[str, Any]) -> None:
    with pytest.raises(Problem, match=r"characters that can be printed|at most 2,000 schools"):
        await office.request(desk.connection, desk.asked(**changes), desk.requester)


async def test_what_is_known_is_told_by_the_clock_of_the_letters(desk: Desk) -> None:
    """A demonstration's day is another than the real one, and letters are accepted by it."""
    ahead = await clock.now(desk.connection) + timedelta(days=2)
    await clock.set_to(desk.connection, desk.settings, ahead)
    await desk.frozen()
    found = await office.visible(desk.connection, "attendance-study", desk.requester)
    assert found.known_at is not None
    assert found.known_at >= ahead
