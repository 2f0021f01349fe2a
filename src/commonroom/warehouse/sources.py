"""What is told of where a figure comes from: its parts by entity, with names of senders and receipts of messages."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from commonroom.hub.acceptances import Acceptance, acceptances, names_of
from commonroom.warehouse.lineage import Origin, titles


class Source(msgspec.Struct, frozen=True):
    """Somebody who sent what a figure is made of."""

    sender: str  # party urn
    name: str
    messages: int
    first: datetime  # when what the first of its messages said was known
    last: datetime


class SourceMessage(msgspec.Struct, frozen=True):
    """A message that told what a figure is made of, with what its receipt said."""

    sender: str
    name: str
    message: str  # the sender's id
    rows: int  # of the log, made by it
    facts: int  # that hold; less than 0 where it takes away more than it tells
    known_from: datetime
    receipt: Acceptance | None  # None: the hub no longer has its envelope


class Part(msgspec.Struct, frozen=True):
    """What a figure has of one entity. None: not for the asker."""

    entity: str
    title: str
    version: int | None  # of its table
    senders: tuple[Source, ...] | None
    rows: int | None = None
    facts: int | None = None
    messages: tuple[SourceMessage, ...] | None = None
    all_messages: int | None = None  # how many there are; `messages` are the newest of them
    shown: tuple[dict[str, Any], ...] = ()  # the rows themselves


async def parts_of(connection: Any, origins: Sequence[Origin]) -> tuple[Part, ...]:
    """The parts, with what the hub's directory and ledger know of senders and messages."""
    told = [one for origin in origins if origin.granted for one in origin.granted.told]
    senders = {one.sender for origin in origins for one in origin.senders or ()} | {
        one.sender for one in told
    }
    names = await names_of(connection, senders)
    receipts = await acceptances(connection, sorted({(one.sender, one.message) for one in told}))
    title = titles([origin.entity for origin in origins])
    return tuple(_part(origin, title[origin.entity], names, receipts) for origin in origins)


def _part(
    origin: Origin, title: str, names: dict[str, str], receipts: dict[tuple[str, str], Acceptance]
) -> Part:
    senders = None
    if origin.senders is not None:
        senders = tuple(
            Source(one.sender, names.get(one.sender, one.sender), one.messages, one.first, one.last)
            for one in origin.senders
        )
    found = Part(origin.entity, title, origin.version, senders)
    granted = origin.granted
    if granted is None:
        return found
    messages = tuple(
        SourceMessage(
            one.sender, names.get(one.sender, one.sender), one.message, one.rows, one.facts, one.known_from,
            receipts.get((one.sender, one.message)),
        )
        for one in granted.told
    )  # fmt: skip
    return msgspec.structs.replace(
        found,
        rows=granted.rows,
        facts=granted.facts,
        messages=messages,
        all_messages=granted.messages,
        shown=granted.shown,
    )
