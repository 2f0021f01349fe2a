"""A return told in the common language: rows of a file become records of the standard, one record of the file at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from commonroom.collections.model import Collection
from commonroom.collections.record_forms import FORMS, SPREADS, Given, is_true, to_value
from commonroom.collections.record_map import Cell, RecordMap, Rule, Source, item_of, record_map

Record = dict[str, Any]


@dataclass(frozen=True)
class Loss:
    """A value that the records cannot say: where it stands, and why. The value itself may be personal: it is not here."""

    path: str
    module: str
    item: str
    why: str


@dataclass(frozen=True)
class Clash:
    """Two rows of one module that have the same key in the standard: one record cannot be both."""

    module: str
    path: str
    # The row that came first.
    other: str


@dataclass
class Told:
    """Records by entity, and what they do not say."""

    records: dict[str, list[Record]] = field(default_factory=dict)
    losses: list[Loss] = field(default_factory=list)
    clashes: list[Clash] = field(default_factory=list)

    @property
    def left_out(self) -> Counter[str]:
        """The losses by `Module.Item`: how often."""
        return Counter(f"{one.module}.{one.item}" for one in self.losses)

    def add(self, other: Told) -> None:
        """Take in what was told of another record."""
        for entity, records in other.records.items():
            self.records.setdefault(entity, []).extend(records)
        self.losses += other.losses
        self.clashes += other.clashes


def to_records(
    collection: Collection, content: Mapping[str, list[Record]], given: Given, modules: tuple[str, ...] = ()
) -> Told:
    """A whole return, as nested records, in the common language. `modules` are the top modules; without it all.

    `given.values` has what records.yaml names `$...`, `valid_from`, the day from which records hold that have no date of
    their own, and the `version` of all records, where they have one.
    """
    told = Told()
    teller = Teller(record_map(collection), given)
    for module in modules or [one.name for one in collection.children(None)]:
        for place, record in enumerate(content.get(module, ()), start=1):
            told.add(teller.tell(module, record, place))
    return told


class Teller:
    """Tells the records of one return: it also knows which keys the rows at the top had."""

    def __init__(self, mapped: RecordMap, given: Given) -> None:
        collection = mapped.collection
        self._map = mapped
        self._given = given
        self._rules = {name: mapped.of_module(name) for name in collection.modules}
        self._items = {name: module.by_name for name, module in collection.modules.items()}
        self._homeless = frozenset(mapped.homeless)
        # Keys of rows at the top, by rule: what hangs on them has their key in its own.
        self._tops: dict[tuple[Any, ...], str] = {}

    def tell(self, module: str, record: Record, ordinal: int = 1) -> Told:
        """One record of a top module with all below it."""
        work = _Work()
        rows = list(self._rows(module, record, ordinal, None))
        for row in rows:
            if row.module in self._map.once:
                self._compare(row, work)
            for rule in self._rules[row.module]:
                if rule.entry.only != "write":
                    self._make(rule, row, work)
        losses = [
            Loss(row.path, row.module, name, self._why(row.module, name))
            for row in rows
            for name, value in row.record.items()
            if value is not None
            and name in self._items[row.module]
            and (id(row.record), name) not in work.used
            and not self._map.not_told & {row.module, f"{row.module}.{name}"}
        ]
        return Told({name: list(found.values()) for name, found in work.made.items()}, losses, work.clashes)

    def _why(self, module: str, item: str) -> str:
        if (module, item) in self._homeless:
            return "the standard has no item for it"
        if item in self._map.once.get(module, {}):
            return "it is not what the return is, or whose"
        return "the standard has no such value, or the row has no key"

    def _compare(self, row: _Row, work: _Work) -> None:
        """A row that follows from the collection and the sender: what it says so is known, all else is lost."""
        for name, written in self._map.once[row.module].items():
            text, wanted = row.record.get(name), self._wanted(written)
            if text is not None and wanted is not None and text == str(wanted):
                work.used.add((id(row.record), name))

    def _rows(self, module: str, record: Record, ordinal: int, parent: _Row | None) -> Iterator[_Row]:
        above = f"{parent.path}/" if parent else ""
        row = _Row(module, record, ordinal, parent, f"{above}{module}[{ordinal}]")
        yield row
        for name, below in record.items():
            if name not in self._items[module]:
                for place, lower in enumerate(below, start=1):
                    yield from self._rows(name, lower, place, row)

    def _make(self, rule: Rule, row: _Row, work: _Work) -> None:
        if not all(self._says(rule, row, name, wanted) for name, wanted in rule.entry.where.items()):
            return
        record: Record = {}
        touched: dict[str, list[tuple[int, str]]] = {}
        own = False
        for name, source in rule.sources.items():
            value, cells = self._value(rule, name, source, row)
            if value is not None:
                record[name] = value
                touched[name] = cells
                mine = name not in rule.inherited and any(cell.ups == 0 for cell in source.cells)
                counts = name not in rule.entity.key or not rule.entry.more_than_key
                own = own or (mine and counts and bool(cells))
        if not own or not self._is_meant(rule, record):
            return
        for one in self._spread(rule, record):
            self._keep(rule, row, one, touched, work)
        for name in (*rule.entry.where, *rule.entry.implied):
            work.used.add((id(row.record), name))

    def _spread(self, rule: Rule, record: Record) -> Iterator[Record]:
        """The records that one row means: one, where no form spreads it."""
        if rule.entry.spread is None:
            yield record
        elif record.keys() >= {"date", "code"}:
            yield from SPREADS[rule.entry.spread][0](record)

    def _keep(
        self, rule: Rule, row: _Row, record: Record, touched: dict[str, list[tuple[int, str]]], work: _Work
    ) -> None:
        """Put a record beside the others, or what is new of it into the one with the same key."""
        key = tuple(record.get(name) for name in rule.entity.key)
        if any(part is None for part in key):
            return
        tops = self._tops if row.parent is None else work.keys
        other = tops.setdefault((rule.module.name, rule.entity.name, key), row.path)
        if other != row.path:
            work.clashes.append(Clash(row.module, row.path, other))
        present = work.made.setdefault(rule.entity.name, {}).setdefault(key, {})
        for name, value in record.items():
            if present.setdefault(name, value) == value:
                work.used.update(touched.get(name, ()))
        if rule.entity.valid_from_item is None and self._given.values.get("valid_from"):
            present["valid_from"] = self._given.values["valid_from"]
        if "version" in self._given.values:
            present["version"] = self._given.values["version"]

    def _says(self, rule: Rule, row: _Row, name: str, wanted: str) -> bool:
        text = row.record.get(name)
        if self._items[rule.module.name][name].type == "boolean":
            return text is not None and is_true(text) is is_true(wanted)
        return text == wanted

    def _is_meant(self, rule: Rule, record: Record) -> bool:
        return (
            all(record.get(n) == self._wanted(v) for n, v in rule.entry.when.items())
            and not any(record.get(n) == self._wanted(v) for n, v in rule.entry.unless.items())
            and has_what_it_needs(rule, record)
        )

    def _wanted(self, written: str) -> Any:
        return self._given.values.get(written[1:]) if written.startswith("$") else written

    def _value(self, rule: Rule, name: str, source: Source, row: _Row) -> tuple[Any, list[tuple[int, str]]]:
        """The value of an item, and the cells it was read from."""
        if source.kind == "given":
            return self._given.values.get(source.text), []
        if source.kind == "constant":
            return to_value(item_of(rule, name), source.text), []
        if source.kind == "ordinal":
            return row.above(source.ups).ordinal, []
        found = [(row.reach(cell), cell.item) for cell in source.cells]
        texts = [record.get(item) if record is not None else None for record, item in found]
        cells = [
            (id(record), item)
            for (record, item), text in zip(found, texts, strict=True)
            if text is not None and record is not None
        ]
        if source.kind == "form":
            return FORMS[source.text][0](texts, self._given), cells
        text = texts[0]
        if text is None:
            return None, []
        if rule.entry.spread is not None:
            return text, cells
        meant = rule.entry.values.get(name, {}).get(text) or text
        return to_value(item_of(rule, name), meant), cells


def has_what_it_needs(rule: Rule, record: Record) -> bool:
    """Whether a record has the items it must have, and none that it must not."""
    return all(record.get(name) is not None for name in rule.entry.needs) and all(
        record.get(name) is None for name in rule.entry.lacks
    )


@dataclass
class _Work:
    """What has been made of one record of the file so far."""

    made: dict[str, dict[tuple[Any, ...], Record]] = field(default_factory=dict)
    # Cells whose value a record says.
    used: set[tuple[int, str]] = field(default_factory=set)
    # Which row made the record of a key.
    keys: dict[tuple[Any, ...], str] = field(default_factory=dict)
    clashes: list[Clash] = field(default_factory=list)


@dataclass(frozen=True)
class _Row:
    module: str
    record: Record
    ordinal: int
    parent: _Row | None
    path: str

    def above(self, ups: int) -> _Row:
        row = self
        for _ in range(ups):
            assert row.parent is not None  # proved when the map was made
            row = row.parent
        return row

    def reach(self, cell: Cell) -> Record | None:
        record: Record | None = self.above(cell.ups).record
        for name in cell.downs:
            below = record.get(name) if record is not None else None
            record = below[0] if below else None
        return record
