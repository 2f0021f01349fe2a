"""A movement's life with a running hub: proposed, voted on, approved, amended, suspended, ended; and what routes."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
from typer.testing import CliRunner

from commonroom.engines import clock
from commonroom.exchange import Client, Envelope
from commonroom.hub import list_movements, load_movements
from commonroom.hub.agreements import Actor, suspend
from commonroom.hub.commands import app
from commonroom.hub.group import read_policy
from commonroom.hub.movement_register import registered
from commonroom.ids import uuid7
from commonroom.problems import Problem
from commonroom.settings import Settings
from tests.hub_server import MOVEMENTS, SCHOOL_ALIAS, WAREHOUSE_ALIAS
from tests.unit.hub.conftest import Town

POLICY = f"""
rule: {{quorum: 3, front_line_votes: 1, majority: more than half}}
front_line_kinds: [school]
members:
  - {{id: first-school, name: Ada Okafor, kind: school, party: "{SCHOOL_ALIAS}", named: true}}
  - {{id: warehouse, name: Ben Unwin, kind: department, party: "{WAREHOUSE_ALIAS}"}}
  - {{id: parents, name: Cleo Marsh, kind: parent}}
"""
MEALS = {
    "id": "meals",
    "title": "School meals",
    "from": {"kind": "school"},
    "to": ["its local authority"],
    "types": ["commonroom.meal.changed"],
    "purpose": "To pay for the meals that were eaten",
    "legal_basis": "Invented for tests",
    "content": "Counts of meals, no pupils",
    "frequency": {
        "how": "scheduled",
        "cron": "0 6 * * mon-fri",
        "calendar": "school days",
        "lateness_after": 120,
    },
    "classification": "internal",
    "retention_days": 30,
    "active_from": "2020-01-01",
}
CRITERIA = {
    "proportionality": "Counts alone; no pupil is named",
    "data_protection_assessment": "DPIA 2026/17",
    "alternatives": "A yearly form, which was late every year",
    "burden_on_senders": "None: the kitchen system has the counts",
}
WHY = "Because the auditors asked"


@pytest.fixture
def hub_settings(settings: Settings) -> Settings:
    settings.data.mkdir(parents=True, exist_ok=True)
    (settings.data / "group.yaml").write_text(POLICY, "utf-8")
    return msgspec.structs.replace(settings, governance="group.yaml")


def proposal(**changes: Any) -> dict[str, Any]:
    """A proposal of the meals movement with some of it changed."""
    return {"movement": {**MEALS, **changes}, "criteria": CRITERIA, "reason": WHY}


async def call(client: Client | None, url: str, path: str, body: Any = None) -> tuple[int, Any]:
    """Status and JSON of a request of an end point, or of the public; POST when there is a body."""
    headers = {"authorization": f"Bearer {await client._current_token()}"} if client else {}
    async with httpx2.AsyncClient(base_url=url, headers=headers) as http:
        answer = await (http.get(path) if body is None else http.post(path, json=body))
    return answer.status_code, answer.json()


async def send_meal(town: Town) -> str:
    """`sent`, or the code of the refusal."""
    envelope = Envelope(
        id=str(uuid7()),
        source=town.county.school,
        type="commonroom.meal.changed",
        datacontenttype="application/octet-stream",
    )
    try:
        await town.school.post(envelope, b"12 meals")
    except Problem as problem:
        return problem.code
    return "sent"


async def vote(town: Town, client: Client, choice: str, version: int | None = None) -> tuple[int, Any]:
    """A member's vote on the meals."""
    return await call(
        client,
        town.url,
        "/movements/meals/votes",
        {"vote": choice, "reason": f"I am {choice}", "version": version},
    )


async def approve(town: Town, third: str = "abstain") -> tuple[int, Any]:
    """Votes of two members by their end points and of the third by the operator's hand; then the decision."""
    await vote(town, town.school, "for")
    await vote(town, town.warehouse, "for")
    result = await command(town, "vote", "meals", third, "--as", "parents", "--reason", "As the parents wish")
    assert result.exit_code == 0, result.output
    decision = {"outcome": "approved", "reason": "The group agreed"}
    return await call(town.warehouse, town.url, "/movements/meals/decision", decision)


async def command(town: Town, *words: str) -> Any:
    """`commonroom hub movements ...` in the town's data folder."""
    environment = {
        "COMMONROOM_DATA": str(town.settings.data),
        "COMMONROOM_DATABASE": str(town.settings.database),
        "COMMONROOM_GOVERNANCE": "group.yaml",
    }
    return await asyncio.to_thread(CliRunner().invoke, app, ["movements", *words], env=environment)


