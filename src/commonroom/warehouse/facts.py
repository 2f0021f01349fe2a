"""The fact log: what to append when a change arrives. Pure: no database, no files, no clock.

A fact is never altered. A correction appends the live row with weight -1 and the new row with weight +1; a withdrawal
appends the live row with weight -1, or a tombstone with weight 0 where nothing is live. What is true as known at T is
every row whose weights, of those with `known_from <= T`, sum to 1.

A *slot* is one natural key at one `valid_from`. In a slot the highest version of the sender wins, in whatever order and
however often the changes arrive.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime
from operator import attrgetter
from typing import Any

import msgspec

Slot = tuple[tuple[Any, ...], date]
# So begins the `origin` of a row that ended because its key changed; then comes the key as sent.
MOVED = "moved\x1f"
_POSITION = attrgetter("fact.known_position")


class Fact(msgspec.Struct, frozen=True, gc=False):
    """One row of the log."""

    key: tuple[Any, ...]  # the natural key, in the entity's order
    valid_from: date
    valid_to: date | None  # the last day it is true, None while it goes on
    items: tuple[Any, ...]  # every item in the entity's order, the key among them
    weight: int  # +1 true, -1 no longer true, 0 a withdrawal of what had not arrived
    version: int  # the sender's number, rising per natural key
    known_position: int  # the hub's position of the message that said so
    known_from: datetime  # when the hub accepted it, UTC without a zone
    message: str  # the sender's id of that message
    sender: str  # the sending party
    learner_id: str | None  # our own key of the pupil, where the entity names one
    origin: str | None = (
        None  # the key under which it was sent, where that has changed since (see `rekeying`)
    )

    @property
    def slot(self) -> Slot:
        """What its version is compared within."""
        return self.key, self.valid_from

    @property
    def sent_key(self) -> str:
        """The key under which it was sent, as text."""
        return (self.origin or "").removeprefix(MOVED) or " ".join(map(str, self.key))

    @property
    def has_moved(self) -> bool:
        """Whether it ended here because its key changed: what it says is told under another."""
        return (self.origin or "").startswith(MOVED)

    @property
    def rank(self) -> tuple[int, str]:
        """Which of two facts of one slot holds: the higher version; of two keys that became one, always the same."""
        return self.version, self.sent_key


class Change(msgspec.Struct, frozen=True, gc=False):
    """What a message says: this fact holds from now on, or (withdrawn) nothing holds in its slot."""

    fact: Fact  # with weight +1; of a withdrawn one only key, valid_from and what is known about it count
    withdrawn: bool = False


def plan(changes: Iterable[Change], newest: Mapping[Slot, Fact]) -> list[Fact]:
    """The rows to append for `changes`, given the newest stored row of each slot they name.

    The newest row of a slot is the one with the highest version; of those, what was known last; of two, the live one. One
    that moved to another key keeps nothing out: it comes back with the key, and with what has replaced it meanwhile.
    Changes are taken in the order in which the hub accepted them, so that cutting them into batches otherwise changes
    nothing.
    """
    state: dict[Slot, Fact] = {}
    rows: list[Fact] = []
    for change in sorted(changes, key=_POSITION):
        slot = change.fact.slot
        last = state.get(slot) or (newest.get(slot) if newest else None)
        if last is not None and change.fact.rank <= last.rank and not last.has_moved:
            continue
        if last is None and not change.withdrawn:  # nearly all are told for the first time
            rows.append(change.fact)
            state[slot] = change.fact
            continue
        new = _steps(change, last)
        rows.extend(new)
        state[slot] = new[-1]
    return rows


def _steps(change: Change, last: Fact | None) -> list[Fact]:
    said = _not_before(change.fact, last)
    steps: list[Fact] = []
    if last is not None and last.weight > 0:
        steps.append(_ended(last, said))
    if not change.withdrawn:
        steps.append(said)
    elif not steps:
        steps.append(msgspec.structs.replace(said, weight=0))
    return steps


def _not_before(said: Fact, last: Fact | None) -> Fact:
    """Loaded late, a newer version may have been accepted before the older one it replaces.

    It is known from then on only, or there would be a time at which the older one is taken away before it was there.
    """
    if last is None or (said.known_from, said.known_position) >= (last.known_from, last.known_position):
        return said
    return msgspec.structs.replace(said, known_from=last.known_from, known_position=last.known_position)


def _ended(live: Fact, said: Fact) -> Fact:
    return msgspec.structs.replace(
        live,
        weight=-1,
        version=said.version,
        known_position=said.known_position,
        known_from=said.known_from,
        message=said.message,
        sender=said.sender,
        origin=said.origin,
    )
