"""Releases in PostgreSQL: what was published stays as it was, in every process and for good.

One process at a time works a publication out; whoever comes after takes what it left. Called from threads that may wait.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, TypeVar

import msgspec

from commonroom.engines import database
from commonroom.settings import Settings
from commonroom.warehouse.memory import Decided, Memory, Sum, Version, Versioned
from commonroom.warehouse.publication import Name, Parts
from commonroom.warehouse.turns import Kept, Turns

_LOCK = "SELECT pg_advisory_lock(hashtextextended('release of ' || $1, 0))"
_FIND = """
SELECT part, batch, position, figures
FROM warehouse.release
WHERE publication = $1 AND moment = $2 AND part = ANY($3)
"""
_KEEP = """
INSERT INTO warehouse.release (publication, moment, part, batch, position, figures, is_empty)
VALUES ($1, $2, $3, $4, $5, $6, $7)
"""
_FIRST = """
SELECT min(moment)
FROM warehouse.release
WHERE publication = $1 AND part = $2 AND moment <= $3 AND NOT is_empty
"""
_DECISIONS = """
SELECT number, decided
FROM warehouse.decision
WHERE publication = $1 AND number > $2
ORDER BY number
"""
_REMEMBER = "INSERT INTO warehouse.decision (publication, moment, decided) VALUES ($1, $2, $3)"
_LEVEL = 3  # of zlib: a third of the size for little time
_FIGURES, _REMEMBERED = 1_000_000, 2_000_000  # kept in memory; of more it is read again each time


class Stored(msgspec.Struct, frozen=True):
    """One part of a release: its numbers, which of them are hidden, and as of which state of the warehouse."""

    numbers: dict[Name, Parts]
    hidden: frozenset[Name]
    batch: int
    position: int


Answer = TypeVar("Answer")
# By part of the release.
WorkedOut = tuple[dict[str, Stored], Decided]


class Shelf:
    """The releases of one warehouse. Safe to use from several threads."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._parts, self._memories = Kept(_FIGURES), Kept(_REMEMBERED)
        self._firsts = Kept(_FIGURES)
        self._working = Turns()

    def of(
        self,
        publication: str,
        moment: datetime,
        parts: Sequence[str],
        work_out: Callable[[Memory, list[str]], WorkedOut],
    ) -> dict[str, Stored]:
        """These parts of the release of a moment; those that nobody asked for before are worked out and kept.

        `work_out` is given what was published before, and which parts are wanted.
        """
        found = {
            part: one for part in parts if (one := self._parts.get((publication, moment, part))) is not None
        }
        missing = [part for part in parts if part not in found]
        if missing:
            more = self._find_or_make(publication, moment, missing, work_out)
            for part, one in more.items():
                self._parts.put((publication, moment, part), one, 1 + len(one.numbers))
            found |= more
        return found

    def looked_up(self, publication: str, look: Callable[[Memory], Answer]) -> Answer:
        """What somebody finds in what has been published of a publication."""
        with self._working.alone(publication), self._connection() as run:
            return look(self._memory(run, publication))

    def first_of(self, publication: str, part: str, until: datetime) -> datetime | None:
        """The moment until then at which a part was first released with something in it."""
        key = (publication, part, until)
        found: datetime | None = self._firsts.get(key)
        if found is None:
            with self._connection() as run:
                found = run("fetchval", _FIRST, publication, part, until)
            self._firsts.put(key, found)
        return found

    def _find_or_make(
        self,
        publication: str,
        moment: datetime,
        parts: list[str],
        work_out: Callable[[Memory, list[str]], WorkedOut],
    ) -> dict[str, Stored]:
        # In turn within the process, and only then with a connection: who waits has none.
        with self._working.alone(publication), self._connection() as run:
            found = _found(run, publication, moment, parts)
            if len(found) == len(parts):
                return found
            run("execute", _LOCK, publication)  # which ends with the connection
            found = _found(run, publication, moment, parts)
            missing = [part for part in parts if part not in found]
            if not missing:
                return found
            made, decided = work_out(self._memory(run, publication), missing)
            run("execute", "BEGIN")
            for part, one in made.items():
                figures = zlib.compress(msgspec.msgpack.encode(_rows(one)), _LEVEL)
                row = (publication, moment, part, one.batch, one.position, figures, not one.numbers)
                run("execute", _KEEP, *row)
            if decided.versions or decided.sums or decided.shown:
                run("execute", _REMEMBER, publication, moment, zlib.compress(encoded(decided), _LEVEL))
            run("execute", "COMMIT")
            return found | made

    def _memory(self, run: Callable[..., Any], publication: str) -> Memory:
        """What is known of a publication, brought up to date; in its turn."""
        until, memory = self._memories.get(publication) or (0, Memory())
        self._memories.forget(publication)  # half learnt, it would be wrong
        for row in run("fetch", _DECISIONS, publication, until):
            memory.learn(decoded(zlib.decompress(row["decided"])))
            until = row["number"]
        self._memories.put(publication, (until, memory), 1 + memory.size)
        return memory

    @contextmanager
    def _connection(self) -> Iterator[Callable[..., Any]]:
        """Run commands on a connection of its own, from a thread without an event loop."""
        with asyncio.Runner() as runner:
            connection = runner.run(database.connect(self._settings))
            try:
                yield lambda method, *given: runner.run(getattr(connection, method)(*given))
            finally:
                runner.run(connection.close())