async def test_a_movement_routes_from_its_approval_and_the_public_sees_how_it_came_about(town: Town) -> None:
    status, done = await call(town.authority, town.url, "/movements", proposal())
    assert (status, done["standing"], done["version"]) == (201, "proposed", 1)
    assert await send_meal(town) == "CR-042"
    early = await call(
        town.warehouse, town.url, "/movements/meals/decision", {"outcome": "approved", "reason": "Quick"}
    )
    assert (early[0], early[1]["code"]) == (409, "CR-141")
    for path, step in (("votes", {"vote": "for"}), ("decision", {"outcome": "approved"})):
        unread = {**step, "reason": "Quick", "version": 2}
        status, refused = await call(town.school, town.url, f"/movements/meals/{path}", unread)
        assert (status, refused["code"], "has changed since" in refused["detail"]) == (409, "CR-141", True)
    status, done = await vote(town, town.school, "against")
    assert (status, done["standing"]) == (200, "under review")
    status, refused = await call(
        town.warehouse, town.url, "/movements/meals/decision", {"outcome": "approved", "reason": "Quick"}
    )
    assert (status, refused["code"]) == (409, "CR-142")
    assert await send_meal(town) == "CR-042"
    status, done = await approve(town)  # the school changes its vote
    assert (status, done["standing"]) == (200, "active")
    assert await send_meal(town) == "sent"

    status, entry = await call(None, town.url, "/register/movements/meals")
    assert status == 200
    [version] = entry["versions"]
    assert version["votes"] == {"votes_for": 2, "votes_against": 0, "abstentions": 1, "front_line": 1}
    assert [(named["member"], named["vote"]) for named in version["named_votes"]] == [("Ada Okafor", "for")]
    assert version["criteria"] == CRITERIA
    assert version["movement"]["frequency"]["cron"] == "0 6 * * mon-fri"
    assert [(step["step"], step["who"]) for step in entry["history"]] == [
        ("proposed", "Westmarch"),
        ("review began", "the governance group"),
        ("approved", "the governance group"),
        ("active", "its dates"),
    ]
    text = msgspec.json.encode(entry).decode()
    assert "Ben Unwin" not in text
    assert "Cleo Marsh" not in text
    assert [one["id"] for one in (await call(None, town.url, "/register/movements"))[1]] == [
        "attendance", "ended", "meals", "transfers",
    ]  # fmt: skip
    own = await call(town.other_school, town.url, "/movements")
    assert "meals" in [listed["movement"]["id"] for listed in own[1]]


async def test_the_old_version_runs_until_the_new_one_is_approved_and_its_day_comes(town: Town) -> None:
    await clock.set_to(town.pool, town.settings, datetime(2030, 6, 1, 12, tzinfo=UTC))
    await call(town.authority, town.url, "/movements", proposal())
    await approve(town)
    amended = proposal(to=["the department's warehouse"], active_from="2030-07-01")
    status, done = await call(town.school, town.url, "/movements/meals/amend", amended)
    assert (status, done["version"], done["standing"]) == (201, 2, "proposed")
    status, refused = await call(town.school, town.url, "/movements/meals/amend", amended)
    assert (status, refused["code"]) == (409, "CR-141")  # one proposal at a time

    await clock.set_to(town.pool, town.settings, datetime(2030, 7, 2, 12, tzinfo=UTC))
    assert await send_meal(town) == "sent"  # its day has come, but nobody has approved it
    assert len(await town.authority.pull(10, 0)) == 1
    await clock.set_to(town.pool, town.settings, datetime(2030, 6, 10, 12, tzinfo=UTC))
    status, done = await approve(town)
    assert (done["version"], done["standing"]) == (2, "approved")
    assert await send_meal(town) == "sent"  # it is approved, but its day has not come
    assert len(await town.authority.pull(10, 0)) == 1
    # The day in England begins at 23:00 UTC.
    await clock.set_to(town.pool, town.settings, datetime(2030, 6, 30, 23, 1, tzinfo=UTC))
    assert await send_meal(town) == "sent"
    assert await town.authority.pull(10, 0) == []
    assert len(await town.warehouse.pull(10, 0)) == 1
    async with town.pool.acquire() as connection:
        entry = await registered(connection, "meals")
    assert entry is not None
    assert [version.standing for version in entry.versions] == ["replaced", "active"]
    assert [step.step for step in entry.history][-3:] == ["approved", "replaced", "active"]


