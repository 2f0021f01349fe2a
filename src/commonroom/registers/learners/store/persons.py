"""A person is what the registrations linked to him say together: a pure function of them, so that undoing a link undoes
all that came of it.

The first registration gives the current values. Later ones of the same person fill what was not known and leave their
names, postcodes and UPNs as further ones by which the person is known; only a change addressed to the number replaces
current values. What came with a merge never replaces anything, except that a refusal to share holds.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec

from commonroom.registers.learners import matching
from commonroom.registers.learners.matching.people import Details, Known
from commonroom.registers.learners.store.values import Registration

_BIG_ENDIAN = struct.Struct(">q").unpack
MOST_FORMER = 20
REFUSED = "2"
DETAILS = Details.__struct_fields__
OTHERS = tuple(
    name for name in Registration.__struct_fields__ if name not in ("details", "reference", "uln", "source")
)
_NAMES = ("given_name", "family_name")


class Dated(msgspec.Struct, frozen=True):
    """A value and from when to when it was the current one; `until` is None for those that still are, or never were."""

    value: tuple[str, ...]
    since: datetime
    until: datetime | None = None


class More(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the register keeps of a person beside what the matcher sees."""

    others: dict[str, str] = {}
    names: tuple[Dated, ...] = ()
    postcodes: tuple[Dated, ...] = ()
    upns: tuple[Dated, ...] = ()


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """One registration or change as it counts for a person."""

    kind: str
    party: str
    at: datetime
    sent: str  # JSON: a Registration, or a Change
    joined: bool = False  # by a merge
    holds: bool = False  # its sender may change the person, and is told of changes


class Change(msgspec.Struct, frozen=True):
    """New values of items, addressed to a number. None takes a value away."""

    uln: str
    changes: dict[str, str | None]


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """A person as the store keeps one."""

    known: Known
    more: More
    registered_by: tuple[str, ...]
    created_at: datetime
    updated_at: datetime


def project(person: UUID, said: Sequence[Said]) -> Person:
    """The person that these registrations make; those of its own first, each group in the order they came."""
    builder = _Builder()
    for one in sorted(said, key=lambda each: each.joined):  # stable: the order within each group stays
        if one.kind == "change":
            builder.change(msgspec.json.decode(one.sent, type=Change), one)
        else:
            builder.register(msgspec.json.decode(one.sent, type=Registration), one)
    return builder.built(person)


def block_hashes(known: Known) -> list[int]:
    """Under which keys a person is found."""
    return sorted({hashed(*key) for key in matching.block_keys(matching.normalise_known(known))})


def hashed(step: str, key: str) -> int:
    """A block key as the index has it: 64 bits. Two keys of one hash only cost a comparison."""
    found: int = _BIG_ENDIAN(hashlib.blake2b(f"{step}\x1f{key}".encode(), digest_size=8).digest())[0]
    return found


def fingerprint(details: Details) -> bytes:
    """The same for the same details, however they were capitalised and spaced."""
    values = (
        " ".join(value.casefold().split()) if value else "" for value in msgspec.structs.astuple(details)
    )
    return hashlib.sha256("\x1f".join(values).encode()).digest()[:16]


class _Builder:
    """Puts a person together, one registration after the other."""

    def __init__(self) -> None:
        self._current: dict[str, str | None] = {}
        self._histories: dict[str, list[Dated]] = {"names": [], "postcodes": [], "upns": []}
        self._parties: list[str] = []
        self._times: list[datetime] = []

    def register(self, registration: Registration, said: Said) -> None:
        """The first one is the person; a later one adds what was not known."""
        values = _flat(registration)
        self._note(said)
        if not self._current:
            self._current = values
            self._remember(values, said.at, until=None)
            return
        same_home = _alike(values.get("postcode"), self._current.get("postcode"))
        for name, value in values.items():
            if value and not self._current.get(name) and (same_home or name not in ("house", "town")):
                self._current[name] = value
        if said.joined and values.get("ability_to_share") == REFUSED:
            self._current["ability_to_share"] = REFUSED
        self._remember(values, said.at, until=None)

    def change(self, change: Change, said: Said) -> None:
        """The values after it; those before it become former ones."""
        self._note(said)
        if said.joined:
            self._remember({**self._current, **change.changes}, said.at, until=None)
            if "ability_to_share" in change.changes:
                refused = REFUSED in (
                    change.changes["ability_to_share"],
                    self._current.get("ability_to_share"),
                )
                self._current["ability_to_share"] = (
                    REFUSED if refused else self._current.get("ability_to_share")
                )
            return
        before = dict(self._current)
        self._current = {**self._current, **change.changes}
        self._end(before, said.at)
        self._remember(self._current, said.at, until=None)

    def built(self, person: UUID) -> Person:
        """The person as far as it was told."""
        current = self._current
        details = Details(**{name: current.get(name) or _blank(name) for name in DETAILS})
        now = {kind: _value(kind, current) for kind in self._histories}
        former = {
            kind: [one.value for one in many if one.value != now[kind]][:MOST_FORMER]
            for kind, many in self._histories.items()
        }
        known = Known(
            person=person,
            details=details,
            former_names=tuple((given, family) for given, family in former["names"]),
            former_postcodes=tuple(value for (value,) in former["postcodes"]),
            former_upns=tuple(value for (value,) in former["upns"]),
        )
        others = {name: value for name in OTHERS if (value := current.get(name))}
        more = More(others, *(tuple(many) for many in self._histories.values()))
        return Person(
            known=known,
            more=more,
            registered_by=tuple(dict.fromkeys(self._parties)),
            created_at=self._times[0],
            updated_at=max(self._times),
        )

    def _note(self, said: Said) -> None:
        if said.holds:
            self._parties.append(said.party)
        self._times.append(said.at)

    def _remember(self, values: dict[str, str | None], at: datetime, until: datetime | None) -> None:
        for kind, history in self._histories.items():
            value = _value(kind, values)
            if value and not any(_same(one.value, value) and one.until is None for one in history):
                history.append(Dated(value, at, until))

    def _end(self, before: dict[str, str | None], at: datetime) -> None:
        """What was current and is not any more ended now."""
        for kind, history in self._histories.items():
            old, new = _value(kind, before), _value(kind, self._current)
            if old and old != new:
                history[:] = [
                    msgspec.structs.replace(one, until=at) if _same(one.value, old) and not one.until else one
                    for one in history
                ]


def _flat(registration: Registration) -> dict[str, str | None]:
    others: Iterable[tuple[str, str | None]] = ((name, getattr(registration, name)) for name in OTHERS)
    return {**msgspec.structs.asdict(registration.details), **dict(others)}


def _value(kind: str, values: dict[str, str | None]) -> tuple[str, ...]:
    """The name, postcode or UPN of these values; empty when there is none."""
    if kind == "names":
        return tuple(values.get(name) or "" for name in _NAMES) if any(map(values.get, _NAMES)) else ()
    value = values.get("postcode" if kind == "postcodes" else "upn")
    return (value,) if value else ()


def _same(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    return len(one) == len(other) and all(map(_alike, one, other))


def _alike(one: str | None, other: str | None) -> bool:
    return "".join((one or "").casefold().split()) == "".join((other or "").casefold().split())


def _blank(name: str) -> Any:
    if name == "gender":
        return "0"
    return "" if name in ("given_name", "family_name", "date_of_birth") else None
