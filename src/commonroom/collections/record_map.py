"""How rows of a collection become records of the standard, and back: the declaration records.yaml, resolved and proved.

Most of it stands in collection.yaml already: `entity` of a module, `item` of an item. records.yaml adds keys that the file
does not have as such, constants, and rows that are records of several entities.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from commonroom import standard
from commonroom.collections.agreement import fault
from commonroom.collections.model import Collection, Module
from commonroom.collections.record_forms import FORMS, SPREADS
from commonroom.declarations import load as load_declaration
from commonroom.standard import Entity, Item

FILE = "records.yaml"
_CALL = re.compile(r"(\w+)\(([^()]*)\)")
_DOWNWARDS = 8

Kind = Literal["cell", "given", "constant", "ordinal", "form"]


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One entity made of the rows of one module."""

    entity: str
    module: str = msgspec.field(name="from")
    # Item of the entity -> `Item`, `Module.Item`, `$given`, `=constant`, `#`, `#Module` or `form(Item, ...)`.
    items: dict[str, str] = {}
    # Item of the module -> what it says: only rows that say so, and rows that are written say so.
    where: dict[str, str] = {}
    # Item of the entity -> value or `$given`: only records that have it; only records that do not.
    when: dict[str, str] = {}
    unless: dict[str, str] = {}
    # Item of the entity -> value in the file -> value in the record.
    values: dict[str, dict[str, str]] = {}
    # A form that makes several records of one row.
    spread: str | None = None
    only: Literal["read", "write"] | None = None
    # When written: only where the module has no row yet.
    fallback: bool = False
    # Only where an item of the row that is no key has a value: else the row stands for others below it.
    more_than_key: bool = False
    # Items that the record says by being there.
    implied: tuple[str, ...] = ()
    # Items of the entity: only records that have them; only records that do not.
    needs: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A partial file: the entities it holds, of some only certain records and items."""

    title: str
    entities: tuple[str, ...]
    # Entity -> item -> values.
    where: dict[str, dict[str, tuple[str, ...]]] = {}
    # Entity -> items besides the key.
    items: dict[str, tuple[str, ...]] = {}
    # Items that a record must have, `entity.item`: others are not of the part.
    needs: tuple[str, ...] = ()


class RecordFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file records.yaml."""

    records: tuple[Entry, ...] = ()
    # How yes and no are written.
    booleans: tuple[str, str] = ("true", "false")
    parts: dict[str, Part] = {}
    # Module whose one row follows from the collection and its sender -> item -> text or `$given`.
    once: dict[str, dict[str, str]] = {}
    # `Module` and `Module.Item` that say something of the file or of a system, not of what is returned.
    not_told: tuple[str, ...] = ()


@dataclass(frozen=True)
class Cell:
    """An item of a row that can be reached: so many rows up, then down through modules with `many: false`."""

    ups: int
    downs: tuple[str, ...]
    module: str
    item: str


@dataclass(frozen=True)
class Source:
    """Where the value of one item comes from."""

    kind: Kind
    # Constant, name of what is given, or name of the form.
    text: str = ""
    cells: tuple[Cell, ...] = ()
    ups: int = 0


@dataclass(frozen=True)
class Rule:
    """An entry, resolved."""

    entry: Entry
    entity: Entity
    module: Module
    sources: dict[str, Source]
    # Keys that it has from other entities of the row or of rows above.
    inherited: frozenset[str]
    # Items by which its own row or a row above is found: keys, and keys of the entity that the row above is.
    finding: frozenset[str]


@dataclass(frozen=True)
class RecordMap:
    """The whole map of a collection."""

    collection: Collection
    # In the order of the modules, so that rows above come first.
    rules: tuple[Rule, ...]
    booleans: tuple[str, str]
    parts: dict[str, Part]
    once: dict[str, dict[str, str]]
    not_told: frozenset[str]

    @property
    def homeless(self) -> list[tuple[str, str]]:
        """(module, item) that no record says; those that are not to be told are not among them."""
        told = {
            (cell.module, cell.item)
            for rule in self.rules
            for source in rule.sources.values()
            for cell in source.cells
        }
        told |= {
            (rule.module.name, name)
            for rule in self.rules
            for name in (*rule.entry.where, *rule.entry.implied)
        }
        told |= {(module, name) for module, items in self.once.items() for name in items}
        return [
            (module.name, item.name)
            for module in self.collection.modules.values()
            for item in module.items
            if (module.name, item.name) not in told
            and not self.not_told & {module.name, f"{module.name}.{item.name}"}
        ]

    def of_module(self, module: str) -> tuple[Rule, ...]:
        """The entities that rows of a module are."""
        return tuple(rule for rule in self.rules if rule.module.name == module)


