"""Movements over HTTP: the public register, and the steps that members and organisations take through their end points.

People sign in on the portal. Here a member of the governance group is the party that the policy names for the member.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import msgspec
from litestar import get, post
from litestar.params import FromPath, JSONBody, QueryParameter
from msgspec import Meta

from commonroom.hub import agreements, movement_register, openapi
from commonroom.hub.agreements import Actor, Done, Outcome, Proposal
from commonroom.hub.callers import Call, caller_of, office_of
from commonroom.hub.faults import log_fault
from commonroom.hub.group import Policy, Vote, policy_of
from commonroom.hub.movement_register import PAGE, RegisteredMovement
from commonroom.hub.movements import Words
from commonroom.problems import Problem

Version = Annotated[int, Meta(ge=1, le=1_000_000)]


class VoteRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST /movements/{id}/votes."""

    vote: Vote
    reason: Words
    version: Version | None = None  # the one that was read; a vote on another is refused


class DecisionRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST /movements/{id}/decision."""

    outcome: Outcome
    reason: Words
    version: Version | None = None  # as in a vote


class ReasonRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST /movements/{id}/suspend and /resume."""

    reason: Words


class WithdrawRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """POST /movements/{id}/withdraw. With a version: that one alone, before it begins."""

    reason: Words
    version: Version | None = None


@get("/register/movements")
async def get_register(
    request: Call,
    after: Annotated[str, QueryParameter(max_length=64, pattern=r"^[^\x00]*$")] = "",
    limit: Annotated[int, QueryParameter(ge=1, le=PAGE)] = PAGE,
) -> list[RegisteredMovement]:
    """The public register of movements, by id; the next page begins after the last id of this one. For everybody."""
    async with office_of(request).pool.acquire() as connection:
        return await movement_register.register(connection, after=after, limit=limit)


@get("/register/movements/{movement:str}")
async def get_registered(request: Call, movement: FromPath[str]) -> RegisteredMovement:
    """One movement of the public register. For everybody."""
    async with office_of(request).pool.acquire() as connection:
        found = await movement_register.registered(connection, movement)
    if found is None:
        remedy = "GET /register/movements lists them."
        raise Problem("CR-005", "There is no such movement.", status=404, where="movement", remedy=remedy)
    return found


@post("/movements", status_code=201, security=openapi.SIGNED_IN)
async def propose(request: Call, data: JSONBody[Proposal]) -> Done:
    """Put a new movement before the governance group, with the review's questions answered."""
    async with _acting(request) as (connection, _, actor):
        return await agreements.propose(connection, actor, data)


@post("/movements/{movement:str}/amend", status_code=201, security=openapi.SIGNED_IN)
async def amend(request: Call, movement: FromPath[str], data: JSONBody[Proposal]) -> Done:
    """Put a new version of a movement before the group; the present one runs on until it is approved and begins."""
    if data.movement.id != movement:
        remedy = "The id in the address and the one in the body must be the same."
        raise Problem(
            "CR-144", "The body is about another movement.", status=422, where="movement.id", remedy=remedy
        )
    async with _acting(request) as (connection, _, actor):
        return await agreements.amend(connection, actor, data)


@post("/movements/{movement:str}/votes", status_code=200, security=openapi.SIGNED_IN)
async def vote(request: Call, movement: FromPath[str], data: JSONBody[VoteRequest]) -> Done:
    """Vote on what is before the group, as one of its members; the last vote of a member counts."""
    async with _acting(request) as (connection, policy, actor):
        return await agreements.vote(
            connection, policy, actor, movement, data.vote, data.reason, data.version
        )


@post("/movements/{movement:str}/decision", status_code=200, security=openapi.SIGNED_IN)
async def decide(request: Call, movement: FromPath[str], data: JSONBody[DecisionRequest]) -> Done:
    """Record what the votes decide; another outcome than theirs is refused."""
    async with _acting(request) as (connection, policy, actor):
        return await agreements.decide(
            connection, policy, actor, movement, data.outcome, data.reason, data.version
        )


@post("/movements/{movement:str}/suspend", status_code=200, security=openapi.SIGNED_IN)
async def suspend(request: Call, movement: FromPath[str], data: JSONBody[ReasonRequest]) -> Done:
    """Stop a movement at once, until it is resumed."""
    async with _acting(request) as (connection, _, actor):
        return await agreements.suspend(connection, actor, movement, data.reason)


@post("/movements/{movement:str}/resume", status_code=200, security=openapi.SIGNED_IN)
async def resume(request: Call, movement: FromPath[str], data: JSONBody[ReasonRequest]) -> Done:
    """Let a suspended movement go on."""
    async with _acting(request) as (connection, _, actor):
        return await agreements.resume(connection, actor, movement, data.reason)


@post("/movements/{movement:str}/withdraw", status_code=200, security=openapi.SIGNED_IN)
async def withdraw(request: Call, movement: FromPath[str], data: JSONBody[WithdrawRequest]) -> Done:
    """Take back the proposal that is before the group, or else end the movement; for its proposer."""
    async with _acting(request) as (connection, _, actor):
        return await agreements.withdraw(connection, actor, movement, data.reason, data.version)


@asynccontextmanager
async def _acting(request: Call) -> AsyncIterator[tuple[Any, Policy, Actor]]:
    """A connection, the policy as it is declared now, and who is calling."""
    caller, office = caller_of(request), office_of(request)
    try:
        policy = policy_of(office.settings)
    except Problem as problem:  # a fault of the operator's file: its path and lines are not for callers
        log_fault("the governance policy cannot be used", problem)
        remedy = "The operator finds the fault in the hub's log."
        raise Problem("CR-140", "The policy cannot be used.", status=503, remedy=remedy) from problem
    async with office.pool.acquire() as connection:
        yield connection, policy, await agreements.actor_of(connection, policy, caller.party or "")


HANDLERS = (get_register, get_registered, propose, amend, vote, decide, suspend, resume, withdraw)
