"""What a school sees of its messages, and an authority of its schools. Problems stand first, in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from litestar import Response, get
from litestar.di import NamedDependency

from commonroom import access
from commonroom.hub import tracking
from commonroom.hub.tracking import MessageStory
from commonroom.portal import figures, oversight, words
from commonroom.portal.house import AnyRequest, House, Visit
from commonroom.portal.oversight import FoundProblem, SchoolAtAGlance
from commonroom.portal.page import Fact, Page, paths
from commonroom.portal.pages.reference import HOME
from commonroom.portal.tables import Cell, Column, Link, Table
from commonroom.problems import Problem

MESSAGES_SHOWN = 20
STATES = {
    "offered": "Waiting to be collected",
    "leased": "Being collected",
    "acknowledged": "Received and loaded",
    "refused": "Refused by the receiver",
    "expired": "Not collected in time",
    "undeliverable": "Could not be delivered",
}
TROUBLE = ("refused", "expired", "undeliverable")
MESSAGE_COLUMNS = (
    Column("accepted_at", "Accepted", "time"),
    Column("type", "What"),
    Column("from", "From"),
    Column("to", "To"),
    Column("state", "What became of it"),
    Column("reason", "Reason"),
    Column("size", "Bytes", "number"),
    Column("message", "Message", "code"),
)
PROBLEM_COLUMNS = (
    Column("message", "Problem"),
    Column("entity", "Record"),
    Column("item", "Item"),
    Column("remedy", "What to do"),
    Column("times", "Times", "number"),
    Column("newest", "Last found", "time"),
    Column("rule", "Rule", "code"),
)


@get(paths("/my/school"))
async def my_school(
    request: AnyRequest,
    house: NamedDependency[House],
    visit: NamedDependency[Visit],
    conn: NamedDependency[Any],
) -> Response[bytes]:
    """A school's own messages and their fate."""
    party = require(visit, "school")
    before = _position(request.query_params.get("before", ""))
    access.rows(visit.principal, "hub.messages", "postgres")
    stories = await tracking.messages_of(conn, party, MESSAGES_SHOWN, before)
    found = await oversight.problems_of(conn, visit.principal)
    await access.audit(conn, visit.principal, "hub.messages", "own messages page", len(stories))
    page = Page(
        template="my_school.html",
        title=await oversight.name_of(conn, party),
        facts=(
            Fact("problems", "Kinds of problem", len(found)),
            Fact("undelivered", "Not delivered", _troubled(stories)),
        ),
        tables=(message_table("Messages", stories), problem_table(found)),
        trail=(HOME,),
        section="my",
        private=True,
        more={
            "problems": _in_words(found, stories),
            "older": stories[-1].position if len(stories) == MESSAGES_SHOWN else None,
            "newest": before is None,
        },
    )
    return house.answer(request, visit, page)


@get(paths("/my/authority"))
async def my_authority(
    request: AnyRequest,
    house: NamedDependency[House],
    visit: NamedDependency[Visit],
    conn: NamedDependency[Any],
) -> Response[bytes]:
    """An authority's schools, each with its last message, pupils on roll, and problems."""
    party = require(visit, "authority")
    schools = await oversight.schools_of(conn, visit.principal)
    asked = await figures.question(request, conn)
    urns = [one.urn for one in schools if one.urn]
    roll = await figures.figures(house, conn, visit, asked, "school", urns, figures.HEADCOUNT) if urns else []
    pupils = {figure.unit: figure for figure in roll}
    await access.audit(conn, visit.principal, "authority.schools", "own schools page", len(schools))
    table = Table(
        name="schools",
        title="Your schools",
        columns=(
            Column("name", "School"),
            Column("urn", "URN"),
            Column("pupils", "Pupils on roll", "number"),
            Column("last_message", "Last message", "time"),
            Column("undelivered", "Messages not delivered", "number"),
            Column("found", "Faults found in records", "number"),
        ),
        rows=tuple(
            _school_row(one, figures.newest([pupils[one.urn]]) if one.urn in pupils else None)
            for one in schools
        ),
        empty="The register names no open school of your authority.",
    )
    page = Page(
        template="my_authority.html",
        title=await oversight.name_of(conn, party),
        facts=(
            Fact("schools", "Schools", len(schools)),
            Fact("sending", "Schools that have sent", sum(one.last_message is not None for one in schools)),
        ),
        tables=(table,),
        trail=(HOME,),
        section="my",
        private=True,
        stamp=figures.stamp(asked, roll),
        more={"troubled": [one for one in schools if one.undelivered or one.found]},
    )
    return house.answer(request, visit, page)


def require(visit: Visit, role: str) -> str:
    """The person's party ('' for roles without one); 401 for the public, 403 for people of another role."""
    if not visit.signed_in:
        raise Problem("CR-006", "This page is for people who have signed in.", status=401)
    if visit.principal.role != role:
        raise Problem("CR-006", "This page is for people with another role than yours.", status=403)
    return visit.principal.party or ""


def message_table(title: str, stories: Sequence[MessageStory]) -> Table:
    """One row for each copy of each message, newest first."""
    rows: list[tuple[Cell, ...]] = [
        (
            story.accepted_at,
            kind_of(story.type),
            story.sender_name,
            delivery.recipient_name,
            "Held" if delivery.held else STATES.get(delivery.state, delivery.state),
            delivery.held or delivery.reason,
            story.size,
            story.id,
        )
        for story in stories
        for delivery in story.deliveries
    ]
    empty = "No message has been sent or received yet."
    return Table(name="messages", title=title, columns=MESSAGE_COLUMNS, rows=tuple(rows), empty=empty)


def problem_table(found: Sequence[FoundProblem]) -> Table:
    """Kinds of fault in the records, with the remedy."""
    return Table(
        name="problems",
        title="Faults found in records",
        columns=PROBLEM_COLUMNS,
        rows=tuple(
            (one.message, one.entity.replace("_", " "), one.item, one.remedy, one.times, one.newest, one.rule)
            for one in found
        ),
        empty="No fault has been found in the records you sent.",
    )


def kind_of(message_type: str) -> str:
    """'commonroom.attendance-mark.changed' -> 'Attendance mark changed'; other types as they are."""
    prefix, _, rest = message_type.partition(".")
    if prefix != "commonroom":
        return message_type
    return rest.replace(".", " ").replace("-", " ").capitalize()


def _school_row(one: SchoolAtAGlance, pupils: Cell) -> tuple[Cell, ...]:
    name: Cell = Link(one.name, f"/schools/{one.urn}") if one.urn else one.name
    return (name, one.urn, pupils, one.last_message, one.undelivered, one.found)


def _troubled(stories: Sequence[MessageStory]) -> int:
    return sum(delivery.state in TROUBLE for story in stories for delivery in story.deliveries)


def _in_words(found: Sequence[FoundProblem], stories: Sequence[MessageStory]) -> list[str]:
    """What needs someone's attention, a sentence each."""
    sentences = []
    lost = _troubled(stories)
    if lost:
        sentences.append(
            f"{words.count(lost, 'message')} on this page did not reach the receiver: the table says why."
        )
    for one in found[:5]:
        what = f"{one.entity.replace('_', ' ')} record" if one.entity else "message"
        sentences.append(f"{words.count(one.times, what)}: {one.message} {one.remedy}".strip())
    return sentences


def _position(text: str) -> int | None:
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise Problem("CR-105", "`before` in the address is not a position.", status=400)
    return int(text)


HANDLERS = [my_school, my_authority]
