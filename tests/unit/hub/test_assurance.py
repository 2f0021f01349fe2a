"""Data goes to those who hold evidence that they protect it: at accept, at delivery, and never to anybody else."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import asyncpg
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from commonroom.engines import clock
from commonroom.exchange import Envelope
from commonroom.exchange.contract import HeldLetters, MailboxResponse
from commonroom.hub import assurance, assurance_commands, mailbox, retention
from commonroom.hub.assurance import Span
from commonroom.hub.doorbell import Doorbell
from commonroom.hub.metrics import Metrics
from commonroom.hub.movements import LEVELS
from commonroom.hub.post import Outcome, Post, Submission
from commonroom.hub.routing import Route, Stop, assure, make_routing
from commonroom.hub.tracking import in_trouble
from commonroom.problems import Problem
from tests.hub_server import SCHOOL_ALIAS, message, publish_small_county
from tests.unit.hub.conftest import Town
from tests.waiting import until_async

NAMES = (*LEVELS, None)  # None: no evidence
DAY = date(2026, 9, 14)
SENDER, END_POINT, RECIPIENT = "urn:sender", "end point", "urn:recipient"


def spans(level: str | None, first: date = DAY, last: date = DAY, end_point: str | None = None) -> list[Span]:
    return [] if level is None else [Span(end_point, LEVELS[level], first, last)]


def gated(
    levels: Mapping[str, Sequence[Span]], classification: str, *, stops: Sequence[str] = (RECIPIENT,)
) -> Any:
    """The recipients, or the problem's code."""
    table = make_routing(version=1, parties=[], aliases=[], relations=[], movements=[], levels=levels)
    way = Route(tuple(Stop(recipient, "m") for recipient in stops), 30, classification)
    try:
        return [stop.recipient for stop in assure(table, way, SENDER, END_POINT, DAY).stops]
    except Problem as problem:
        return problem.code


@pytest.mark.parametrize("classification", LEVELS)
@pytest.mark.parametrize("recipient", NAMES)
@pytest.mark.parametrize("sender", NAMES)
def test_a_recipient_needs_the_senders_level_and_the_classification(
    sender: str | None, recipient: str | None, classification: str
) -> None:
    found = gated({SENDER: spans(sender), RECIPIENT: spans(recipient)}, classification)
    if sender is None and classification != "public":
        assert found == "CR-146"
        return
    has = LEVELS[recipient] if recipient else 0
    enough = has >= (LEVELS[sender] if sender else 0) and has >= LEVELS[classification]
    assert found == ([RECIPIENT] if enough else "CR-145")


@pytest.mark.parametrize(
    ("first", "last", "counts"),
    [(0, 0, True), (-5, 5, True), (-5, -1, False), (1, 5, False), (0, 5, True), (-5, 0, True)],
)
@pytest.mark.parametrize("whose", [SENDER, RECIPIENT])
def test_evidence_counts_from_its_first_to_its_last_day(
    whose: str, first: int, last: int, counts: bool
) -> None:
    levels = {SENDER: spans("internal"), RECIPIENT: spans("internal")}
    levels[whose] = spans("internal", DAY + timedelta(first), DAY + timedelta(last))
    refused = "CR-146" if whose == SENDER else "CR-145"
    assert gated(levels, "internal") == ([RECIPIENT] if counts else refused)


def test_evidence_of_another_end_point_says_nothing_about_the_senders() -> None:
    levels = {SENDER: spans("internal", end_point="another"), RECIPIENT: spans("restricted")}
    assert gated(levels, "internal") == "CR-146"
    levels[SENDER] = spans("internal", end_point=END_POINT)
    assert gated(levels, "internal") == [RECIPIENT]


def test_who_is_not_assured_is_left_out_and_the_others_are_not() -> None:
    levels = {SENDER: spans("internal"), RECIPIENT: spans("internal"), "urn:other": spans("public")}
    assert gated(levels, "internal", stops=["urn:other", RECIPIENT, "urn:unknown"]) == [RECIPIENT]


async def renew(pool: Any, party: str, level: str | None) -> None:
    """The party's only valid evidence is now of this level; None: it has none."""
    async with pool.acquire() as connection:
        for one in await assurance.list_evidence(connection, party):
            if one.ended_on is None:
                await assurance.end(connection, one.id, "test")
        if level is not None:
            await assurance.record(
                connection,
                [party],
                level,
                kind="test",
                reference="test",
                valid_from=date(2000, 1, 1),
                valid_to=date(2199, 1, 1),
                by="test",
            )


def fate(tracking: Any, recipient: str) -> Any:
    return next(one for one in tracking.deliveries if one.recipient == recipient)


