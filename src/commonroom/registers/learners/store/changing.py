"""Changes addressed to a number: items of a learner, and whether the record may be shared. A change is kept as it was
sent; the person is made anew from everything that was."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import msgspec

from commonroom.engines import clock
from commonroom.ids import uuid7
from commonroom.problems import Problem
from commonroom.registers.learners import answers
from commonroom.registers.learners.matching.people import Details
from commonroom.registers.learners.numbers import is_uln
from commonroom.registers.learners.store import cases, items, permissions, views, watch, writing
from commonroom.registers.learners.store.cases import NewCase
from commonroom.registers.learners.store.persons import DETAILS, OTHERS, Change
from commonroom.registers.learners.store.values import Caller, Learner, Updated
from commonroom.registers.learners.store.writing import Link
from commonroom.standard import is_valid

CHANGEABLE = (*DETAILS, *OTHERS)
_TOLD = ("1", "2")  # once the notice was given, it cannot be un-given
# The row stays locked: whoever has read the same version waits and is then told.
_HOLDER = """
SELECT p.id, p.version
FROM learners.uln u JOIN learners.person p ON p.id = u.person
WHERE u.number = $1 FOR UPDATE OF p
"""
_VERSION = "SELECT version FROM learners.person WHERE id = $1"


async def update(
    conn: Any, who: Caller, uln: str, changes: Mapping[str, str | None], version: int
) -> Updated:
    """Change items of a learner by their names in `Learner`; None takes a value away.

    WSRC0006 with the new version; 0013 changed since that version was read; 0014 the ability to share cannot go there;
    0015 a value cannot be used; 0019 no such learner of the caller's; 0020 nothing to change; WSEC0136.
    Raises Problem CR-211 for an item that there is not.
    """
    return await _changed(conn, who, "update", uln, dict(changes), version)


async def set_sharing(conn: Any, who: Caller, uln: str, ability: str) -> Updated:
    """Set the ability to share (2: refused); it counts from the next look-up on. The number stays."""
    return await _changed(conn, who, "set_sharing", uln, {"ability_to_share": ability}, None)


async def challenge(conn: Any, who: Caller, uln: str, item: str, note: str) -> UUID | None:
    """Say that an item of a learner is wrong: the case that a clerk will decide; None when there is no such learner."""
    scope = permissions.require(who, "find")
    if item not in CHANGEABLE:
        raise _no_item(item)
    async with conn.transaction():
        row = await conn.fetchrow(_HOLDER, uln)
        if row is None or not await permissions.allowed(conn, scope, [row["id"]]):
            await watch.note(conn, who, "challenge", answers.NOT_FOUND, None)
            return None
        learner = (await views.learners_of(conn, [row["id"]]))[row["id"]]
        new = NewCase(
            kind="challenge",
            party=who.party,
            sent=_details(learner),
            candidates=(),
            guard=None,
            model="",
            person=row["id"],
            note=f"{item}: {note[: items.LONGEST['notes']]}",
        )
        (case,) = await cases.open_all(conn, [new], await clock.now(conn))
        await watch.note(conn, who, "challenge", answers.UPDATED, row["id"])
    return case


async def _changed(
    conn: Any, who: Caller, action: str, uln: str, changes: dict[str, str | None], version: int | None
) -> Updated:
    scope = permissions.require(who, "update")
    for name in changes:
        if name not in CHANGEABLE:
            raise _no_item(name)
    async with conn.transaction():
        row = await _held(conn, uln) if is_uln(uln) else None
        if row is not None and not await permissions.allowed(conn, scope, [row["id"]]):
            row = None
        if row is None:
            answer = Updated(code=answers.NOT_FOUND if is_uln(uln) else answers.NO_ULN)
        else:
            answer = await _apply(conn, who, row["id"], row["version"], uln, changes, version)
        await watch.note(conn, who, action, answer.code, row["id"] if row else None)
    return answer


async def _apply(
    conn: Any,
    who: Caller,
    person: UUID,
    current: int,
    uln: str,
    changes: dict[str, str | None],
    version: int | None,
) -> Updated:
    if version is not None and version != current:
        return Updated(code=answers.CHANGED_SINCE, version=current)
    learner = (await views.learners_of(conn, [person]))[person]
    real = {name: value for name, value in changes.items() if (value or None) != getattr(learner, name)}
    if not real:
        return Updated(code=answers.NO_CHANGE, version=current)
    if not _may_go(learner.ability_to_share, real.get("ability_to_share", learner.ability_to_share)):
        return Updated(code=answers.SHARING_REFUSED, version=current)
    after = msgspec.structs.replace(learner, **real)
    if items.faults_of(_details(after)) or items.too_long(real):
        return Updated(code=answers.INSUFFICIENT, version=current)
    if wrong := items.wrong_values(real, await clock.today(conn)):
        return Updated(code=answers.INSUFFICIENT, version=current, wrong=wrong)
    now = await clock.now(conn)
    sent = msgspec.json.encode(Change(uln, real)).decode()
    link = Link(registration=uuid7(), sent=sent, person=person, decided_by="number")
    await writing.say(conn, who, "change", [link], now)
    await writing.rewrite(conn, [person])
    if (upn := real.get("upn")) and is_valid("UPN", upn):
        await writing.add_upns(conn, [(upn, person)], now)
    return Updated(code=answers.UPDATED, version=await conn.fetchval(_VERSION, person))


async def _held(conn: Any, uln: str) -> Any:
    """Whose the number is, held. Read again once held: a merge we may have waited for can have moved the number."""
    first = await conn.fetchrow(_HOLDER, uln)
    return first and await conn.fetchrow(_HOLDER, uln)


def _may_go(before: str | None, after: str | None) -> bool:
    """Whether the ability to share may change so."""
    return after == before or (after in items.SHARING and not (before in _TOLD and after not in _TOLD))


def _details(learner: Learner) -> Details:
    values: dict[str, Any] = {name: getattr(learner, name) for name in DETAILS}
    blank = {"given_name": "", "family_name": "", "date_of_birth": "", "gender": "0"}
    full: dict[str, Any] = {name: value or blank.get(name) for name, value in values.items()}
    return Details(**full)


def _no_item(name: str) -> Problem:
    return Problem(
        "CR-211",
        f"a learner has no item {name[:40]!r} that can be changed",
        where="changes",
        remedy=f"There are: {', '.join(CHANGEABLE)}.",
    )
