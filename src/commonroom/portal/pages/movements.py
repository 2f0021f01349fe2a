"""The public register of movements, and the room of the governance group: its members vote and decide here.

Who is a member stands in the group's policy (`account`); everybody else reads. What a step needs and what it leads to is
the business of `hub.agreements`: here a form becomes one call.
"""

from __future__ import annotations

from typing import Any

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Redirect

from commonroom import identity
from commonroom.hub import agreements, group, movement_register
from commonroom.hub.agreements import Actor
from commonroom.hub.group import Member, Policy
from commonroom.hub.lifecycle import STEPS, Standing, Step
from commonroom.hub.movement_register import RegisteredMovement, RegisteredVersion
from commonroom.hub.movements import Movement
from commonroom.portal import oversight
from commonroom.portal.house import AnyRequest, House, Visit
from commonroom.portal.page import Fact, Page, paths, stem
from commonroom.portal.pages.people import SEE_OTHER
from commonroom.portal.pages.reference import HOME
from commonroom.portal.tables import Cell, Column, Link, Table
from commonroom.problems import Problem

REGISTER = Link("Register of data movements", "/movements")
SHORTEST_REASON, LONGEST_REASON = 3, 2000
MOST_DIGITS = 9  # of a version
# What a member may choose: its name in the form, in words, and the step of the life of a movement that it is.
CHOICES: dict[str, tuple[str, Step]] = {
    "for": ("Vote for it", "vote"),
    "against": ("Vote against it", "vote"),
    "abstain": ("Abstain", "vote"),
    "approved": ("Record that the votes approve it", "decide"),
    "rejected": ("Record that the votes reject it", "decide"),
    "suspend": ("Suspend it at once", "suspend"),
    "resume": ("Let it go on", "resume"),
}


@get(paths("/movements"))
async def movements(
    request: AnyRequest,
    house: NamedDependency[House],
    visit: NamedDependency[Visit],
    conn: NamedDependency[Any],
) -> Response[bytes]:
    """The public register: who sends what to whom, why, and on which legal basis; proposals and past ones too."""
    found = await _whole_register(conn)
    names = await oversight.platform_names(conn)
    columns = [("title", "Movement"), ("standing", "Standing"), *_TEXT_COLUMNS, ("id", "Id")]
    table = Table(
        name="movements",
        title="Data movements",
        columns=tuple(Column(name, title, *_KINDS.get(name, ())) for name, title in columns),
        rows=tuple(
            (
                Link(one.title, f"/movements/{one.id}"),
                one.standing,
                *_text(_version_of(one).movement, names).values(),
                one.id,
            )
            for one in sorted(found, key=_before_the_group_first)
        ),
    )
    page = Page(
        template="movements.html",
        title="Register of data movements",
        summary="Every movement of data was agreed before anything moved. Where none is active, nothing travels.",
        tables=(table,),
        trail=(HOME,),
        more={"movements": found},
    )
    return house.answer(request, visit, page)


@get("/movements/{movement:str}")
async def movement(
    request: AnyRequest,
    house: NamedDependency[House],
    visit: NamedDependency[Visit],
    conn: NamedDependency[Any],
    movement: FromPath[str],
) -> Response[bytes]:
    """One movement with its versions, votes and history; for members of the group, the form to vote and decide."""
    member = await _member(house, visit, conn)
    return house.answer(request, visit, await _page(conn, stem(movement), member))


@post("/movements/{movement:str}", status_code=SEE_OTHER)
async def step(
    request: AnyRequest,
    house: NamedDependency[House],
    visit: NamedDependency[Visit],
    conn: NamedDependency[Any],
    movement: FromPath[str],
) -> Response[Any]:
    """A member's vote, or the decision that the votes lead to, or a stop."""
    fields = await house.check_form(request, visit)
    member = await _member(house, visit, conn)
    if member is None:
        raise Problem(
            "CR-006", "Votes are for members of the governance group.", status=403 if visit.signed_in else 401
        )
    choice, reason = fields.get("step", ""), fields.get("reason", "").strip()
    read = fields.get("version", "")
    wrong = _mistakes(choice, reason)
    if wrong:
        # The version stays the one that was read, for the text may have changed under the mistake.
        given = {"step": choice, "reason": reason, "version": read}
        return house.answer(request, visit, await _page(conn, movement, member, given, wrong))
    try:
        actor = await agreements.acting_as(conn, member, visit.principal.party)
        await _take(conn, group.policy_of(house.settings), actor, movement, choice, reason, _number(read))
    except Problem as problem:
        if problem.code not in ("CR-141", "CR-142"):
            raise
        given = {"step": choice, "reason": reason}
        return house.answer(
            request, visit, await _page(conn, movement, member, given, {"step": problem.detail})
        )
    return Redirect(f"/movements/{movement}", status_code=SEE_OTHER)


