"""Who comes to the register: the party and the role of somebody who has signed in, for one declared purpose."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

from commonroom.identity import Principal
from commonroom.ids import alias_urn
from commonroom.problems import Problem, add_codes
from commonroom.registers.learners.store import Caller

add_codes({"CR-246": "There were too many look-ups"})

REGISTER = alias_urn("platform", "learners")
DEPARTMENT = alias_urn("platform", "department")
# The directory's kinds of party, as the policies call them; the first that fits counts.
_ROLES = {
    "college": "college",
    "school": "school",
    "local authority": "authority",
    "awarding body": "awarding_body",
    # Colleges and training providers, which UKRLP and the lists of providers name by their UKPRN alone.
    "learning provider": "college",
    "department": "department",
}
_KINDS = "SELECT kinds FROM hub.party WHERE urn = $1"
# People who work at the register itself: its clerks, and the operator, who follows up its trail and nothing else.
_OWN = ("clerk", "operator")


async def of_principal(conn: Any, principal: Principal, purpose: str) -> Caller:
    """The caller that a principal is. Raises Problem CR-006 for all who have no part in the register."""
    if principal.kind == "person" and principal.role in _OWN:
        return Caller(party=REGISTER, person=principal.id, purpose=purpose, role=principal.role)
    role = await _role_of(conn, principal)
    if role is None or principal.party is None:
        status = 401 if principal.kind == "public" else 403
        raise Problem(
            "CR-006",
            "The register of learners is for those who teach, examine or answer for learners.",
            status=status,
            remedy="Sign in for a school, a college, an authority or an awarding body.",
        )
    person = principal.id if principal.kind == "person" else None
    return Caller(party=principal.party, person=person, purpose=purpose, role=role)


async def role_of_party(conn: Any, party: str | None) -> str | None:
    """The role in which a party comes, by its kinds in the directory; None for parties without a part in the register."""
    kinds = set(await conn.fetchval(_KINDS, party) or ())
    return next((role for kind, role in _ROLES.items() if kind in kinds), None)


async def _role_of(conn: Any, principal: Principal) -> str | None:
    if principal.kind == "public" or principal.role not in ("school", "authority", "end_point"):
        return None
    found = await role_of_party(conn, principal.party)
    # A person's own role is proved by the account, whether or not the directory knows the party.
    return found or (principal.role if principal.kind == "person" else None)


class Rates:
    """How many look-ups a party may make in a minute, counted in this process; one minute's worth may come at once.

    A request for more than that goes through when the minute is full, and is paid for by the minutes after it.
    """

    def __init__(self, a_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._a_minute = a_minute
        self._clock = clock
        self._left: dict[str, tuple[float, float]] = {}

    def spend(self, party: str, count: int = 1) -> None:
        """Take so many, or nothing and raise Problem CR-246 (429) with `retry_after`."""
        now = self._clock()
        left = self._filled(*self._left.get(party, (float(self._a_minute), now)), now)
        wanted = min(count, self._a_minute)
        if left < wanted:
            wait = math.ceil((wanted - left) * 60 / self._a_minute)
            raise Problem(
                "CR-246",
                f"There may be {self._a_minute:,} look-ups a minute.",
                status=429,
                remedy=f"Come again in {wait} seconds; send many at once as a batch.",
                extra={"retry_after": wait},
            )
        self._left[party] = (left - count, now)
        if len(self._left) > 10_000:
            self._left = {
                name: held for name, held in self._left.items() if self._filled(*held, now) < self._a_minute
            }

    def _filled(self, left: float, at: float, now: float) -> float:
        return min(float(self._a_minute), left + (now - at) * self._a_minute / 60)
