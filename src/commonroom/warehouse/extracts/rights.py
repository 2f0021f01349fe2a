"""Who takes which step of an extract, how much may wait for a decision, and how well its requester protects data."""

from __future__ import annotations

from typing import Any, Literal

from commonroom.access.policies import Asker
from commonroom.problems import Problem, add_codes
from commonroom.warehouse.extracts.model import Form

add_codes(
    {
        "CR-336": "Too many requests of yours wait for a decision",
        "CR-337": "The step is not yours to take",
        "CR-338": "There is no such file of the extract",
    }
)

Step = Literal["decide", "freeze", "try"]
# The group decides about what goes out; the operator makes the copy on its day, and decides about nothing. Its requester
# tries it too.
ROLES: dict[Step, tuple[str, ...]] = {
    "decide": ("governance",),
    "freeze": ("operator",),
    "try": ("operator",),
}
# What the hub's evidence must say of the requester (hub.level_of: 0 public to 3 restricted).
NEEDS: dict[Form, int] = {"pseudonymised": 2, "identifiable": 3}
MOST_WAITING = 20  # requests of one party

_LEVEL = "SELECT hub.level_of($1, NULL)"
# Two requests at the same moment would each see the room for one.
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('warehouse.extract ' || $1, 0))"
_WAITING = "SELECT count(*) FROM warehouse.extract WHERE requester = $1 AND state = 'requested'"


def need_role(who: Asker, step: Step, name: str) -> None:
    """Raise Problem CR-337 where the step is for another role."""
    if who.role not in ROLES[step]:
        roles = " or ".join(ROLES[step])
        raise Problem("CR-337", f"to {step} is for {roles}", status=403, where=name)


async def need_room(connection: Any, requester: str) -> None:
    """Raise Problem CR-336 where enough of the requester waits; in a transaction, until whose end no other of it asks."""
    await connection.execute(_LOCK, requester)
    if await connection.fetchval(_WAITING, requester) >= MOST_WAITING:
        raise Problem(
            "CR-336",
            f"{MOST_WAITING} requests of yours wait for a decision",
            status=429,
            remedy="Wait for those, and ask again.",
        )


async def level_of(connection: Any, requester: str) -> int:
    """The rank of the protection for which the requester has evidence today."""
    level: int = await connection.fetchval(_LEVEL, requester)
    return level


async def need_protection(connection: Any, requester: str, form: Form, name: str) -> None:
    """Raise Problem CR-269 where the evidence of today does not reach what the form of the extract needs."""
    if await level_of(connection, requester) < NEEDS[form]:
        raise Problem(
            "CR-269",
            f"an extract that is {form} needs evidence of a higher level than the requester has today",
            status=403,
            where=name,
            remedy="Record dated evidence: commonroom hub evidence add.",
        )
