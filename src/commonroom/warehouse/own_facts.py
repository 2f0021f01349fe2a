"""Over whose facts the measures of an organisation's own run: what the policy `warehouse.own` grants, sender by sender.

A body counts what it holds anyway, so that its own measures tell it nothing new: what it sent itself; of its schools, an
authority what a movement in force brings to it and has brought since the school is its own (`brought`), a trust, which is
its academies in law and has their records from when they came with them, all. Whose a school is says the register as at
the period. Who sent a record decides, not the school that the record names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import pyarrow as pa

from commonroom import access, hub, standard
from commonroom.access import Scope
from commonroom.engines.duck import Duck
from commonroom.identity import Principal
from commonroom.ids import alias_urn
from commonroom.warehouse import brought
from commonroom.warehouse.brought import ALWAYS, Movement, Span
from commonroom.warehouse.organisations import School

DATASET = "warehouse.own"
ITS_AUTHORITY = "its local authority"

# Whoever has no evidence of protection has the lowest rank.
_PARTIES = """
SELECT p.urn, p.kinds, coalesce(e.rank, 0) AS rank,
    array(SELECT a.alias FROM hub.party_alias a WHERE a.party = p.urn AND $2) || p.urn AS names
FROM hub.party p
LEFT JOIN (SELECT party, max(rank) AS rank FROM hub.valid_evidence GROUP BY party) e ON e.party = p.urn
WHERE p.urn = ANY ($1)
"""


class Sender(msgspec.Struct, frozen=True):
    """A school's party, with the parties that answer for it as at a time."""

    party: str
    urn: str
    authority: str | None
    trust: str | None
    stays: tuple[Span, ...] = ALWAYS  # with this authority


class Directory(msgspec.Struct, frozen=True):
    """What the hub knows of the parties, and the movements that bring records to local authorities."""

    movements: tuple[Movement, ...]
    names: Mapping[str, frozenset[str]]  # urn and aliases, by urn
    kinds: Mapping[str, frozenset[str]]
    ranks: Mapping[str, int]

    def brings(self, sender: Sender, entity: str) -> tuple[Span, ...]:
        """When movements brought the sender's records of the entity to its local authority; never, unless one does today.

        As the hub does, only where the authority is known to protect them as well as the sender.
        """
        rank = self.ranks.get(sender.authority or "", 0)
        mine = [one for one in self.movements if entity in one.entities and self._is_from(one, sender)]
        if not any(
            one.is_in_force and rank >= max(one.needs, self.ranks.get(sender.party, 0)) for one in mine
        ):
            return ()
        spans = (span.within(stay) for one in mine for span in one.spans for stay in sender.stays)
        return brought.joined(span for span in spans if span is not None)

    def _is_from(self, movement: Movement, sender: Sender) -> bool:
        return movement.sender_kind in self.kinds.get(
            sender.party, ()
        ) or movement.sender_party in self.names.get(sender.party, ())


# Stands for all whom the register does not name: facts are granted of them where they are of anybody.
ANYBODY = Sender("anybody", "", None, None)
_OFFERED = ("entity", "sender", "brought_to", "trust", "area")
Spans = tuple[Span, ...]


class Granted(msgspec.Struct, frozen=True):
    """Whose facts of each entity count, as at one time."""

    senders: Mapping[str, Mapping[str, Spans]]  # by entity: each sender with the times whose facts count
    left_out: frozenset[str]  # entities that some of the asker's schools hold and no movement brings

    def of_anybody(self, entity: str) -> bool:
        """Whether the facts of an entity count whoever sent them."""
        return ANYBODY.party in self.senders[entity]


async def senders_of(
    connection: Any, schools: Mapping[str, School], stays: Mapping[str, Spans] | None = None
) -> list[Sender]:
    """The parties of schools, with those of their authorities and trusts; `stays` as `organisations.stays` has them."""
    authorities = {one.la_code for one in schools.values() if one.la_code}
    trusts = {one.trust_uid for one in schools.values() if one.trust_uid}
    names = [alias_urn("la", code) for code in sorted(authorities)]
    names += [alias_urn("group", uid) for uid in sorted(trusts)]
    parties = await hub.resolve_aliases(connection, names)
    return [
        Sender(
            one.party,
            one.urn,
            parties.get(alias_urn("la", one.la_code)) if one.la_code else None,
            parties.get(alias_urn("group", one.trust_uid)) if one.trust_uid else None,
            (stays or {}).get(one.urn, ALWAYS),
        )
        for one in schools.values()
        if one.party
    ]


async def directory(connection: Any, senders: Iterable[Sender]) -> Directory:
    """What is in force now between these senders and their authorities."""
    movements = await brought.movements_to(connection, ITS_AUTHORITY)
    wanted = {one.party for one in senders} | {one.authority for one in senders if one.authority}
    by_name = any(movement.sender_party for movement in movements)
    rows = await connection.fetch(_PARTIES, sorted(wanted), by_name)
    return Directory(
        movements,
        {row["urn"]: frozenset(row["names"]) for row in rows},
        {row["urn"]: frozenset(row["kinds"]) for row in rows},
        {row["urn"]: row["rank"] for row in rows},
    )


def scope_of(principal: Principal) -> Scope:
    """The policy's condition. Raises Problem CR-111."""
    return access.rows(principal, DATASET, "duckdb")


def granted(
    duck: Duck, scope: Scope, party: str, senders: Sequence[Sender], known: Directory, entities: Iterable[str]
) -> Granted:
    """Whose facts of the entities the asker's measures count: those of whom the policy says so."""
    names = sorted(set(entities))
    # Whoever asks is a sender too, also where the register has no school of that party.
    others = [one for one in senders if one.party != party] + [
        next((one for one in senders if one.party == party), Sender(party, "", None, None))
    ]
    spans = {(name, one.party): known.brings(one, name) for name in names for one in others}
    # Each sender twice: as one whose records a movement brings, and as one who is who it is, whatever is brought.
    rows = [
        (name, one.party, authority, one.trust, area)
        for name in names
        for area in (standard.load().entities[name].area,)
        for one in (*others, ANYBODY)
        for authority in ((None, one.authority) if spans.get((name, one.party)) else (None,))
    ]
    offered = pa.table(
        {
            column: pa.array(values, pa.string())
            for column, values in zip(_OFFERED, zip(*rows, strict=True), strict=True)
        }
    )
    sql = f"SELECT entity, sender, brought_to FROM offered WHERE {scope.sql}"  # noqa: S608 - the compiled policy
    found: dict[str, dict[str, Spans]] = {name: {} for name in names}
    for row in duck.query(sql, scope.params, {"offered": offered}):
        mine, sender = found[row["entity"]], row["sender"]
        mine[sender] = ALWAYS if row["brought_to"] is None else mine.get(sender, spans[row["entity"], sender])
    found = {name: {ANYBODY.party: ALWAYS} if ANYBODY.party in mine else mine for name, mine in found.items()}
    theirs = {one.party for one in senders if one.authority == party}
    left_out = {
        name
        for name in names
        if of_schools(name) and ANYBODY.party not in found[name] and theirs - found[name].keys()
    }
    return Granted(found, frozenset(left_out))


def of_schools(entity: str) -> bool:
    """Whether schools hold the records of an entity, rather than authorities or the register."""
    declared = standard.load().entities[entity]
    item = declared.item(declared.holder) if declared.holder else None
    return item is not None and item.type != "code"
