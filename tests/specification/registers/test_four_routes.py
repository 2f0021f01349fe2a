"""One learner, one number, whichever way somebody asks: look-up list, portal, REST and hub messages, SIF.

Each learner is first registered over another route; then everybody is asked for over every route.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest
from lxml import etree

from commonroom.registers.learners import batches
from commonroom.settings import Settings
from commonroom.standard import is_valid
from tests.unit.registers.learners.counter import Visitor, counter, person_of, token_of
from tests.unit.registers.learners.flow_world import FIRST, SECOND, World, upn, world_at
from tests.unit.registers.learners.test_files import NAME, csv_of

GENDERS = {"M": "1", "F": "2"}
PEOPLE = (
    ("Ada", "Lane", "2011-10-03", "F", "WM1 1AA"),
    ("Tobias", "Okonkwo", "2010-02-14", "M", "WM4 7QD"),
    ("Marguerite", "Fitzsimmons", "2012-06-30", "F", "EV2 3HP"),
    ("Zoltan", "Brightwater", "2009-12-25", "M", "EV9 8TY"),
    ("Siobhan", "Grantley-Hughes", "2011-05-17", "F", "WM7 5JJ"),
)
EVERYBODY = range(len(PEOPLE))


class AllRoutes(msgspec.Struct, frozen=True):
    """A school with a system at the hub, a person at the portal and a program at the interfaces."""

    world: World
    pool: Any
    office: Visitor
    program: Visitor
    other_school: Visitor

    async def hub_messages(self, *who: int) -> dict[int, str]:
        """The school's system tells of its pupils; the numbers that come back to it."""
        await self.world.tell_pupils(FIRST, [_record(one) for one in who])
        await self.world.take()
        told = await self.world.ulns(FIRST)
        return {one: told[upn(one)] for one in who if upn(one) in told}

    async def portal_single(self, *who: int) -> dict[int, str]:
        """The form, learner by learner."""
        found = {}
        for one in who:
            given, family, born, sex, postcode = PEOPLE[one]
            year, month, day = born.split("-")
            answer = await self.office.form(
                "/learners",
                {
                    "kind": "register", "given_name": given, "family_name": family, "day": day, "month": month,
                    "year": year, "gender": GENDERS[sex], "postcode": postcode, "purpose": "enrolment",
                    "verification_type": "1", "ability_to_share": "1",
                },
            )  # fmt: skip
            assert answer.status_code == 200
            (found[one],) = {
                number for number in re.findall(r"\b[1-9][0-9]{9}\b", answer.text) if is_valid("ULN", number)
            }
        return found

    async def portal_batch(self, *who: int) -> dict[int, str]:
        """A file handed in on the page, and its result file."""
        content = csv_of(*map(_batch_record, who))
        sent = await self.office.form(
            "/learners/batches", {"purpose": "enrolment"}, {"file": (NAME, content)}
        )
        assert sent.status_code == 303
        async with self.pool.acquire() as conn:
            while await batches.work_once(conn, self.world.numbers):
                pass
        job = sent.headers["location"].rpartition("/")[2]
        result = await self.program.get(f"/api/learners/batches/{job}/result")
        rows = list(csv.reader(io.StringIO(result.content.decode())))
        told = [dict(zip(rows[2], row, strict=True)) for row in rows[3:]]
        return {int(one["MISIdentifier"]): one["ULN"] for one in told}

    async def rest(self, *who: int) -> dict[int, str]:
        """The program registers over REST."""
        found = {}
        for one in who:
            given, family, born, sex, postcode = PEOPLE[one]
            answer = await self.program.post(
                "/api/learners/register",
                {
                    "given_name": given, "family_name": family, "date_of_birth": born, "gender": GENDERS[sex],
                    "postcode": postcode, "verification_type": "1", "ability_to_share": "1",
                },
            )  # fmt: skip
            found[one] = answer.json()["uln"]
        return found

    async def sif(self, *who: int) -> dict[int, str]:
        """The program creates SIF objects."""
        found = {}
        for one in who:
            answer = await self.program.post(
                "/api/sif/requests/LearnerPersonals/LearnerPersonal", _sif_object(one)
            )
            assert answer.status_code == 201
            found[one] = etree.fromstring(answer.content).findtext(".//{*}UniqueLearnerNumber") or ""
        return found

    async def look_up_list(self) -> dict[int, str]:
        """What stands on the school's list."""
        listed = (await self.program.get("/api/learners/numbers")).json()
        upns = {upn(one): one for one in EVERYBODY}
        return {upns[pupil["upn"]]: pupil["uln"] for pupil in listed}


