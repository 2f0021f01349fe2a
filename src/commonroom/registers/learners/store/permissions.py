"""Who may do what in the register, and to whose learners: access/policies/learners.*.yaml, one file an action."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal
from uuid import UUID

import msgspec

from commonroom import access
from commonroom.access import Scope
from commonroom.problems import Problem
from commonroom.registers.learners.store.values import Caller
from commonroom.registers.learners.store.watch import rules

Action = Literal["find", "check", "register", "update", "merge", "review", "audit"]
_ALL_ROWS = "(TRUE)"


class _Asker(msgspec.Struct, frozen=True):
    """The caller as the access room knows askers."""

    kind: str
    id: str
    role: str
    party: str | None


def require(who: Caller, action: Action) -> Scope:
    """The learners to whom this caller may do this, as a condition on learners.registered.

    Raises Problem CR-111 (403) when the role may not do it at all, CR-211 without a declared purpose.
    """
    if who.purpose not in rules().purposes:
        raise Problem(
            "CR-211",
            "a look-up says why it is made, with one of the declared purposes",
            where="purpose",
            remedy=f"Declared are: {', '.join(rules().purposes)}.",
        )
    return _scope(who.role, who.party, action)


def is_everybody(scope: Scope) -> bool:
    """Whether the scope leaves nobody out."""
    return scope.sql == _ALL_ROWS


async def allowed(conn: Any, scope: Scope, learners: Sequence[UUID]) -> set[UUID]:
    """Those of these learners whom the scope lets through."""
    if is_everybody(scope) or not learners:
        return set(learners)
    rows = await conn.fetch(
        f"SELECT DISTINCT learner FROM learners.registered WHERE learner = ANY ($1::uuid[]) AND {scope.sql}",  # noqa: S608 - made by access, values are parameters
        list(learners),
        *scope.params,
    )
    return {row["learner"] for row in rows}


@lru_cache(maxsize=10_000)
def _scope(role: str, party: str, action: Action) -> Scope:
    # The first parameter of every query with a scope is the list of learners.
    return access.rows(
        _Asker("party", party, role, party), f"learners.{action}", "postgres", first_parameter=2
    )
