"""What is shown of a return, on the command line and over HTTP."""

from __future__ import annotations

from typing import Any

import msgspec

from commonroom.returns import store, workflow
from commonroom.returns.parties import Actor
from commonroom.returns.store import Checks, Return, Version


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """A return, its current version, its findings counted, and what may be done now."""

    found: Return = msgspec.field(name="return")
    state: str
    # The number that older systems know the state by.
    collect_status: str
    roles: list[str]
    steps: list[str]
    checks: Checks
    version: Version | None


async def of(connection: Any, actor: Actor, found: Return) -> Summary:
    """The summary for one who has a part in the return."""
    roles = actor.roles(found.party, found.approver)
    declared = workflow.load()
    state = declared.state(found.state)
    return Summary(
        found=found,
        state=state.title,
        collect_status=state.collect[0],
        roles=sorted(roles),
        steps=list(workflow.open_steps(declared, found.state, roles, has_approver=found.has_approver)),
        checks=await store.checks(connection, found),
        version=await store.version(connection, found) if found.version else None,
    )