def _record(one: int) -> dict[str, Any]:
    given, family, born, sex, postcode = PEOPLE[one]
    return {
        "school": FIRST, "upn": upn(one), "given_name": given, "family_name": family, "date_of_birth": born,
        "sex": sex, "postcode": postcode, "valid_from": "2025-09-01", "version": 1,
    }  # fmt: skip


def _batch_record(one: int) -> dict[str, str]:
    given, family, born, sex, postcode = PEOPLE[one]
    return {
        "MISIdentifier": str(one), "GivenName": given, "FamilyName": family, "DateOfBirth": born,
        "Gender": GENDERS[sex], "LastKnownPostCode": postcode, "VerificationType": "1", "AbilityToShare": "1",
    }  # fmt: skip


def _sif_object(one: int) -> bytes:
    given, family, born, sex, postcode = PEOPLE[one]
    return (
        f'<LearnerPersonal xmlns="urn:example"><LocalId>{one}</LocalId><PersonalInformation><Name Type="C">'
        f"<FamilyName>{family}</FamilyName><GivenName>{given}</GivenName></Name><Demographics>"
        f"<BirthDate>{born}</BirthDate><Gender>{sex}</Gender></Demographics><Address Type='C'>"
        f"<PostCode>{postcode}</PostCode></Address></PersonalInformation></LearnerPersonal>"
    ).encode()


@pytest.fixture
async def routes(settings: Settings, pool: Any, tmp_path: Path) -> AsyncIterator[AllRoutes]:
    async with AsyncExitStack() as stack:
        at = await stack.enter_async_context(counter(settings, pool))
        world = await stack.enter_async_context(world_at(settings, pool, tmp_path))
        client = at.public.client
        school = world.parties[FIRST]
        yield AllRoutes(
            world=world,
            pool=pool,
            office=await person_of(client, world.connection, "school", school),
            program=Visitor(
                client,
                {
                    "Authorization": f"Bearer {await token_of(world.connection, settings, school)}",
                    "X-Purpose": "enrolment",
                },
            ),
            other_school=await person_of(client, world.connection, "school", world.parties[SECOND]),
        )


async def test_every_route_gives_every_learner_the_same_number(routes: AllRoutes) -> None:
    first = [
        await routes.hub_messages(0),
        await routes.portal_single(1),
        await routes.portal_batch(2),
        await routes.rest(3),
        await routes.sif(4),
    ]
    numbers = {one: uln for issued in first for one, uln in issued.items()}
    assert set(numbers) == set(EVERYBODY)
    assert len(set(numbers.values())) == len(PEOPLE)
    assert all(is_valid("ULN", uln) for uln in numbers.values())

    assert await routes.portal_single(*EVERYBODY) == numbers
    assert await routes.portal_batch(*EVERYBODY) == numbers
    assert await routes.rest(*EVERYBODY) == numbers
    assert await routes.sif(*EVERYBODY) == numbers
    # Who had been told of before is not told again; the four others are new to the school's system.
    assert await routes.hub_messages(*EVERYBODY) == {one: numbers[one] for one in EVERYBODY if one}
    assert await routes.look_up_list() == numbers
    assert await routes.world.connection.fetchval("SELECT count(*) FROM learners.uln") == len(PEOPLE)


async def test_the_list_is_the_same_on_the_page_and_in_the_file_and_is_the_schools_alone(
    routes: AllRoutes,
) -> None:
    numbers = await routes.hub_messages(*EVERYBODY)
    page = await routes.office.get("/my/school/numbers")
    assert page.status_code == 200
    assert all(uln in page.text for uln in numbers.values())
    on_page = (await routes.office.get("/my/school/numbers.json")).json()["tables"]["numbers"]
    assert {row["upn"]: row["uln"] for row in on_page} == {upn(one): uln for one, uln in numbers.items()}
    rows = list(csv.DictReader(io.StringIO((await routes.program.get("/api/learners/numbers.csv")).text)))
    assert {row["UPN"]: row["ULN"] for row in rows} == {upn(one): uln for one, uln in numbers.items()}
    for path in ("/my/school/numbers", "/api/learners/numbers", "/api/learners/numbers.csv"):
        other = await routes.other_school.get(path)
        assert other.status_code == 200
        assert not any(uln in other.text for uln in numbers.values())
        public = Visitor(routes.office.client, {"X-Purpose": "enrolment"})
        assert (await public.get(path)).status_code == 401