async def test_a_suspended_movement_carries_nothing_until_it_is_resumed_and_a_withdrawn_one_never(
    town: Town,
) -> None:
    await call(town.authority, town.url, "/movements", proposal())
    await approve(town)
    assert await send_meal(town) == "sent"
    why = {"reason": "A fault in the kitchen system"}
    assert (await call(town.school, town.url, "/movements/meals/suspend", why))[1]["standing"] == "suspended"
    assert await send_meal(town) == "CR-042"
    assert await town.authority.pull(10, 0) == []
    assert (await call(town.school, town.url, "/movements/meals/resume", why))[1]["standing"] == "active"
    assert await send_meal(town) == "sent"
    assert len(await town.authority.pull(10, 0)) == 2
    status, refused = await call(town.school, town.url, "/movements/meals/withdraw", why)
    assert (status, refused["code"]) == (403, "CR-143")  # it did not propose it
    assert (await call(town.authority, town.url, "/movements/meals/withdraw", why))[1][
        "standing"
    ] == "withdrawn"
    assert await send_meal(town) == "CR-042"


async def test_each_caller_can_do_only_what_is_its_to_do(town: Town) -> None:
    assert (await call(None, town.url, "/movements", proposal()))[1]["code"] == "CR-031"
    await call(town.other_school, town.url, "/movements", proposal())
    why = {"reason": "I would like to"}
    for path, body in {
        "votes": {"vote": "for", **why},
        "decision": {"outcome": "rejected", **why},
        "suspend": why,
        "resume": why,
    }.items():
        status, refused = await call(town.other_school, town.url, f"/movements/meals/{path}", body)
        assert (status, refused["code"]) == (403, "CR-143"), path
    assert (await call(town.school, town.url, "/movements/nothing/suspend", why))[0] == 404
    assert (await call(town.school, town.url, "/movements/%00/suspend", why))[0] == 404
    assert (await call(town.school, town.url, "/movements/meals/suspend", {"reason": "Why\0"}))[0] == 400
    assert (await call(None, town.url, "/register/movements/%00"))[0] == 404
    assert (await call(None, town.url, "/register/movements?after=%00"))[0] == 400
    assert (await call(town.school, town.url, "/movements/meals/votes", {"vote": "maybe", **why}))[0] == 400
    # Only who takes part, or has proposed it, amends.
    status, refused = await call(
        town.other_school, town.url, "/movements/attendance/amend", proposal(id="attendance")
    )
    assert status == 201
    amended = await call(town.warehouse, town.url, "/movements/transfers/amend", proposal(id="transfers"))
    assert amended[0] == 201  # as a member of the group
    refused_amendment = await call(town.authority, town.url, "/movements/ended/amend", proposal(id="ended"))
    assert (refused_amendment[0], refused_amendment[1]["code"]) == (403, "CR-143")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"to": ["urn:commonroom:alias:urn:1"]}, "not in the directory"),
        ({"active_to": "2019-01-01"}, "before active_from"),
        ({"active_to": "2020-01-02"}, "has passed"),
    ],
)
async def test_a_proposal_that_cannot_be_is_refused_with_its_faults(
    town: Town, changes: dict[str, Any], words: str
) -> None:
    status, refused = await call(town.school, town.url, "/movements", proposal(**changes))
    assert (status, refused["code"]) == (422, "CR-144")
    assert words in refused["detail"]


async def test_the_proposer_cannot_carry_it_alone_and_front_line_members_must_vote(town: Town) -> None:
    await call(town.warehouse, town.url, "/movements", proposal())
    decision = {"outcome": "approved", "reason": "It is mine"}
    await vote(town, town.warehouse, "for")
    await vote(town, town.school, "abstain")
    await command(town, "vote", "meals", "abstain", "--as", "parents", "--reason", "No opinion")
    status, refused = await call(town.warehouse, town.url, "/movements/meals/decision", decision)
    assert (status, refused["code"]) == (409, "CR-142")
    assert "other than its proposer" in refused["detail"]
    result = await command(
        town, "decide", "meals", "rejected", "--as", "A. Clerk", "--reason", "Still one vote"
    )
    assert result.exit_code == 1  # the only vote that counts is for it
    assert "CR-142" in result.output


async def test_what_the_group_decided_no_file_overwrites(town: Town) -> None:
    await call(town.authority, town.url, "/movements", proposal())
    await approve(town)
    file = town.folder / "meals.yaml"
    changed = {**MEALS, "purpose": "Another purpose", "retention_days": "30"}
    file.write_bytes(msgspec.yaml.encode({"movements": [changed]}))
    loaded = await load_movements(town.pool, file)
    assert (loaded.new, loaded.changed, loaded.unchanged, loaded.kept) == ((), (), (), ("meals",))
    [meals] = [each for each in await list_movements(town.pool) if each.movement.id == "meals"]
    assert meals.movement.purpose == MEALS["purpose"]


