"""The shapes of the standard's declarations: code sets, entities with their items, events.

Nothing here reads files (see `loader`) or judges records (see `check`).
"""

from __future__ import annotations

from datetime import date
from functools import cached_property
from typing import Literal

import msgspec

ItemType = Literal["string", "integer", "decimal", "date", "time", "boolean", "code", "identifier"]


class Code(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One code of a code set. `since` and `until` are its first and last day of use, both inclusive."""

    code: str
    title: str
    since: date | None = None
    until: date | None = None
    note: str = ""
    # True for codes of the simulated county, which no real organisation has.
    invented: bool = False
    # What the code means for counting, by the names the code set declares.
    attributes: dict[str, str] = {}

    def is_in_use(self, on: date) -> bool:
        """True where a record of that day may carry the code."""
        return (self.since is None or self.since <= on) and (self.until is None or on <= self.until)


class Codeset(msgspec.Struct, frozen=True, forbid_unknown_fields=True, dict=True):
    """A closed list of codes; or an open one, where a code it lacks is worth a query and no error."""

    name: str
    title: str
    description: str
    source: str
    codes: tuple[Code, ...]
    open: bool = False
    # Name of each attribute its codes carry, with what it says.
    attributes: dict[str, str] = {}

    @cached_property
    def by_code(self) -> dict[str, Code]:
        """The codes by their text."""
        return {code.code: code for code in self.codes}

    def code(self, value: str) -> Code | None:
        """The code written so, whatever its dates; None where the list lacks it."""
        return self.by_code.get(value)

    def on(self, day: date) -> tuple[Code, ...]:
        """The codes in use on a day, in the order of the list."""
        return tuple(code for code in self.codes if code.is_in_use(day))

    def with_attribute(self, name: str, value: str) -> tuple[str, ...]:
        """Codes whose attribute has this value, such as every code of category `authorised_absence`."""
        if name not in self.attributes:
            raise KeyError(f"the code set {self.name} has no attribute {name}")
        return tuple(code.code for code in self.codes if code.attributes[name] == value)


class Item(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One item of an entity. `since` and `until` are the first and last day on which a record may carry it."""

    name: str
    title: str
    description: str
    type: ItemType
    # Name of a code set (type `code`) or kind of identifier (type `identifier`).
    codeset: str | None = None
    identifier: str | None = None
    # Characters, for type `string`.
    max_length: int | None = None
    # Most digits in all and behind the point, for type `decimal`.
    digits: int | None = None
    decimals: int | None = None
    required: bool = False
    # Personal values never enter logs, metrics, headers, URLs or messages to people.
    personal: bool = False
    # Number of the item in the Common Basic Data Set: of 2013, and as numbered since.
    cbds: str | None = None
    cbds_now: str | None = None
    since: date | None = None
    until: date | None = None


class Entity(msgspec.Struct, frozen=True, forbid_unknown_fields=True, dict=True):
    """A kind of record: its natural key and its items.

    `holder` names the item of the key that says whose record it is: that party alone speaks of it. `valid_from_item`
    names the date item that also says from when a record is valid, where there is one.
    """

    name: str
    title: str
    description: str
    # One of the areas that standard.yaml names.
    area: str
    key: tuple[str, ...]
    items: tuple[Item, ...]
    holder: str | None = None
    valid_from_item: str | None = None

    @cached_property
    def by_name(self) -> dict[str, Item]:
        """The items by name, in their order."""
        return {item.name: item for item in self.items}

    def item(self, name: str) -> Item | None:
        """The item of that name; None where the entity lacks it."""
        return self.by_name.get(name)


class Event(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A type of message and what it may carry: records of entities, those of whole areas included; or a file.

    The loader writes the entities of `areas` into `entities`, and gives every entity an event of its own.
    """

    type: str
    title: str
    description: str
    entities: tuple[str, ...] = ()
    areas: tuple[str, ...] = ()
    # Kinds of file that are the body, where it is no record set.
    media_types: tuple[str, ...] = ()


class Standard(msgspec.Struct, frozen=True):
    """One version of the common language, complete. Code sets, entities and events by name; areas with their titles."""

    version: str
    title: str
    description: str
    areas: dict[str, str]
    codesets: dict[str, Codeset]
    entities: dict[str, Entity]
    events: dict[str, Event]

    @property
    def dataschema(self) -> str:
        """What an envelope says of the language of its letter."""
        return f"urn:commonroom:standard:{self.version}"
