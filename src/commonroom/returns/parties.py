"""Who owes a return, who checks it, and what somebody is to it."""

from __future__ import annotations

from typing import Any

import msgspec

from commonroom.collections.model import Collection
from commonroom.hub import directory
from commonroom.ids import alias_urn
from commonroom.problems import Problem
from commonroom.returns.workflow import Role

ITS_AUTHORITY = "its local authority"
ITS_TRUST = "its academy trust"
COLLECTOR = "collector"
COMMAND_LINE = "command line"
DEPARTMENT = alias_urn("platform", "department")

# `academies` says whether the authority also approves the returns of schools that belong to a trust.
EXPECTED = f"""
SELECT
    p.urn AS party,
    CASE
        WHEN $2 THEN p.urn
        WHEN $3 AND ($4 OR NOT EXISTS (
            SELECT FROM hub.relation t WHERE t.party = p.urn AND t.role = '{ITS_TRUST}'
        )) THEN (SELECT min(r.other) FROM hub.relation r WHERE r.party = p.urn AND r.role = '{ITS_AUTHORITY}')
    END AS approver
FROM hub.party p
WHERE p.kinds && $1::text[]
ORDER BY p.urn
"""  # noqa: S608 - constants of ours


class Actor(msgspec.Struct, frozen=True, kw_only=True):
    """Who does something to a return. `who` is kept with it: a person's id, or the command line."""

    who: str
    # The organisation they act for; None for the collector.
    party: str | None = None
    collector: bool = False

    def roles(self, party: str, approver: str | None) -> set[Role]:
        """What they are to a return."""
        found: set[Role] = set()
        if self.collector:
            found.add("collector")
        if self.party is not None:
            found |= {"source"} if self.party == party else set()
            found |= {"approver"} if self.party == approver else set()
        return found


def of_principal(principal: Any) -> Actor:
    """The actor that a signed-in person is: schools and authorities for their own, the operator as collector.

    Raises Problem CR-006 for everybody else: they have no part in returns.
    """
    if principal.kind == "person" and principal.role in ("school", "authority") and principal.party:
        return Actor(who=principal.id, party=principal.party)
    if principal.kind == "person" and principal.role == "operator":
        return Actor(who=principal.id, collector=True)
    status = 401 if principal.kind == "public" else 403
    raise Problem("CR-006", "Returns are for those who send, approve or collect them.", status=status)


async def named(connection: Any, who: str) -> Actor:
    """The actor of a command: `collector`, a URN of six digits, an authority's number of three, or a party urn."""
    if who in (COLLECTOR, "department"):
        return Actor(who=COMMAND_LINE, collector=True)
    return Actor(who=COMMAND_LINE, party=await party_of(connection, who))


async def party_of(connection: Any, name: str) -> str:
    """The party that a number or urn names. Raises Problem CR-005."""
    wanted = name
    if name.isascii() and name.isdigit():
        wanted = alias_urn({3: "la", 6: "urn"}.get(len(name), "ukprn"), name)
    found = await directory.resolve_alias(connection, wanted)
    if found is None:
        raise Problem(
            "CR-005",
            f"the directory has no party {name[:80]!r}",
            status=404,
            remedy="Name a school by its URN, an authority by its number of three digits, or give the party's urn.",
        )
    return found


async def expected(connection: Any, collection: Collection) -> list[tuple[str, str | None]]:
    """Every party that owes a return to this collection, and who approves it."""
    kinds = [kind.replace("_", " ") for kind in collection.returned_by]
    of_authorities = kinds == ["local authority"]
    approves = collection.workflow.approver == "local_authority"
    rows = await connection.fetch(
        EXPECTED, kinds, of_authorities and approves, approves, collection.workflow.approves_academies
    )
    return [(row["party"], row["approver"]) for row in rows]