def record_map(collection: Collection) -> RecordMap:
    """The map of a collection. Raises Problem CR-001 and CR-180."""
    found = (Path(folder) / FILE for folder in collection.folders)
    path = next((path for path in found if path.exists()), None)
    written = load_declaration(path, RecordFile) if path else RecordFile()
    return _Resolver(collection, path or Path(collection.folders[0]) / FILE, written).map()


class _Resolver:
    def __init__(self, collection: Collection, path: Path, written: RecordFile) -> None:
        self._collection = collection
        self._path = path
        self._written = written
        self._entities = standard.load().entities
        self._place = 0

    def map(self) -> RecordMap:
        entries = list(self._entries())
        by_module: dict[str, list[Entry]] = {name: [] for name in self._collection.modules}
        for self._place, entry in enumerate(entries):
            if entry.module not in by_module:
                raise self._fault(f"there is no module {entry.module}")
            by_module[entry.module].append(entry)
        rules: dict[str, list[Rule]] = {}
        for module in self._from_above():
            rules[module] = []
            for entry in by_module[module]:
                rules[module].append(self._rule(entry, rules, entries))
        in_order = tuple(rule for module in self._collection.modules for rule in rules[module])
        self._prove_names()
        return RecordMap(
            self._collection,
            in_order,
            self._written.booleans,
            self._written.parts,
            self._written.once,
            frozenset(self._written.not_told),
        )

    def _prove_names(self) -> None:
        """What stands once, and what is not told, is of the collection."""
        self._place = len(self._written.records)
        written = [f"{module}.{name}" for module, items in self._written.once.items() for name in items]
        for one in (*written, *self._written.once, *self._written.not_told):
            name, _, item = one.partition(".")
            module = self._collection.modules.get(name)
            if module is None or (item and item not in module.by_name):
                raise self._fault(f"there is no {one}")

    def _entries(self) -> Iterator[Entry]:
        """Those declared, and one for each other module that says whose records its rows are."""
        yield from self._written.records
        declared = {(one.module, one.entity) for one in self._written.records}
        for module in self._collection.modules.values():
            if module.entity and (module.name, module.entity) not in declared:
                yield Entry(entity=module.entity, module=module.name)

    def _from_above(self) -> list[str]:
        depth = {name: len(list(self._collection.ancestors(name))) for name in self._collection.modules}
        return sorted(depth, key=lambda name: depth[name])

    def _rule(self, entry: Entry, rules: dict[str, list[Rule]], entries: list[Entry]) -> Rule:
        entity = self._entities.get(entry.entity)
        if entity is None:
            raise self._fault(f"the standard has no entity {entry.entity}")
        module = self._collection.modules[entry.module]
        for name in (*entry.items, *entry.when, *entry.unless, *entry.values, *entry.needs, *entry.lacks):
            if entity.item(name) is None:
                raise self._fault(f"{entity.name} has no item {name}")
        for name in (*entry.where, *entry.implied):
            if name not in module.by_name:
                raise self._fault(f"{module.name} has no item {name}")
        if entry.spread is not None and entry.spread not in SPREADS:
            raise self._fault(f"there is no form {entry.spread} that spreads a row")
        sources = {name: self._source(written, module) for name, written in entry.items.items()}
        several = [one for one in entries if (one.entity, one.module) == (entry.entity, entry.module)]
        if len(several) == 1:
            sources = self._named(entity, module) | sources
        missing = [name for name in entity.key if name not in sources]
        inherited = {name: source for name in missing if (source := self._inherited(name, module, rules))}
        sources |= inherited
        finding = {name for name, one in sources.items() if name in entity.key or self._is_link(one)}
        return Rule(entry, entity, module, sources, frozenset(inherited), frozenset(finding))

    def _is_link(self, source: Source) -> bool:
        """Whether it names a row above, by the key of the entity that that row is."""
        return source.kind == "cell" and any(
            cell.ups > 0 and not cell.downs and self._is_key(cell.module, cell.item) for cell in source.cells
        )

    def _is_key(self, module: str, item: str) -> bool:
        declared = self._collection.modules[module]
        entity, _, name = (declared.by_name[item].item or "").partition(".")
        known = self._entities.get(entity)
        return known is not None and entity == declared.entity and name in known.key

    def _named(self, entity: Entity, module: Module) -> dict[str, Source]:
        """Items of the module, and of modules with `many: false` below it, that say which item they are."""
        found: dict[str, list[Cell]] = {}
        for downs, below in self._single(module, ()):
            for item in below.items:
                of, _, name = (item.item or "").partition(".")
                if of == entity.name and entity.item(name):
                    found.setdefault(name, []).append(Cell(0, downs, below.name, item.name))
        return {name: Source("cell", cells=tuple(cells)) for name, cells in found.items() if len(cells) == 1}

    def _single(self, module: Module, downs: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Module]]:
        yield downs, module
        for child in self._collection.children(module.name):
            if not child.many and len(downs) < _DOWNWARDS:
                yield from self._single(child, (*downs, child.name))

    def _inherited(self, name: str, module: Module, rules: dict[str, list[Rule]]) -> Source | None:
        """A key that rows above have too, such as the pupil's number; or, at the top, another entity of the row."""
        above_it = list(enumerate(self._collection.ancestors(module.name), start=1))
        for ups, above in [*above_it, (0, module)]:
            for rule in rules[above.name]:
                if name in rule.entity.key and name in rule.sources:
                    return _raised(rule.sources[name], ups)
        return None

    def _source(self, written: str, module: Module) -> Source:
        if written.startswith("$"):
            return Source("given", written[1:])
        if written.startswith("="):
            return Source("constant", written[1:])
        if written.startswith("#"):
            return Source("ordinal", ups=self._ups(written[1:] or module.name, module))
        call = _CALL.fullmatch(written)
        if call is None:
            return Source("cell", cells=(self._cell(written, module),))
        if call[1] not in FORMS:
            raise self._fault(f"there is no form {call[1]}; there are {', '.join(FORMS)}")
        cells = tuple(self._cell(one.strip(), module) for one in call[2].split(","))
        return Source("form", call[1], cells)

    def _ups(self, name: str, module: Module) -> int:
        chain = [module.name, *(above.name for above in self._collection.ancestors(module.name))]
        if name not in chain:
            raise self._fault(f"{name} does not stand above {module.name}")
        return chain.index(name)

    def _cell(self, written: str, module: Module) -> Cell:
        wanted, _, item = written.rpartition(".")
        wanted = wanted or module.name
        for ups, above in enumerate([module, *self._collection.ancestors(module.name)]):
            for downs, reached in self._single(above, ()):
                if reached.name == wanted and item in reached.by_name:
                    return Cell(ups, downs, wanted, item)
        raise self._fault(f"no row of {module.name} reaches {wanted}.{item}")

    def _fault(self, detail: str) -> Exception:
        if not self._path.exists():
            return fault(
                Path(self._collection.folders[0]) / "collection.yaml", (), detail, "Correct the name."
            )
        steps: tuple[str | int, ...] = (
            ("records", self._place) if self._place < len(self._written.records) else ()
        )
        return fault(self._path, steps, detail, "docs/collections.md has the form.")


def _raised(source: Source, ups: int) -> Source:
    """A source of a row above, as seen from below."""
    cells = tuple(Cell(cell.ups + ups, cell.downs, cell.module, cell.item) for cell in source.cells)
    return Source(source.kind, source.text, cells, source.ups + ups)


def item_of(rule: Rule, name: str) -> Item:
    """The item of the entity by name."""
    item = rule.entity.item(name)
    assert item is not None  # proved when the map was made
    return item
