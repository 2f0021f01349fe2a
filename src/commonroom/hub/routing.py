"""Routing: from an envelope, its sender and the day to the recipients, or to a clear refusal.

Pure functions over a copy of the directory and the movements held in memory. The post reads the version and the day
in the database before it routes and stores only while the version still holds, so the copy is never older than the
agreement it acts on.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from typing import Any

import msgspec

from commonroom.exchange import Envelope
from commonroom.exchange.contract import LeftOut
from commonroom.hub import assurance
from commonroom.hub.movements import LEVELS, Movement, from_row
from commonroom.problems import Problem

# `the addressed school`: the envelope's recipient, when it is of kind `school`; `organisation` takes every kind.
ADDRESSED = "the addressed "
ANY_KIND = "organisation"
WAYS_KEPT = 50_000


class Stop(msgspec.Struct, frozen=True):
    """One recipient, and the movement that lets the message go there."""

    recipient: str  # party urn
    movement: str
    needs: int = LEVELS["restricted"]  # rank of protection that the recipient must have


class Route(msgspec.Struct, frozen=True):
    """Where a message goes. At least one stop; each recipient once."""

    stops: tuple[Stop, ...]
    retention_days: int  # the longest of its movements
    classification: str  # the envelope's, otherwise the highest of its movements
    left_out: tuple[LeftOut, ...] = ()  # who is not assured for it


def join_movements(movements: Iterable[str]) -> str:
    """The ids of a message's movements, each once, with a space between: mostly it is one."""
    return " ".join(dict.fromkeys(movements))


class Routing(msgspec.Struct, frozen=True, kw_only=True):
    """A copy of the directory and the movements at one version."""

    version: int
    kinds: Mapping[str, frozenset[str]]  # by party urn: every party is here
    aliases: Mapping[str, str]  # alias to urn
    relations: Mapping[tuple[str | None, str], tuple[str, ...]]  # (party or everyone, role) to others
    movements: Mapping[str, tuple[Movement, ...]]  # by message type
    levels: assurance.Levels  # evidence of protection by party urn

    def party(self, name: str) -> str | None:
        """The urn of the party with this urn or alias."""
        return name if name in self.kinds else self.aliases.get(name)


_VERSION = "SELECT version FROM hub.routing"
_PARTIES = "SELECT urn, kinds FROM hub.party"
_ALIASES = "SELECT alias, party FROM hub.party_alias"
_RELATIONS = "SELECT party, role, other FROM hub.relation ORDER BY party, role, other"
# Every approved version with its days; on no day has a movement two.
_MOVEMENTS = "SELECT * FROM hub.routing_movement ORDER BY id, version"