async def test_a_receipt_names_who_was_left_out_also_when_the_message_is_repeated(town: Town) -> None:
    await renew(town.pool, town.county.authority, "internal")
    letter = message(town.county)
    for _ in range(2):
        receipt = await town.school.post(*letter)
        assert receipt.recipients == [town.county.warehouse]
        [left_out] = receipt.left_out
        assert left_out.recipient == town.county.authority
        assert left_out.reason == "The recipient is assured up to internal; restricted is needed."
    await renew(town.pool, town.county.warehouse, None)
    with pytest.raises(Problem) as refused:
        await town.school.post(*message(town.county))
    assert refused.value.code == "CR-145"
    assert f"{town.county.warehouse}: The recipient has no valid evidence" in refused.value.detail
    await renew(town.pool, town.county.school, None)
    with pytest.raises(Problem) as unknown:
        await town.school.post(*message(town.county))
    assert unknown.value.code == "CR-146"


async def test_a_letter_is_held_while_evidence_has_lapsed_and_both_sides_see_it(town: Town) -> None:
    receipt = await town.school.post(*message(town.county))
    await renew(town.pool, town.county.warehouse, "confidential")
    assert await town.warehouse.pull(10, 0) == []
    for side in (town.school, town.warehouse):
        found = fate(await side.track(receipt.message), town.county.warehouse)
        assert (found.state, found.held) == (
            "offered",
            "The recipient is assured up to confidential; restricted is needed.",
        )
    assert fate(await town.school.track(receipt.message), town.county.authority).held is None
    assert [story.id for story in await in_trouble(town.pool)] == [receipt.message]

    async def told() -> bool:
        mine, sent = [
            msgspec.json.decode(
                await side._ask_raw("GET", "/mailbox?limit=1&wait=0", b""), type=MailboxResponse
            )
            for side in (town.warehouse, town.school)
        ]
        return mine.held == HeldLetters(1, 0) and sent.held == HeldLetters(0, 1)

    await until_async(told, 15, "both mailboxes saying that a letter is held")
    await renew(town.pool, town.county.warehouse, "restricted")
    [letter] = await town.warehouse.pull(10, 5)
    assert letter.body == b"letter"
    assert fate(await town.school.track(receipt.message), town.county.warehouse).held is None
    assert await in_trouble(town.pool) == []
    again = (await town.school.post(*message(town.county))).message
    [letter] = await town.warehouse.pull(10, 5)
    await town.warehouse.refuse(letter.delivery, "Not for us")
    assert [story.id for story in await in_trouble(town.pool)] == [again]


async def test_a_body_is_not_downloaded_under_a_lease_from_before_evidence_lapsed(town: Town) -> None:
    receipt = await town.school.post(*message(town.county))
    await town.warehouse.pull(10, 5)
    place = f"/messages/{receipt.message}/body"
    assert await town.warehouse._ask_raw("GET", place, b"") == b"letter"
    await renew(town.pool, town.county.warehouse, "internal")
    with pytest.raises(Problem) as refused:
        await town.warehouse._ask_raw("GET", place, b"")
    assert refused.value.code == "CR-005"
    assert await town.school._ask_raw("GET", place, b"") == b"letter"  # its sender has it anyway


async def test_evidence_of_one_end_point_lets_it_alone_have_the_letter(town: Town) -> None:
    await town.school.post(*message(town.county))
    await renew(town.pool, town.county.warehouse, "internal")
    async with town.pool.acquire() as connection:
        await assurance.record(
            connection,
            [town.county.warehouse],
            "restricted",
            kind="test",
            reference="test",
            valid_from=date(2000, 1, 1),
            valid_to=date(2199, 1, 1),
            by="test",
            end_point="assured",
        )
        assert await mailbox.lease(connection, town.county.warehouse, "another", 10, 60) == []
        assert len(await mailbox.lease(connection, town.county.warehouse, "assured", 10, 60)) == 1


async def test_a_held_letter_ends_with_its_expiry_or_its_retention(town: Town) -> None:
    late = datetime.now(UTC) + timedelta(days=2)
    expiring = await town.school.post(*message(town.county, expirytime=late))
    kept = await town.school.post(*message(town.county))
    await renew(town.pool, town.county.warehouse, None)
    async with town.pool.acquire() as connection:
        await clock.set_to(connection, town.settings, datetime.now(UTC) + timedelta(days=3))
        await mailbox.expire(connection)
        await clock.set_to(connection, town.settings, datetime.now(UTC) + timedelta(days=31))
        await retention.purge(town.settings, connection)
    assert fate(await town.school.track(expiring.message), town.county.warehouse).state == "expired"
    ended = fate(await town.school.track(kept.message), town.county.warehouse)
    assert (ended.state, ended.reason) == ("undeliverable", assurance.HELD_TOO_LONG)


