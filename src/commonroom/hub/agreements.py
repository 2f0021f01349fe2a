"""How movements come to be agreed and end: propose, vote, decide, amend, suspend, resume, withdraw.

Every step is checked against `lifecycle.py`, taken in one transaction in which the movement is locked, and recorded with
who, when (domain clock) and why. What routes is read from the same rows, so a step holds from its commit on.
"""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from commonroom.hub import movement_versions
from commonroom.hub.directory import resolve_alias, resolve_aliases
from commonroom.hub.group import Ballot, Member, Policy, Tally, Vote, check_outcome, tally
from commonroom.hub.lifecycle import OPEN, Role, Standing, check_role, check_step, not_yours
from commonroom.hub.movements import (
    GIVEN,
    TEXT,
    Movement,
    Words,
    contradictions,
    list_movements,
    row_of,
)
from commonroom.problems import Problem

MAX_OPEN_PROPOSALS = 20  # of one proposer
OPERATOR = "the operator"
GROUP = "the governance group"

Outcome = Literal["approved", "rejected"]
Answer = Annotated[str, Meta(min_length=3, max_length=10_000, pattern=r"^[^\x00]*$")]


class Criteria(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The review's questions, answered; purpose and legal basis are the movement's own."""

    proportionality: Answer  # why no less data, less often, about fewer people would do
    data_protection_assessment: Answer  # reference of the impact assessment, or why none is needed
    alternatives: Answer  # what else was considered
    burden_on_senders: Answer  # what it costs those who send


class Proposal(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A movement to be agreed, or the new text of one."""

    movement: Movement
    criteria: Criteria
    reason: Words


class Actor(msgspec.Struct, frozen=True, kw_only=True):
    """Who takes a step: the operator by name, a member of the group, or an organisation through an end point."""

    role: Role
    name: str
    party: str | None = None  # urn
    member: Member | None = None

    @property
    def key(self) -> str:
        """What identifies a proposer."""
        return self.member.id if self.member else self.party or self.name

    @property
    def public_name(self) -> str:
        """What the public reads."""
        return {"operator": OPERATOR, "member": GROUP, "organisation": self.name}[self.role]


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """How a movement stands after a step."""

    movement: str
    version: int
    standing: Standing
    votes: Tally | None = None


_PROPOSE = f"""
INSERT INTO hub.movement (
    id, version, {TEXT}, loaded_at, state, origin, criteria, proposer, proposer_party
)
SELECT id, $2::integer, {TEXT}, engines.domain_now(), 'proposed', 'group', $3, $4, $5 FROM {GIVEN}
"""  # noqa: S608 - constant text

_OPEN_OF = "SELECT count(*) FROM hub.movement WHERE proposer = $1 AND state IN ('proposed', 'under review')"

_STEP = """
INSERT INTO hub.movement_step (movement, version, step, at, role, who, public_who, reason)
VALUES ($1, $2, $3, engines.domain_now(), $4, $5, $6, $7)
"""

_VOTE = """
INSERT INTO hub.movement_vote (
    movement, version, member, member_name, kind, front_line, of_proposer, named, vote, reason, at
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, engines.domain_now())
"""

_BALLOTS = """
SELECT DISTINCT ON (member) vote, front_line, of_proposer FROM hub.movement_vote
WHERE movement = $1 AND version = $2
ORDER BY member, entry DESC
"""

_SET_STATE = "UPDATE hub.movement SET state = $3 WHERE id = $1 AND version = $2"
_WITHDRAW_ALL = "UPDATE hub.movement SET state = 'withdrawn' WHERE id = $1 AND state = 'approved'"
_SUSPEND = "INSERT INTO hub.movement_suspension (movement, since) VALUES ($1, engines.domain_now())"
_RESUME = "DELETE FROM hub.movement_suspension WHERE movement = $1"


async def actor_of(connection: Any, policy: Policy, party: str) -> Actor:
    """The caller for an end point's party (urn): the member it speaks for, or else the organisation itself."""
    speaking = [member for member in policy.members if member.party is not None]
    parties = await resolve_aliases(connection, [member.party for member in speaking if member.party])
    for member in speaking:
        if parties.get(member.party or "") == party:
            return Actor(role="member", name=member.name, party=party, member=member)
    name = await connection.fetchval("SELECT name FROM hub.party WHERE urn = $1", party)
    return Actor(role="organisation", name=name or party, party=party)


async def member_actor(connection: Any, policy: Policy, member_id: str) -> Actor:
    """The member with this id. Raises Problem CR-143."""
    member = policy.member(member_id)
    if member is None:
        raise not_yours("vote", f"{member_id} is not a member of the governance group.")
    return await acting_as(connection, member)


async def acting_as(connection: Any, member: Member, own_party: str | None = None) -> Actor:
    """A member of the group whose identity has been proved, by the operator or by signing in.

    `own_party` (urn) is the organisation of who signed in. Where the policy names none it is the member's: else the vote
    of a proposer's own person would count as somebody else's.
    """
    party = (await resolve_alias(connection, member.party) if member.party else None) or own_party
    return Actor(role="member", name=member.name, party=party, member=member)


async def propose(connection: Any, actor: Actor, proposal: Proposal) -> Done:
    """Put a new movement before the group. Raises Problem CR-141, CR-143 or CR-144."""
    check_role("propose", actor.role)
    movement = proposal.movement
    async with movement_versions.locked(connection, movement.id) as versions:
        if versions:
            check_step("propose", versions[-1].standing, movement.id)
        return await _store_proposal(connection, actor, proposal, 1, "proposed")


async def amend(connection: Any, actor: Actor, proposal: Proposal) -> Done:
    """Put a new version before the group; what runs, runs on until the new one is approved and its first day comes.

    Raises Problem CR-005, CR-141, CR-143 or CR-144.
    """
    check_role("amend", actor.role)
    movement = proposal.movement
    async with movement_versions.locked(connection, movement.id) as versions:
        check_step("amend", movement_versions.newest_of(versions, movement.id).standing, movement.id)
        if actor.role == "organisation" and not await _takes_part(
            connection, actor, movement.id, versions[-1]
        ):
            raise not_yours(
                "amend", "An organisation amends what it sends or receives under, or has proposed."
            )
        return await _store_proposal(
            connection, actor, proposal, versions[-1].version + 1, "amendment proposed"
        )


async def vote(
    connection: Any,
    policy: Policy,
    actor: Actor,
    movement: str,
    choice: Vote,
    reason: str,
    expected: int | None = None,
) -> Done:
    """A member's vote on what is before the group; the last one a member gave counts. Raises CR-005, CR-141, CR-143.

    `expected`: the version whose text the member has read; a vote on another one is refused.
    """
    check_role("vote", actor.role)
    member = _member(actor)
    async with movement_versions.locked(connection, movement) as versions:
        before = movement_versions.newest_of(versions, movement)
        movement_versions.check_read(before, movement, expected)
        check_step("vote", before.standing, movement)
        await connection.execute(
            _VOTE,
            movement,
            before.version,
            member.id,
            member.name,
            member.kind,
            policy.front_line(member),
            _proposed(actor, before),
            member.named,
            choice,
            reason,
        )
        if before.standing == "proposed":
            await connection.execute(_SET_STATE, movement, before.version, "under review")
            await _record(
                connection, actor, movement, before.version, "review began", "The first vote was cast."
            )
        count = await _count(connection, policy, movement, before.version)
        return Done(movement=movement, version=before.version, standing="under review", votes=count)


async def decide(
    connection: Any,
    policy: Policy,
    actor: Actor,
    movement: str,
    outcome: Outcome,
    reason: str,
    expected: int | None = None,
) -> Done:
    """Record what the votes decide under the group's rule; `expected` as for `vote`.

    Raises Problem CR-005, CR-141, CR-142 or CR-143.
    """
    check_role("decide", actor.role)
    async with movement_versions.locked(connection, movement) as versions:
        version = movement_versions.newest_of(versions, movement)
        movement_versions.check_read(version, movement, expected)
        check_step("decide", version.standing, movement)
        count = await _count(connection, policy, movement, version.version)
        check_outcome(count, outcome, movement)
        await connection.execute(_SET_STATE, movement, version.version, outcome)
        await _record(connection, actor, movement, version.version, outcome, reason)
        return await _done(connection, movement, version.version, count)


async def suspend(connection: Any, actor: Actor, movement: str, reason: str) -> Done:
    """Stop a movement at once, until it is resumed. Raises Problem CR-005, CR-141 or CR-143."""
    return await _stop_or_go(connection, actor, movement, reason, "suspend")


async def resume(connection: Any, actor: Actor, movement: str, reason: str) -> Done:
    """Let a suspended movement go on. Raises Problem CR-005, CR-141 or CR-143."""
    return await _stop_or_go(connection, actor, movement, reason, "resume")


async def withdraw(
    connection: Any, actor: Actor, movement: str, reason: str, version: int | None = None
) -> Done:
    """Take back the proposal that is before the group, or else end the movement, at once and for good.

    With `version`: that version alone, which must not have begun. An organisation and a member withdraw only what they
    proposed. Raises Problem CR-005, CR-141 or CR-143.
    """
    check_role("withdraw", actor.role)
    async with movement_versions.locked(connection, movement) as versions:
        target = (
            movement_versions.numbered(versions, movement, version)
            if version
            else movement_versions.in_hand(versions, movement)
        )
        check_step("withdraw", target.standing, movement)
        if actor.role != "operator" and not _proposed(actor, target):
            raise not_yours("withdraw", "Only its proposer or the operator may withdraw it.")
        if version and target.standing not in (*OPEN, "approved"):
            detail = f"Version {version} has begun; withdraw the movement, without a version, to end it."
            raise Problem("CR-141", detail, status=409, where=movement, remedy="Leave the version out.")
        if version or target.standing in OPEN:
            await connection.execute(_SET_STATE, movement, target.version, "withdrawn")
        else:
            await connection.execute(_WITHDRAW_ALL, movement)
            await connection.execute(_RESUME, movement)
        await _record(connection, actor, movement, target.version, "withdrawn", reason)
        return await _done(connection, movement, target.version)


async def _stop_or_go(
    connection: Any, actor: Actor, movement: str, reason: str, step: Literal["suspend", "resume"]
) -> Done:
    check_role(step, actor.role)
    async with movement_versions.locked(connection, movement) as versions:
        running = movement_versions.running_of(versions, movement)
        check_step(step, running.standing, movement)
        await connection.execute(_SUSPEND if step == "suspend" else _RESUME, movement)
        past = "suspended" if step == "suspend" else "resumed"
        await _record(connection, actor, movement, running.version, past, reason)
        return await _done(connection, movement, running.version)


async def _store_proposal(connection: Any, actor: Actor, proposal: Proposal, version: int, step: str) -> Done:
    movement = proposal.movement
    await _check_proposal(connection, actor, movement)
    criteria = msgspec.to_builtins(proposal.criteria)
    await connection.execute(_PROPOSE, [row_of(movement)], version, criteria, actor.key, actor.party)
    await _record(connection, actor, movement.id, version, step, proposal.reason)
    return Done(movement=movement.id, version=version, standing="proposed")


async def _check_proposal(connection: Any, actor: Actor, movement: Movement) -> None:
    named = [name for name in (movement.sender.party, *movement.to) if name and name.startswith("urn:")]
    known = await resolve_aliases(connection, named)
    faults = contradictions((movement,))
    faults += [f"{name} is not in the directory." for name in named if name not in known]
    today: date = await connection.fetchval(
        "SELECT (engines.domain_now() AT TIME ZONE 'Europe/London')::date"
    )
    if movement.active_to is not None and movement.active_to < today:
        faults.append(f"Its last day, {movement.active_to}, has passed.")
    if await connection.fetchval(_OPEN_OF, actor.key) >= MAX_OPEN_PROPOSALS:
        faults.append(f"{MAX_OPEN_PROPOSALS} proposals of yours are open.")
    if faults:
        remedy = "Mend the proposal and send it again; nothing was stored."
        raise Problem("CR-144", " ".join(faults), status=422, where=movement.id, remedy=remedy)


async def _takes_part(
    connection: Any, actor: Actor, movement: str, newest: movement_versions.Version
) -> bool:
    mine = await list_movements(connection, actor.party)
    return _proposed(actor, newest) or any(listed.movement.id == movement for listed in mine)


async def _count(connection: Any, policy: Policy, movement: str, version: int) -> Tally:
    rows = await connection.fetch(_BALLOTS, movement, version)
    return tally(policy.rule, [Ballot(**dict(row)) for row in rows])


async def _record(connection: Any, actor: Actor, movement: str, version: int, step: str, reason: str) -> None:
    await connection.execute(
        _STEP, movement, version, step, actor.role, actor.name, actor.public_name, reason
    )


async def _done(connection: Any, movement: str, version: int, votes: Tally | None = None) -> Done:
    now = movement_versions.numbered(await movement_versions.all_of(connection, movement), movement, version)
    return Done(movement=movement, version=version, standing=now.standing, votes=votes)


def _proposed(actor: Actor, version: movement_versions.Version) -> bool:
    return actor.key == version.proposer or (
        actor.party is not None and actor.party == version.proposer_party
    )


def _member(actor: Actor) -> Member:
    if actor.member is None:
        raise not_yours("vote", "Only members of the governance group vote.")
    return actor.member