async def test_what_the_operator_loads_is_recorded_as_agreed_at_set_up(town: Town) -> None:
    entry = (await call(None, town.url, "/register/movements/attendance"))[1]
    assert entry["versions"][0]["agreed_by"] == "operator"
    assert [(step["step"], step["who"], step["reason"]) for step in entry["history"]] == [
        ("loaded", "the operator", "approved by the operator at set-up"),
        ("active", "its dates", "Its first day came."),
    ]


@pytest.mark.parametrize("table", ["movement_step", "movement_vote"])
@pytest.mark.parametrize(
    "statement", ["UPDATE hub.{} SET reason = ''", "DELETE FROM hub.{}", "TRUNCATE hub.{}"]
)
async def test_steps_and_votes_are_kept_for_ever(pool: Any, table: str, statement: str) -> None:
    with pytest.raises(Exception, match="kept for ever"):
        await pool.execute(statement.format(table))


async def test_two_who_suspend_at_once_do_it_once(town: Town) -> None:
    operators = [Actor(role="operator", name=f"Operator {number}") for number in range(4)]

    async def stop(actor: Actor) -> str:
        async with town.pool.acquire() as connection:
            try:
                return (await suspend(connection, actor, "attendance", WHY)).standing
            except Problem as problem:
                return problem.code

    assert sorted(await asyncio.gather(*map(stop, operators))) == ["CR-141", "CR-141", "CR-141", "suspended"]


async def test_the_command_line_takes_a_movement_through_its_life(town: Town) -> None:
    file = town.folder / "proposal.yaml"
    file.write_bytes(msgspec.yaml.encode(proposal()))
    done = await command(town, "propose", str(file), "--as", "A. Clerk")
    assert (done.exit_code, done.output.strip()) == (0, "meals version 1 is proposed")
    for member in ("first-school", "warehouse", "parents"):
        done = await command(town, "vote", "meals", "for", "--as", member, "--reason", "It helps")
        assert done.exit_code == 0, done.output
    assert "for 3, against 0, abstained 0" in done.output
    assert (
        await command(town, "vote", "meals", "for", "--as", "A. Clerk", "--reason", "Me too")
    ).exit_code == 1
    steps = ["decide meals approved", "suspend meals", "resume meals", "withdraw meals"]
    for step, now in zip(steps, ["active", "suspended", "active", "withdrawn"], strict=True):
        done = await command(town, *step.split(), "--as", "A. Clerk", "--reason", "In good order")
        assert f"meals version 1 is {now}" in done.output
    file.write_bytes(msgspec.yaml.encode(proposal(title="School meals, again")))
    assert "version 2 is proposed" in (await command(town, "amend", str(file), "--as", "A. Clerk")).output
    assert '"Cleo Marsh"' in (await command(town, "show", "meals")).output
    history = msgspec.json.decode((await command(town, "history", "meals", "--json")).output)
    assert [step["step"] for step in history] == [
        "proposed", "review began", "approved", "active", "suspended", "resumed", "withdrawn", "amendment proposed",
    ]  # fmt: skip
    assert {step["who"] for step in history} == {"A. Clerk", "Ada Okafor", "its dates"}
    assert (await command(town, "history", "nothing")).exit_code == 1
    assert (await command(town, "suspend", "meals", "--as", "A. Clerk", "--reason", "-")).exit_code == 1


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("quorum: 3", "quorum: many", "CR-001"),
        ("quorum: 3", "quorum: 4", "CR-140"),
        ("front_line_kinds: [school]", "front_line_kinds: [college]", "CR-140"),
        ("id: parents", "id: warehouse", "CR-140"),
        (WAREHOUSE_ALIAS, SCHOOL_ALIAS, "CR-140"),
        ("kind: parent}", "kind: parent, vote: two}", "CR-001"),
        ("front_line_votes: 1, ", "", "CR-001"),
    ],
)
def test_a_fault_in_the_policy_is_named(tmp_path: Path, old: str, new: str, code: str) -> None:
    assert old in POLICY
    file = tmp_path / "group.yaml"
    file.write_text(POLICY.replace(old, new, 1), "utf-8")
    with pytest.raises(Problem) as caught:
        read_policy(file)
    assert caught.value.code == code
    assert str(file) in caught.value.where


def test_without_a_declared_group_nobody_can_vote() -> None:
    assert read_policy(None).members == ()
    assert "attendance" in MOVEMENTS