async def test_evidence_is_kept_for_ever_as_it_was_recorded(town: Town) -> None:
    for statement in (
        "DELETE FROM hub.evidence",
        "UPDATE hub.evidence SET level = 'public'",
        "TRUNCATE hub.evidence",
    ):
        with pytest.raises(asyncpg.IntegrityConstraintViolationError):
            await town.pool.execute(statement)
    await renew(town.pool, town.county.school, "internal")
    async with town.pool.acquire() as connection:
        old, new = await assurance.list_evidence(connection, town.county.school)
    assert (old.ended_by, new.ended_by, new.recorded_by) == ("test", None, "test")


def test_the_command_line_records_lists_and_ends_evidence(
    settings: Any, monkeypatch: pytest.MonkeyPatch, county_in: Any
) -> None:
    monkeypatch.setenv("COMMONROOM_DATABASE", str(settings.database))
    data = ["--data", str(settings.data)]

    def run(*arguments: str) -> Any:
        return CliRunner().invoke(assurance_commands.app, [*arguments, *data], env={"COLUMNS": "300"})

    options = ["--kind", "audit", "--reference", "report 7", "--valid-from", "2026-01-01"]
    added = run("add", SCHOOL_ALIAS, "internal", *options, "--valid-to", "2027-01-01", "--by", "ada")
    assert added.exit_code == 0, added.output
    assert run("add", SCHOOL_ALIAS, "secret", *options, "--valid-to", "2027-01-01").exit_code == 1
    assert run("add", SCHOOL_ALIAS, "internal", *options, "--valid-to", "2025-01-01").exit_code == 1
    row = next(line for line in run("list", SCHOOL_ALIAS).output.splitlines() if "report 7" in line)
    assert "ada" in row
    name = row.strip("│ ").split()[0]
    assert run("end", name, "--by", "grace").exit_code == 0
    assert run("end", name).exit_code == 1
    assert "by grace" in run("list", SCHOOL_ALIAS).output


@pytest.fixture
async def county_in(pool: Any, tmp_path: Any) -> Any:
    async with pool.acquire() as connection:
        return await publish_small_county(connection, tmp_path)


LEVEL = st.sampled_from([*LEVELS, None])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("renew"), st.sampled_from(["school", "authority", "warehouse"]), LEVEL),
        st.tuples(st.just("post"), st.sampled_from([*LEVELS][:3]), st.none()),
        st.tuples(st.just("pull"), st.sampled_from(["authority", "warehouse"]), st.none()),
    ),
    max_size=14,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
async def test_nothing_above_a_recipients_level_is_ever_delivered(
    steps: list[tuple[str, str, str | None]], pool: Any, county_in: Any, request: pytest.FixtureRequest
) -> None:
    """A model that knows only levels beside the real post and mailbox, whatever comes in whatever order."""
    hub_settings: Any = request.getfixturevalue("settings")
    post = Post(hub_settings, Doorbell(hub_settings), Metrics())
    now: dict[str, str | None] = dict.fromkeys(("school", "authority", "warehouse"), "restricted")
    needs: dict[str, int] = {}
    waiting: dict[str, set[str]] = {"authority": set(), "warehouse": set()}
    for name in now:
        await renew(pool, getattr(county_in, name), "restricted")
    async with pool.acquire() as connection:
        await connection.execute("DELETE FROM hub.message")
    for verb, what, level in steps:
        if verb == "renew":
            await renew(pool, getattr(county_in, what), level)
            now[what] = level
        elif verb == "post":
            outcome, name = await _posted(post, county_in, what)
            own, wanted = now["school"], LEVELS[what]
            needs[name] = max(LEVELS[own] if own else 0, wanted)
            goes = {who for who in waiting if (LEVELS[now[who] or "public"]) >= needs[name]}
            if own is None and wanted:
                goes = set()
            assert isinstance(outcome, Problem) == (not goes)
            for who in goes:
                waiting[who].add(name)
        else:
            async with pool.acquire() as connection:
                letters = await mailbox.lease(connection, getattr(county_in, what), "e", 100, 600)
            found = {msgspec.json.decode(letter.envelope)["id"] for letter in letters}
            allowed = {name for name in waiting[what] if needs[name] <= LEVELS[now[what] or "public"]}
            assert found == allowed
            waiting[what] -= found
    post._drop_connection()


async def _posted(post: Post, county: Any, classification: str) -> tuple[Outcome, str]:
    envelope, body = message(county, dataclassification=classification)
    assert isinstance(envelope, Envelope)
    given = Submission(
        envelope=envelope,
        body=body,
        digest=hashlib.sha256(body).digest(),
        party=county.school,
        end_point="sender",
    )
    [outcome] = await post._store([given])
    return outcome, envelope.id
