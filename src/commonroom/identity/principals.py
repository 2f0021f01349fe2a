"""Who is asking: a person, an end point, or anybody. What a principal may see is the business of access."""

from __future__ import annotations

from typing import Literal

import msgspec

Kind = Literal["end_point", "person", "public"]
Role = Literal[
    "end_point",
    "public",
    "school",
    "authority",
    "operator",
    "governance",
    "analyst",
    "learner",
    "clerk",
    "researcher",
]

# A clerk keeps the register of learners right; an operator keeps the platform running and decides about nobody; a
# researcher asks for extracts in the name of an organisation outside, and sees nothing else that the public does not.
ROLES_OF_PEOPLE: tuple[Role, ...] = (
    "school",
    "authority",
    "operator",
    "governance",
    "analyst",
    "learner",
    "clerk",
    "researcher",
)
ROLES_WITH_PARTY: frozenset[Role] = frozenset({"school", "authority", "researcher"})


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """A caller whose identity has been proved (or `PUBLIC`)."""

    kind: Kind
    id: str  # UUID of the end point or person; empty for the public
    role: Role
    party: str | None = None  # the organisation it acts for, a party urn
    name: str = ""  # for display to the person itself; empty for end points signed in by token

    def __repr__(self) -> str:
        # Without the name: what is represented ends up in logs.
        return f"Principal({self.kind} {self.id}, {self.role}, {self.party})"

    __str__ = __repr__


PUBLIC = Principal(kind="public", id="", role="public")