async def _take(
    conn: Any, policy: Policy, actor: Actor, movement: str, choice: str, reason: str, read: int
) -> None:
    match choice:
        case "for" | "against" | "abstain":
            await agreements.vote(conn, policy, actor, movement, choice, reason, read)
        case "approved" | "rejected":
            await agreements.decide(conn, policy, actor, movement, choice, reason, read)
        case "suspend":
            await agreements.suspend(conn, actor, movement, reason)
        case "resume":
            await agreements.resume(conn, actor, movement, reason)


async def _member(house: House, visit: Visit, conn: Any) -> Member | None:
    """The member of the group that the visitor is."""
    if not visit.signed_in:
        return None
    username = await identity.username_of(conn, visit.principal.id)
    return group.policy_of(house.settings).holder(username) if username else None


async def _whole_register(conn: Any) -> list[RegisteredMovement]:
    found: list[RegisteredMovement] = []
    while page := await movement_register.register(conn, after=found[-1].id if found else ""):
        found += page
    return found


def _before_the_group_first(one: RegisteredMovement) -> tuple[bool, str]:
    return _newest(one).standing not in STEPS["vote"], one.title.casefold()


def _newest(one: RegisteredMovement) -> RegisteredVersion:
    return one.versions[-1]


def _version_of(one: RegisteredMovement) -> RegisteredVersion:
    """The version that runs, or else the newest."""
    return next(version for version in one.versions if version.version == one.version)


_TEXT_COLUMNS = [
    ("from", "From"),
    ("to", "To"),
    ("purpose", "Purpose"),
    ("legal_basis", "Legal basis"),
    ("content", "Content"),
    ("frequency", "How often"),
    ("classification", "Protection"),
    ("retention_days", "Kept for (days)"),
    ("active_from", "First day"),
    ("active_to", "Last day"),
]
_KINDS: dict[str, tuple[Any, ...]] = {
    "retention_days": ("number",),
    "active_from": ("date",),
    "active_to": ("date",),
    "id": ("code",),
}


def _text(movement: Movement, names: dict[str, str]) -> dict[str, Cell]:
    sender = movement.sender
    return {
        "from": names.get(sender.party or "", sender.party or f"every {sender.kind}"),
        "to": ", ".join(names.get(one, one) for one in movement.to),
        "purpose": movement.purpose,
        "legal_basis": movement.legal_basis,
        "content": movement.content,
        "frequency": str(movement.frequency),
        "classification": movement.classification,
        "retention_days": movement.retention_days,
        "active_from": movement.active_from,
        "active_to": movement.active_to,
    }


async def _page(
    conn: Any,
    movement: str,
    member: Member | None,
    given: dict[str, str] | None = None,
    wrong: dict[str, str] | None = None,
) -> Page:
    found = await movement_register.registered(conn, movement)
    if found is None:
        raise Problem("CR-005", "The register has no such movement.", status=404)
    names = await oversight.platform_names(conn)
    newest, text = _newest(found), _text(_newest(found).movement, names)
    titles = dict(_TEXT_COLUMNS)
    facts = (
        Fact("standing", "Standing", found.standing),
        Fact("types", "Messages", ", ".join(newest.movement.types)),
        *(Fact(name, titles[name], value) for name, value in text.items()),
        *_answers(newest),
    )
    return Page(
        template="movement.html",
        title=newest.movement.title,
        summary=_in_words(found),
        facts=facts,
        tables=(_versions(found), _votes(found), _history(found)),
        trail=(HOME, REGISTER),
        has_form=member is not None,
        private=member is not None,
        status=400 if wrong else 200,
        more={
            "member": member,
            "choices": _choices(newest.standing, found.standing) if member else [],
            "given": {"version": str(newest.version), **(given or {})},
            "error_summary": wrong or {},
        },
    )