async def load_routing(connection: Any) -> Routing:
    """The directory and the movements as they are now, all of one moment."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        return make_routing(
            version=await connection.fetchval(_VERSION),
            parties=((row["urn"], row["kinds"]) for row in await connection.fetch(_PARTIES)),
            aliases=((row["alias"], row["party"]) for row in await connection.fetch(_ALIASES)),
            relations=(
                (row["party"], row["role"], row["other"]) for row in await connection.fetch(_RELATIONS)
            ),
            movements=(from_row(row) for row in await connection.fetch(_MOVEMENTS)),
            levels=await assurance.load_levels(connection),
        )


def make_routing(
    *,
    version: int,
    parties: Iterable[tuple[str, Iterable[str]]],
    aliases: Iterable[tuple[str, str]],
    relations: Iterable[tuple[str | None, str, str]],
    movements: Iterable[Movement],
    levels: assurance.Levels | None = None,
) -> Routing:
    """A routing table of these parts."""
    by_role: dict[tuple[str | None, str], list[str]] = defaultdict(list)
    for party, role, other in relations:
        by_role[party, role].append(other)
    by_type: dict[str, list[Movement]] = defaultdict(list)
    for movement in movements:
        for message_type in dict.fromkeys(movement.types):
            by_type[message_type].append(movement)
    return Routing(
        version=version,
        kinds={urn: frozenset(kinds) for urn, kinds in parties},
        aliases=dict(aliases),
        relations={key: tuple(others) for key, others in by_role.items()},
        movements={message_type: tuple(found) for message_type, found in by_type.items()},
        levels=levels or {},
    )


def route(routing: Routing, envelope: Envelope, sender: str, on: date) -> Route:
    """The recipients of a message from `sender` (party urn) on this day in England.

    Every active movement of the type that the sender may use adds its recipients. A `recipient` in the envelope
    narrows them to that one. Raises Problem CR-040 to CR-044 or CR-047 with a remedy.
    """
    if envelope.source != sender:
        raise _refusal(
            "CR-040", 403, "ce-source", "The source is not the party that signed in.", _SOURCE_REMEDY
        )
    addressed = _addressed(routing, envelope)
    movements = _active_movements(routing, envelope.type, sender, on)
    permitted = _within_classification(envelope, movements)
    stops = _stops(routing, permitted, sender, addressed)
    if not stops:
        raise _no_stop(permitted, addressed)
    names = {stop.movement for stop in stops}
    used = [movement for movement in permitted if movement.id in names]
    return Route(
        stops,
        max(movement.retention_days for movement in used),
        envelope.dataclassification
        or max((movement.classification for movement in used), key=LEVELS.__getitem__),
    )


def assure(routing: Routing, way: Route, sender: str, end_point: str, on: date) -> Route:
    """The way without recipients that are not assured for the message on this day; they are in `left_out`.

    Raises Problem CR-145 when none is left, and CR-146 when nobody knows how well the sender protects data.
    """
    needs = assurance.needed(routing.levels, sender, end_point, on, way.classification)
    stops, left_out = [], []
    for stop in way.stops:
        rank = assurance.rank_of(routing.levels, stop.recipient, on)
        if (assurance.UNKNOWN if rank is None else rank) >= needs:
            stops.append(Stop(stop.recipient, stop.movement, needs))
        else:
            left_out.append(LeftOut(stop.recipient, assurance.shortfall(rank, needs)))
    if not stops:
        raise assurance.nobody(left_out)
    return msgspec.structs.replace(way, stops=tuple(stops), left_out=tuple(left_out))


class Way(msgspec.Struct, frozen=True):
    """A route with what its receipts say of it."""

    route: Route
    recipients: tuple[str, ...]
    movement: str


class Ways:
    """The ways found in one routing table on one day: messages that are alike outside take the same.

    What the answer depends on is the key; refusals are not kept, for they name what the message says.
    """

    def __init__(self, routing: Routing, day: date) -> None:
        self.routing = routing
        self.day = day
        self._found: dict[tuple[str | None, ...], Way] = {}

    def find(self, envelope: Envelope, party: str, end_point: str) -> Way:
        """The way of a message of this end point of the party. Raises what `route` and `assure` raise."""
        alike = (
            end_point,
            party,
            envelope.source,
            envelope.type,
            envelope.recipient,
            envelope.dataclassification,
        )
        if (way := self._found.get(alike)) is None:
            found = assure(
                self.routing, route(self.routing, envelope, party, self.day), party, end_point, self.day
            )
            if len(self._found) >= WAYS_KEPT:
                self._found.clear()
            recipients = tuple(stop.recipient for stop in found.stops)
            way = Way(found, recipients, join_movements(stop.movement for stop in found.stops))
            self._found[alike] = way
        return way


def _addressed(routing: Routing, envelope: Envelope) -> str | None:
    if envelope.recipient is None:
        return None
    if (party := routing.party(envelope.recipient)) is None:
        raise _refusal(
            "CR-041",
            422,
            "ce-recipient",
            f"{envelope.recipient} is not in the directory.",
            "Check the identifier; a new organisation appears when its provider register has been loaded.",
        )
    return party


def _active_movements(routing: Routing, message_type: str, sender: str, on: date) -> list[Movement]:
    mine = [m for m in routing.movements.get(message_type, ()) if _may_send(routing, m, sender)]
    active = [movement for movement in mine if movement.active_on(on)]
    if active:
        return active
    detail = (
        f"The movement {mine[0].id} is not active on {on}."
        if mine
        else f"No movement of yours has {message_type}."
    )
    remedy = "GET /movements lists yours with types and dates; a new one is agreed by the governance group."
    raise _refusal("CR-042", 403, "ce-type", detail, remedy)


def _may_send(routing: Routing, movement: Movement, sender: str) -> bool:
    if movement.sender.party is not None:
        return routing.party(movement.sender.party) == sender
    return movement.sender.kind in routing.kinds.get(sender, frozenset())


def _within_classification(envelope: Envelope, movements: list[Movement]) -> list[Movement]:
    level = envelope.dataclassification
    permitted = [m for m in movements if level is None or LEVELS[level] <= LEVELS[m.classification]]
    if not permitted:
        highest = max((movement.classification for movement in movements), key=LEVELS.__getitem__)
        raise _refusal(
            "CR-044",
            403,
            "ce-dataclassification",
            f"The message is {level}; its movement carries data up to {highest}.",
            "Send it without what makes it so, or have the movement agreed at the higher level.",
        )
    return permitted


def _stops(
    routing: Routing, movements: list[Movement], sender: str, addressed: str | None
) -> tuple[Stop, ...]:
    found: dict[str, Stop] = {}
    for movement in movements:
        for recipient in _recipients(routing, movement, sender, addressed):
            if addressed is None or recipient == addressed:
                found.setdefault(recipient, Stop(recipient, movement.id))
    return tuple(found.values())


def _recipients(routing: Routing, movement: Movement, sender: str, addressed: str | None) -> Iterator[str]:
    """The parties that a movement's `to` means for this sender; a role that nobody holds means nobody."""
    for target in movement.to:
        if target.startswith(ADDRESSED):
            kind = target.removeprefix(ADDRESSED)
            if addressed is not None and (kind == ANY_KIND or kind in routing.kinds[addressed]):
                yield addressed
        elif target.startswith("urn:"):
            if (party := routing.party(target)) is not None:
                yield party
        else:
            yield from routing.relations.get((sender, target), ())
            yield from routing.relations.get((None, target), ())


def _no_stop(movements: list[Movement], addressed: str | None) -> Problem:
    names = ", ".join(movement.id for movement in movements)
    if addressed is not None:
        detail = f"{names} does not lead from you to this recipient."
        remedy = "GET /movements lists yours with their recipients."
        return _refusal("CR-042", 403, "ce-recipient", detail, remedy)
    if any(target.startswith(ADDRESSED) for movement in movements for target in movement.to):
        detail = f"{names} is addressed, and the envelope has no recipient."
        return _refusal(
            "CR-043", 422, "ce-recipient", detail, "Set ce-recipient to the party's urn or an alias of it."
        )
    detail = f"The directory names nobody who is, for you, what {names} sends to."
    remedy = "The provider register publishes these relations; ask the operator to check your organisation's entry."
    return _refusal("CR-047", 422, "ce-type", detail, remedy)


_SOURCE_REMEDY = "Set ce-source to your own party urn, as enrolment returned it; an alias is not accepted."


def _refusal(code: str, status: int, where: str, detail: str, remedy: str) -> Problem:
    return Problem(code, detail, status=status, where=where, remedy=remedy)
