"""A return in the common language: module rows to records of the standard's entities, and back to module rows.

The map is the collection's own: `entity:` of its modules and `item:` of their items. An item of an entity's key that a row
does not have itself comes from the rows above it, by its name or its number in the Common Basic Data Set; who holds the
record comes from the sender. What cannot be told so is named: nothing is lost in silence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from commonroom import standard
from commonroom.collections.model import Collection, ColumnDef, Module
from commonroom.collections.records import Record
from commonroom.returns.identity import identity_of
from commonroom.standard import Entity, Item

HEADER = "Header"
# Items of a header that say how the file was made, not what is returned: they stay with the file.
OF_THE_FILE = frozenset({"SoftwareCode", "Release", "Xversion", "SerialNo", "DateTime"})
_TRUE, _FALSE = frozenset({"1", "true", "y", "yes"}), frozenset({"0", "false", "n", "no"})


class Holder(msgspec.Struct, frozen=True):
    """Whose records these are: the sender's number, as the standard's `holder` items write it."""

    number: str


class Loss(msgspec.Struct, frozen=True):
    """Something that the records cannot say: where, and why. Without values: they may be personal."""

    path: str
    module: str
    item: str
    why: str


class Told(msgspec.Struct, frozen=True):
    """A return as records by entity, and what they cannot say."""

    records: dict[str, list[dict[str, Any]]]
    losses: list[Loss]


class Translator:
    """The map of one collection between its modules and the standard."""

    def __init__(self, collection: Collection) -> None:
        self.collection = collection
        entities = standard.load().entities
        self._entity: dict[str, Entity] = {
            name: entities[module.entity]
            for name, module in collection.modules.items()
            if module.entity in entities
        }
        self._keys = {
            name: self._key_of(collection.modules[name], entity) for name, entity in self._entity.items()
        }

    def silent_items(self) -> list[tuple[str, str]]:
        """(module, item) that the standard has no item for; those of the header that the collection itself says are not."""
        return [
            (module.name, item.name)
            for module in self.collection.modules.values()
            for item in module.items
            if module.name != HEADER and self._target(module, item) is None
        ]

    def tell(self, content: Mapping[str, list[Record]], holder: Holder, version: int) -> Told:
        """The records of a nested return (as `read_back` gives it); each with this version number."""
        told: dict[str, dict[tuple[Any, ...], dict[str, Any]]] = {}
        losses: list[Loss] = []
        for path, chain in self._rows(content):
            self._tell_row(path, chain, holder, told, losses)
        day = self.collection.period.start.isoformat()
        records = {
            name: [self._complete(name, record, version, day) for record in kept.values()]
            for name, kept in told.items()
        }
        return Told({name: made for name, made in records.items() if made}, losses)

    def untell(self, records: Mapping[str, list[dict[str, Any]]], holder: Holder) -> dict[str, list[Record]]:
        """The return as nested records again. Rows follow one another by their keys; the header is the collection's."""
        made: dict[str, list[Record]] = (
            {HEADER: [self._header(holder)]} if HEADER in self.collection.modules else {}
        )
        rows: dict[tuple[str, tuple[Any, ...]], Record] = {}
        for module in self.collection.modules.values():
            if module.name in self._entity:
                for record in records.get(module.entity or "", ()):
                    self._untell_row(module, record, rows, made)
        return made

    def _key_of(self, module: Module, entity: Entity) -> dict[str, tuple[str, str] | None]:
        """Item of the key -> module and item it comes from; None for what the holder says."""
        found: dict[str, tuple[str, str] | None] = {}
        for name in entity.key:
            if name == entity.holder:
                found[name] = None
                continue
            source = self._source(module, entity, entity.by_name[name])
            if source is not None:
                found[name] = source
        return found

    def _source(self, module: Module, entity: Entity, wanted: Item) -> tuple[str, str] | None:
        own = [item for item in module.items if item.item == f"{entity.name}.{wanted.name}"]
        if own:
            return module.name, own[0].name
        above = [module, *self.collection.ancestors(module.name)]
        near = [one for level in above for one in (level, *self._single(level.name))]
        for fits in (self._same_name, self._same_number):
            for one in near:
                for item in one.items:
                    if fits(item, wanted):
                        return one.name, item.name
        return None

    def _single(self, module: str) -> list[Module]:
        return [below for below in self.collection.children(module) if not below.many]

    def _same_name(self, item: ColumnDef, wanted: Item) -> bool:
        return (item.item or "").rpartition(".")[2] == wanted.name

    def _same_number(self, item: ColumnDef, wanted: Item) -> bool:
        return item.cbds is not None and item.cbds in (wanted.cbds_now, wanted.cbds)

    def _target(self, module: Module, item: ColumnDef) -> Item | None:
        """The item of the module's own entity that an item is."""
        entity, _, name = (item.item or "").partition(".")
        declared = self._entity.get(module.name)
        return declared.item(name) if declared is not None and declared.name == entity else None

    def _rows(self, content: Mapping[str, list[Record]]) -> Iterator[tuple[str, list[tuple[Module, Record]]]]:
        """Every row with those above it, its own last."""
        for module in self.collection.children(None):
            if module.name != HEADER:
                yield from self._below(module, content.get(module.name, []), "", [])

    def _below(
        self, module: Module, rows: list[Record], above: str, chain: list[tuple[Module, Record]]
    ) -> Iterator[tuple[str, list[tuple[Module, Record]]]]:
        for place, row in enumerate(rows, start=1):
            path = f"{above}/{module.name}[{place}]".lstrip("/")
            own = [*chain, (module, row)]
            yield path, own
            for below in self.collection.children(module.name):
                yield from self._below(below, row.get(below.name, []), path, own)

    def _tell_row(
        self,
        path: str,
        chain: list[tuple[Module, Record]],
        holder: Holder,
        told: dict[str, dict[tuple[Any, ...], dict[str, Any]]],
        losses: list[Loss],
    ) -> None:
        module, row = chain[-1]
        values = {item.name: row[item.name] for item in module.items if row.get(item.name) is not None}
        entity = self._entity.get(module.name)
        if entity is None:
            losses += [
                Loss(path, module.name, name, "the module is no entity of the standard") for name in values
            ]
            return
        near = {name: one for level, record in chain for name, one in self._beside(level, record)}
        record: dict[str, Any] = {}
        for name in entity.key:
            source = self._keys[module.name].get(name, ("", ""))
            text = holder.number if source is None else near.get(source[0], {}).get(source[1])
            if text is None:
                losses.append(Loss(path, module.name, name, "the record has no key: it cannot be told apart"))
                return
            record[name] = text if source is None else typed(entity.by_name[name], text)
        for item in module.items:
            target = self._target(module, item)
            if item.name not in values:
                continue
            if target is None:
                losses.append(Loss(path, module.name, item.name, "the standard has no such item"))
            elif (value := typed(target, values[item.name])) is None:
                losses.append(Loss(path, module.name, item.name, f"this is no {target.type}"))
            else:
                record[target.name] = value
        self._merge(path, module, entity, record, told, losses)

    def _beside(self, module: Module, row: Record) -> Iterator[tuple[str, Record]]:
        """A row and the single rows right below it, by module."""
        yield module.name, row
        for below in self._single(module.name):
            for one in row.get(below.name, []):
                yield below.name, one

    def _merge(
        self,
        path: str,
        module: Module,
        entity: Entity,
        record: dict[str, Any],
        told: dict[str, dict[tuple[Any, ...], dict[str, Any]]],
        losses: list[Loss],
    ) -> None:
        """Into the record of that key: several modules may tell of one entity, but never one twice."""
        key = tuple(record[name] for name in entity.key)
        kept = told.setdefault(entity.name, {}).setdefault(key, {})
        mark = f"\x00{module.name}"
        if mark in kept or any(kept.get(name, value) != value for name, value in record.items()):
            losses.append(Loss(path, module.name, "", "another record has the same key"))
            return
        kept |= record | {mark: True}

    def _complete(self, entity: str, record: dict[str, Any], version: int, day: str) -> dict[str, Any]:
        made = {name: value for name, value in record.items() if not name.startswith("\x00")}
        declared = standard.load().entities[entity]
        begins = made.get(declared.valid_from_item or "")
        return made | {"version": version} | ({} if begins else {"valid_from": day})

    def _untell_row(
        self,
        module: Module,
        record: dict[str, Any],
        rows: dict[tuple[str, tuple[Any, ...]], Record],
        made: dict[str, list[Record]],
    ) -> None:
        entity = self._entity[module.name]
        row = {
            item.name: text(record[target.name])
            for item in module.items
            if (target := self._target(module, item)) is not None and record.get(target.name) is not None
        }
        # A single row that says nothing of its own is not there; one that holds the key of the row above it is.
        if row:
            place = {
                source: text(record[name])
                for name in entity.key
                if (source := self._keys[module.name].get(name)) is not None
            }
            self._row(module, place, rows, made).update(row)

    def _row(
        self,
        module: Module,
        place: Mapping[tuple[str, str], str],
        rows: dict[tuple[str, tuple[Any, ...]], Record],
        made: dict[str, list[Record]],
    ) -> Record:
        """The row of a module with these keys, made with the rows above it where it is not there yet."""
        levels = [module.name, *(above.name for above in self.collection.ancestors(module.name))][::-1]
        key: tuple[Any, ...] = ()
        row: Record = {}
        for depth, name in enumerate(levels):
            key = (*key, *(place.get(cell) for cell in identity_of(self.collection, name)))
            known = rows.get((name, key))
            if known is None:
                known = rows[name, key] = {}
                (made if depth == 0 else row).setdefault(name, []).append(known)
            row = known
        return row

    def _header(self, holder: Holder) -> Record:
        """The header as the collection says it, with the sender's number where an item is the holder's."""
        said: Record = dict(self.collection.header)
        from_header = self.collection.reference_date_from
        if from_header is not None and from_header.startswith(f"{HEADER}."):
            said[from_header.partition(".")[2]] = self.collection.reference_date.isoformat()
        for item in self.collection.modules[HEADER].items:
            entity = standard.load().entities.get((item.item or "").partition(".")[0])
            if item.codeset == "local_authority" or (
                entity is not None and item.item == f"{entity.name}.{entity.holder}"
            ):
                said[item.name] = holder.number
            elif item.pattern and item.pattern.isalnum():
                # A pattern of one word allows nothing else.
                said.setdefault(item.name, item.pattern)
        return said


def typed(item: Item, written: str) -> Any:
    """A value as records write it; None for a text that is none of the item's type."""
    if item.type == "boolean":
        lower = written.lower()
        return True if lower in _TRUE else False if lower in _FALSE else None
    if item.type == "integer":
        return int(written) if written.lstrip("+-").isdecimal() and len(written) < 19 else None
    return written


def text(value: Any) -> str:
    """A value of a record as files write it."""
    if isinstance(value, bool):
        return "1" if value else "0"
    return str(value)