def _in_words(found: RegisteredMovement) -> str:
    newest = _newest(found)
    if newest.standing in STEPS["vote"]:
        running = f" Version {found.version} runs on meanwhile." if newest.version != found.version else ""
        return f"Version {newest.version} is before the governance group.{running}"
    return f"It is {found.standing}."


def _answers(version: RegisteredVersion) -> tuple[Fact, ...]:
    criteria = version.criteria
    if criteria is None:
        return ()
    return (
        Fact("proportionality", "Why no less would do", criteria.proportionality),
        Fact("assessment", "Data protection assessment", criteria.data_protection_assessment),
        Fact("alternatives", "What else was considered", criteria.alternatives),
        Fact("burden", "What it costs those who send", criteria.burden_on_senders),
    )


def _choices(newest: Standing, running: Standing) -> list[tuple[str, str]]:
    """What can be done now, each with its words. Votes are about the newest version, stopping about the running one."""
    return [
        (name, words)
        for name, (words, step) in CHOICES.items()
        if (newest if step in ("vote", "decide") else running) in STEPS[step]
    ]


def _mistakes(choice: str, reason: str) -> dict[str, str]:
    wrong = {}
    if choice not in CHOICES:
        wrong["step"] = "Choose what to do"
    if not SHORTEST_REASON <= len(reason) <= LONGEST_REASON:
        wrong["reason"] = f"Give a reason of {SHORTEST_REASON} to {LONGEST_REASON:,} characters"
    elif "\0" in reason:
        wrong["reason"] = "Leave out the character with the number 0"
    return wrong


def _number(text: str) -> int:
    """The version that a form was about; 0, which is none, for whatever is no number of one."""
    return int(text) if len(text) <= MOST_DIGITS and text.isascii() and text.isdigit() else 0


def _versions(found: RegisteredMovement) -> Table:
    columns = (
        Column("version", "Version", "number"),
        Column("standing", "Standing"),
        Column("agreed_by", "Agreed by"),
        Column("active_from", "First day", "date"),
        Column("active_to", "Last day", "date"),
        Column("votes_for", "Votes for", "number"),
        Column("votes_against", "Against", "number"),
        Column("abstentions", "Abstained", "number"),
        Column("front_line", "Of all, front line", "number"),
    )
    rows = tuple(
        (
            one.version, one.standing, one.agreed_by, one.movement.active_from, one.movement.active_to,
            one.votes.votes_for, one.votes.votes_against, one.votes.abstentions, one.votes.front_line,
        )
        for one in reversed(found.versions)
    )  # fmt: skip
    return Table(name="versions", title="Versions", columns=columns, rows=rows)


def _votes(found: RegisteredMovement) -> Table:
    columns = (
        Column("version", "Version", "number"),
        Column("member", "Member"),
        Column("kind", "Speaks for"),
        Column("vote", "Vote"),
        Column("reason", "Reason"),
        Column("at", "When", "time"),
    )
    rows = tuple(
        (version.version, one.member, one.kind, one.vote, one.reason, one.at)
        for version in reversed(found.versions)
        for one in version.named_votes
    )
    note = "Only members who agreed to be named stand here; the others are counted above."
    return Table(
        name="votes", title="Votes by name", columns=columns, rows=rows, note=note, empty="No vote by name."
    )


def _history(found: RegisteredMovement) -> Table:
    columns = (
        Column("at", "When", "time"),
        Column("version", "Version", "number"),
        Column("step", "What happened"),
        Column("who", "Who"),
        Column("reason", "Reason"),
    )
    rows = tuple((one.at, one.version, one.step, one.who, one.reason) for one in reversed(found.history))
    return Table(name="history", title="History", columns=columns, rows=rows)


HANDLERS = [movements, movement, step]
