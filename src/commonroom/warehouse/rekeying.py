"""Changed keys: a pupil's UPN was another one, a stay began on another day. The facts follow, in whatever order all arrives.

A change of a person's key holds for every entity whose key has its items: the new UPN of a learner at a school is also that
of the marks. A key with a day in it is one record's: its change holds for its own entity alone. Facts already stored under
the old key are ended there and told under the new one; those that come later under the old key are stored under the new one
at once. Where both keys have a fact, the higher version wins, and of equal ones the one whose key as sent is the higher
text: so any order of letters comes to the same state. Where changes go round in a circle (A became B, later B became A) the
newest hold, in whatever order they arrive, and the oldest that would close the circle does not. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any

import msgspec

from commonroom.warehouse.facts import MOVED, Change, Fact
from commonroom.warehouse.tables import FactTable

Values = tuple[str, ...]
Kind = tuple[str, tuple[str, ...]]  # an entity or all, and the items of the key


class Rekeyed(msgspec.Struct, frozen=True):
    """What a message says: what was known under `old` is known under `new`."""

    names: tuple[str, ...]  # the items of the key, in order of name
    old: Values
    new: Values
    known_position: int
    known_from: datetime
    message: str
    sender: str
    entity: str = ""  # the only one that it holds for; empty: all whose key has these items

    @property
    def kind(self) -> Kind:
        """Of which keys it is a change."""
        return self.entity, self.names

    @property
    def said(self) -> tuple[Kind, Values, Values]:
        """What it says, whoever says it and when."""
        return self.kind, self.old, self.new


class Keys:
    """Which keys became which."""

    def __init__(self, changes: Iterable[Rekeyed]) -> None:
        self._next: dict[tuple[Kind, Values], set[Values]] = {}
        self.superseded: list[Rekeyed] = []  # newer changes lead back from where they went
        newest: dict[tuple[Kind, Values, Values], Rekeyed] = {}
        for change in changes:
            before = newest.get(change.said)
            if before is None or before.known_position < change.known_position:
                newest[change.said] = change
        for change in sorted(newest.values(), key=lambda one: (-one.known_position, *one.said)):
            if change.old in self._reached(change.kind, change.new):
                self.superseded.append(change)
            else:
                self._next.setdefault((change.kind, change.old), set()).add(change.new)

    def present(self, kind: Kind, values: Values) -> Values:
        """The key under which something is known now."""
        ends = [one for one in self._reached(kind, values) if (kind, one) not in self._next]
        return max(ends)

    def kinds(self) -> set[Kind]:
        """The kinds of all keys that changed."""
        return {kind for kind, _ in self._next}

    def gone(self, kind: Kind) -> list[Values]:
        """Every key that nothing is known under any more."""
        return sorted(values for mine, values in self._next if mine == kind)

    def _reached(self, kind: Kind, values: Values) -> set[Values]:
        found, due = {values}, [values]
        while due:
            for following in self._next.get((kind, due.pop()), ()):
                if following not in found:
                    found.add(following)
                    due.append(following)
        return found


def holds_for(table: FactTable, kind: Kind) -> bool:
    """Whether a change of keys of this kind holds for the records of a table."""
    entity, names = kind
    return entity in ("", table.entity) and set(names) <= set(table.key)


def follow(table: FactTable, change: Change, keys: Keys) -> Change:
    """The change under its present key."""
    fact = change.fact
    for kind in sorted(keys.kinds()):
        if holds_for(table, kind):
            names = kind[1]
            old = _values(table, fact, names)
            new = keys.present(kind, old)
            if new != old:
                fact = _under(table, fact, dict(zip(names, new, strict=True)))
    return change if fact is change.fact else Change(fact, change.withdrawn)


def move(
    table: FactTable, stored: Sequence[Fact], keys: Keys, said: Sequence[Rekeyed]
) -> tuple[list[Fact], list[Change]]:
    """What ends under old keys, and what is to be told under the new ones, of the newest rows stored under old keys.

    `said`: the changes of one kind just told; each fact moves by the one that names its key.
    """
    ended, told = [], []
    newest = max(said, key=lambda one: one.known_position)
    by_key = {one.old: one for one in sorted(said, key=lambda one: one.known_position)}
    for fact in stored:
        if fact.has_moved:
            continue
        because = by_key.get(_values(table, fact, newest.names), newest)
        since = max((fact.known_from, fact.known_position), (because.known_from, because.known_position))
        if fact.weight > 0:
            ended.append(
                msgspec.structs.replace(
                    fact, weight=-1, origin=MOVED + fact.sent_key, known_from=since[0], known_position=since[1],
                    message=because.message, sender=because.sender,
                )
            )  # fmt: skip
        here = msgspec.structs.replace(fact, weight=1, known_from=since[0], known_position=since[1])
        told.append(follow(table, Change(here, withdrawn=fact.weight <= 0), keys))
    return ended, told


def _values(table: FactTable, fact: Fact, names: Sequence[str]) -> Values:
    return tuple(str(fact.key[table.key.index(name)]) for name in names)


def _under(table: FactTable, fact: Fact, new: Mapping[str, str]) -> Fact:
    def put(names: Sequence[str], values: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(
            _like(value, new[name]) if name in new else value
            for name, value in zip(names, values, strict=True)
        )

    return msgspec.structs.replace(
        fact, key=put(table.key, fact.key), items=put(table.items, fact.items), origin=fact.sent_key
    )


def _like(old: Any, text: str) -> Any:
    if isinstance(old, date):
        return date.fromisoformat(text)
    return int(text) if isinstance(old, int) else text