def _found(
    run: Callable[..., Any], publication: str, moment: datetime, parts: list[str]
) -> dict[str, Stored]:
    return {
        row["part"]: _stored(row["batch"], row["position"], row["figures"])
        for row in run("fetch", _FIND, publication, moment, parts)
    }


class _Row(msgspec.Struct, array_like=True, frozen=True):
    measure: str
    level: str
    unit: str
    time: str
    hidden: bool
    parts: tuple[Any, ...]  # as `Parts` has them


def _rows(one: Stored) -> list[_Row]:
    return [
        _Row(name[0], *name[1], name[2], name in one.hidden, msgspec.structs.astuple(parts))
        for name, parts in one.numbers.items()
    ]


def _stored(batch: int, position: int, figures: bytes) -> Stored:
    rows = msgspec.msgpack.decode(zlib.decompress(figures), type=list[_Row])
    names: list[Name] = [(row.measure, (row.level, row.unit), row.time) for row in rows]
    numbers = {name: Parts(*row.parts) for name, row in zip(names, rows, strict=True)}
    hidden = frozenset(name for name, row in zip(names, rows, strict=True) if row.hidden)
    return Stored(numbers, hidden, batch, position)


class _Kind(msgspec.Struct, array_like=True, frozen=True):
    """Of one kind of table: every version that is spoken of, and of the new ones what they are."""

    names: list[Any]
    new: dict[int, Version]
    sums: list[list[int]]
    shown: list[int] = []


def encoded(decided: Decided) -> bytes:
    """A release's decisions as bytes."""
    kinds = {}
    for kind in dict.fromkeys([*decided.versions, *decided.sums, *decided.shown]):
        places: dict[Versioned, int] = {}
        new = {
            places.setdefault(name, len(places)): version
            for name, version in decided.versions.get(kind, {}).items()
        }
        sums = [[places.setdefault(name, len(places)) for name in one] for one in decided.sums.get(kind, {})]
        shown = [places.setdefault(name, len(places)) for name in decided.shown.get(kind, [])]
        kinds[kind] = _Kind(list(places), new, sums, shown)
    return msgspec.msgpack.encode(kinds)


def decoded(text: bytes) -> Decided:
    """The same back."""
    found = Decided()
    for kind, one in msgspec.msgpack.decode(text, type=dict[str, _Kind]).items():
        names: list[Any] = [_tuple(name) for name in one.names]
        found.versions[kind] = {names[place]: version for place, version in one.new.items()}
        sums: list[Sum] = [tuple(names[place] for place in places) for places in one.sums]
        found.sums[kind] = dict.fromkeys(sums)
        found.shown[kind] = [names[place] for place in one.shown]
    return found


def _tuple(name: Any) -> Hashable:
    return tuple(_tuple(one) for one in name) if isinstance(name, list) else name
