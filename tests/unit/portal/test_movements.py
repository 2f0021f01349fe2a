"""The register of movements on the portal: everybody reads it, members of the governance group vote and decide there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from litestar.testing import AsyncTestClient

from commonroom import identity
from commonroom.hub import agreements
from commonroom.hub.agreements import Actor, Proposal
from commonroom.hub.movement_register import registered
from commonroom.identity import Role
from commonroom.portal.app import create_app
from commonroom.portal.house import SESSION_COOKIE
from commonroom.settings import Settings
from tests.conftest import settings_with
from tests.unit.hub.test_agreements import CRITERIA, MEALS
from tests.unit.registers.learners.counter import Visitor

PASSWORD = "a-sample-password"
POLICY = """
rule: {quorum: 2, front_line_votes: 1, majority: more than half}
front_line_kinds: [school]
members:
  - {id: chair, name: Ada Okafor, kind: department, account: Chair, named: true}
  - {id: first-school, name: Ben Unwin, kind: school, account: head}
  - {id: dairy, name: Col Byre, kind: supplier, account: dairyman}
"""
DAIRY = "urn:commonroom:org:0190a000-0000-7000-8000-000000000001"
WHY = "It saves a form"
READ = {"version": "1"}  # as the form that was shown says


class Room(msgspec.Struct, frozen=True):
    """The portal with those who come to it."""

    pool: Any
    chair: Visitor
    head: Visitor
    analyst: Visitor
    public: Visitor

    async def movement(self) -> Any:
        async with self.pool.acquire() as conn:
            return await registered(conn, "meals")


@pytest.fixture
async def room(settings: Settings, pool: Any) -> AsyncIterator[Room]:
    settings.data.mkdir(parents=True, exist_ok=True)
    (settings.data / "group.yaml").write_text(POLICY)
    app = create_app(settings_with(settings, governance="group.yaml"))
    async with AsyncTestClient(app) as client:
        async with pool.acquire() as conn:
            proposal = {"movement": MEALS, "criteria": CRITERIA, "reason": "The auditors asked"}
            operator = Actor(role="operator", name="A. Clerk")
            await agreements.propose(conn, operator, msgspec.convert(proposal, Proposal))
            people = {
                "chair": await _signed_in(client, conn, "chair", "governance"),
                "head": await _signed_in(client, conn, "head", "analyst"),
                "analyst": await _signed_in(client, conn, "someone", "analyst"),
            }
        yield Room(pool=pool, public=Visitor(client, {}), **people)


async def _signed_in(
    client: AsyncTestClient[Any], conn: Any, username: str, role: Role, party: str | None = None
) -> Visitor:
    await identity.add_person(conn, username, PASSWORD, role, party, username.title())
    headers = {"Cookie": f"{SESSION_COOKIE}={await identity.sign_in(conn, username, PASSWORD)}"}
    told = await client.get("/api/learners/session", headers=headers)
    return Visitor(client, headers | {"X-Form-Token": told.json()["form_token"]})


async def test_two_members_vote_and_the_decision_makes_the_movement_run(room: Room) -> None:
    page = (await room.chair.get("/movements/meals")).text
    assert "Vote for it" in page
    assert "Record that the votes approve it" not in page
    assert (
        await room.chair.form("/movements/meals", READ | {"step": "for", "reason": WHY})
    ).status_code == 303
    early = await room.chair.form("/movements/meals", READ | {"step": "approved", "reason": WHY})
    assert early.status_code == 400
    assert "Approval still needs 2 votes (1 are cast)" in early.text
    assert (
        await room.head.form("/movements/meals", READ | {"step": "for", "reason": WHY})
    ).status_code == 303
    assert (
        await room.head.form("/movements/meals", READ | {"step": "approved", "reason": WHY})
    ).status_code == 303
    assert (await room.movement()).standing == "active"
    shown = (await room.public.get("/movements/meals.json")).json()
    assert shown["facts"]["standing"] == "active"
    assert shown["tables"]["versions"][0]["votes_for"] == 2
    assert [row["member"] for row in shown["tables"]["votes"]] == [
        "Ada Okafor"
    ]  # the other did not agree to be named


async def test_no_step_counts_for_a_text_that_the_member_has_not_read(room: Room) -> None:
    async with room.pool.acquire() as conn:
        operator = Actor(role="operator", name="A. Clerk")
        await agreements.withdraw(conn, operator, "meals", "It says too much")
        other = {"movement": {**MEALS, "purpose": "Something else"}, "criteria": CRITERIA, "reason": WHY}
        await agreements.amend(conn, operator, msgspec.convert(other, Proposal))
    no_text = await room.chair.form("/movements/meals", {"step": "for", "reason": f"{WHY}\0"})
    assert (no_text.status_code, "the character with the number 0" in no_text.text) == (400, True)
    slip = await room.chair.form("/movements/meals", {"step": "for", "reason": "", "version": "1"})
    assert 'name="version" value="1"' in slip.text  # the new text may not have been noticed
    for version in ("1", "", "one", "9" * 30):
        fields = {"step": "for", "reason": WHY, "version": version}
        refused = await room.chair.form("/movements/meals", fields)
        assert refused.status_code == 400
        assert "has changed since" in refused.text
        assert 'name="version" value="2"' in refused.text
    assert (await room.movement()).versions[-1].votes.votes_for == 0
    again = await room.chair.form("/movements/meals", {"step": "for", "reason": WHY, "version": "2"})
    assert again.status_code == 303
    assert (await room.movement()).versions[-1].votes.votes_for == 1


async def test_whose_organisation_proposed_is_no_other_than_the_proposer(room: Room) -> None:
    async with room.pool.acquire() as conn:
        meals = {"movement": MEALS | {"id": "milk"}, "criteria": CRITERIA, "reason": WHY}
        dairy = Actor(role="organisation", name="A dairy", party=DAIRY)
        await agreements.propose(conn, dairy, msgspec.convert(meals, Proposal))
        dairyman = await _signed_in(room.chair.client, conn, "dairyman", "school", DAIRY)
    await dairyman.form("/movements/milk", READ | {"step": "for", "reason": WHY})
    await room.head.form("/movements/milk", READ | {"step": "abstain", "reason": WHY})
    refused = await dairyman.form("/movements/milk", READ | {"step": "approved", "reason": WHY})
    assert refused.status_code == 400
    assert "other than its proposer" in refused.text


async def test_a_member_stops_what_runs_and_lets_it_go_on(room: Room) -> None:
    for visitor in (room.chair, room.head):
        await visitor.form("/movements/meals", READ | {"step": "for", "reason": WHY})
    await room.chair.form("/movements/meals", READ | {"step": "approved", "reason": WHY})
    await room.head.form("/movements/meals", {"step": "suspend", "reason": "Wrong counts since Monday"})
    assert (await room.movement()).standing == "suspended"
    await room.chair.form("/movements/meals", {"step": "resume", "reason": "Mended"})
    assert (await room.movement()).standing == "active"


async def test_nobody_else_votes(room: Room) -> None:
    assert "Vote for it" not in (await room.analyst.get("/movements/meals")).text
    assert "Vote for it" not in (await room.public.get("/movements/meals")).text
    fields = READ | {"step": "for", "reason": WHY}
    assert (await room.analyst.form("/movements/meals", fields)).status_code == 403
    foreign = await room.public.client.post("/movements/meals", data=fields)
    assert foreign.status_code == 403  # the form is not ours
    assert (await room.movement()).versions[0].votes.votes_for == 0


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"step": "for", "reason": ""}, "Give a reason"),
        ({"reason": WHY}, "Choose what to do"),
        ({"step": "veto", "reason": WHY}, "Choose what to do"),
        ({"step": "resume", "reason": WHY}, "resume needs it to be suspended"),
    ],
)
async def test_a_form_that_cannot_be_used_says_why_and_keeps_what_was_written(
    room: Room, fields: dict[str, str], said: str
) -> None:
    answer = await room.chair.form("/movements/meals", fields)
    assert answer.status_code == 400
    assert said in answer.text
    assert fields["reason"] in answer.text


async def test_the_register_shows_what_is_before_the_group_first(room: Room) -> None:
    shown = (await room.public.get("/movements.json")).json()["tables"]["movements"]
    assert (shown[0]["title"], shown[0]["standing"]) == ("School meals", "proposed")
    for nothing in ("none-such", "%00", "meals%00", "a" * 65):
        assert (await room.public.get(f"/movements/{nothing}")).status_code == 404
