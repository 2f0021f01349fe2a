"""Records of the standard written as a return: each becomes, or joins, the row that its keys name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from commonroom.collections.model import Collection
from commonroom.collections.record_forms import FORMS, SPREAD_ITEMS, SPREADS, Given, to_text, to_value
from commonroom.collections.record_map import Cell, RecordMap, Rule, item_of, record_map
from commonroom.collections.to_records import has_what_it_needs
from commonroom.standard.agreement import RECORD_FIELDS

Record = dict[str, Any]
# An item of a row, or of a row with `many: false` below it: the modules on the way down, then the item.
Way = tuple[str, ...]


@dataclass
class Written:
    """The return as nested records; and what it has no place for: `entity.item` -> how often, `entity` for whole records."""

    content: dict[str, list[Record]]
    left_out: Counter[str]


def from_records(collection: Collection, records: Mapping[str, Sequence[Record]], given: Given) -> Written:
    """The modules of a return, from records by entity. Top modules such as the header, which no entity is, stay empty."""
    return _Writer(collection, given).write(records)


@dataclass(eq=False)
class _Row:
    texts: dict[str, str] = field(default_factory=dict)
    below: dict[str, list[_Row]] = field(default_factory=dict)
    parent: _Row | None = None
    # Its number among its siblings, where a record says it.
    number: int | None = None
    # The rules by which records have been written into it.
    rules: set[int] = field(default_factory=set)


@dataclass(frozen=True)
class _Wish:
    """What one record wants written: texts of its own row, of rows above (how many up), and what finds those rows."""

    own: dict[str, str]
    # Texts of the own row, and of rows right below it, that tell it from others.
    keys: dict[Way, str]
    # (rows up, way down) -> texts.
    beside: dict[tuple[int, tuple[str, ...]], dict[str, str]]
    # Rows up -> texts that the row there has.
    links: dict[int, dict[Way, str]]
    # Rows up -> its number; 0 is the own row.
    numbers: dict[int, int]


class _Writer:
    def __init__(self, collection: Collection, given: Given) -> None:
        self._collection = collection
        self._map: RecordMap = record_map(collection)
        self._given = given
        self._root = _Row()
        # Rows below one row, by the texts of some of their items: made when first asked for.
        self._indexes: dict[tuple[int, str], dict[tuple[Way, ...], dict[tuple[str, ...], _Row]]] = {}
        self._left: Counter[str] = Counter()

    def write(self, records: Mapping[str, Sequence[Record]]) -> Written:
        taken: dict[str, set[int]] = {entity: set() for entity in records}
        present = {entity: _present(self._map, entity, found) for entity, found in records.items()}
        for rule in self._map.rules:
            if rule.entry.only == "read" or rule.entity.name not in present:
                continue
            for record, sources in self._rows_of(rule, present[rule.entity.name]):
                if self._put(rule, record):
                    taken[rule.entity.name].update(id(source) for source in sources)
        for entity, found in present.items():
            self._count_left(entity, found, taken[entity])
        content = {
            module.name: [self._nested(module.name, row) for row in self._root.below.get(module.name, ())]
            for module in self._collection.children(None)
        }
        for module, items in self._map.once.items():
            said = {item: self._wanted(written) for item, written in items.items()}
            content[module] = [{item: str(value) for item, value in said.items() if value is not None}]
        return Written(content, self._left)

    def _rows_of(self, rule: Rule, records: Sequence[Record]) -> Iterator[tuple[Record, Sequence[Record]]]:
        """Each record that is to be one row, with the records it stands for."""
        if rule.entry.spread is None:
            yield from ((record, (record,)) for record in records)
            return
        apart = SPREAD_ITEMS[rule.entry.spread]
        groups: dict[tuple[Any, ...], list[Record]] = {}
        for record in records:
            same = tuple(record.get(name) for name in rule.entity.key if name not in apart)
            groups.setdefault(same, []).append(record)
        for group in groups.values():
            for row in SPREADS[rule.entry.spread][1](group):
                yield row, group

    def _put(self, rule: Rule, record: Record) -> bool:
        """Write one record; False where it is not of this rule or its place does not exist."""
        if not self._is_meant(rule, record):
            return False
        wish = self._wish(rule, record)
        if wish is None:
            return False
        parent = self._parent(rule, wish)
        if parent is None:
            return False
        row = self._row(rule, wish, parent)
        if row is None:
            return False
        for name, text in wish.own.items():
            row.texts[name] = text
        for (ups, downs), texts in wish.beside.items():
            self._reached(row, ups, downs).texts.update(texts)
        row.rules.add(id(rule))
        self._enter(rule.module.name, row)
        return True

    def _is_meant(self, rule: Rule, record: Record) -> bool:
        for name, source in rule.sources.items():
            if name in rule.entity.key and source.kind in ("given", "constant"):
                wanted = (
                    self._given.values.get(source.text)
                    if source.kind == "given"
                    else to_value(item_of(rule, name), source.text)
                )
                if record.get(name) != wanted:
                    return False
        return (
            all(record.get(n) == self._wanted(v) for n, v in rule.entry.when.items())
            and not any(record.get(n) == self._wanted(v) for n, v in rule.entry.unless.items())
            and has_what_it_needs(rule, record)
        )

    def _wanted(self, written: str) -> Any:
        return self._given.values.get(written[1:]) if written.startswith("$") else written

    def _wish(self, rule: Rule, record: Record) -> _Wish | None:
        """None where a key has no form in the file, or nothing of the record's own is to be written."""
        where = rule.entry.where
        wish = _Wish(dict(where), {(name,): text for name, text in where.items()}, {}, {}, {})
        own = False
        for name, source in rule.sources.items():
            value, is_key = record.get(name), name in rule.entity.key
            if value is None or source.kind in ("given", "constant"):
                continue
            if source.kind == "ordinal":
                wish.numbers[source.ups] = int(value)
                own = own or source.ups == 0
                continue
            texts = self._texts(rule, name, value)
            if texts is None:
                if is_key:
                    return None
                continue
            for cell, text in zip(source.cells, texts, strict=False):
                if text is not None:
                    mine = self._place(wish, cell, text, name in rule.finding)
                    own = own or (mine and name not in rule.inherited)
        return wish if own else None

    def _texts(self, rule: Rule, name: str, value: Any) -> Sequence[str | None] | None:
        source = rule.sources[name]
        if source.kind == "form":
            return FORMS[source.text][1](value, self._given)
        text = to_text(value, self._map.booleans)
        back = {inside: outside for outside, inside in rule.entry.values.get(name, {}).items()}
        return (back.get(text, text),)

    def _place(self, wish: _Wish, cell: Cell, text: str, finds: bool) -> bool:
        """Put a text where it belongs; True where that is the own row or below it."""
        way = (*cell.downs, cell.item)
        if cell.ups > 0 and finds:
            wish.links.setdefault(cell.ups, {})[way] = text
            return False
        if finds:
            wish.keys[way] = text
        if cell.ups == 0 and not cell.downs:
            wish.own[cell.item] = text
        else:
            wish.beside.setdefault((cell.ups, cell.downs), {})[cell.item] = text
        return cell.ups == 0

    def _parent(self, rule: Rule, wish: _Wish) -> _Row | None:
        """The row above, found from the top by what the record says of each; rows between are made if need be."""
        chain = [above.name for above in self._collection.ancestors(rule.module.name)]
        return self._below(wish, chain, len(chain), self._root, may_add=True)

    def _below(self, wish: _Wish, chain: list[str], ups: int, row: _Row, *, may_add: bool) -> _Row | None:
        """The row `ups` levels above the record's own that the wish means, below one that is found already."""
        if ups == 0:
            return row
        module = self._collection.modules[chain[ups - 1]]
        links = wish.links.get(ups, {})
        if module.many and not links and ups not in wish.numbers:
            # Nothing is said of this level: the first row below which the next one is found.
            tried = row.below.get(module.name, ()) if ups > 1 else ()
            found = (self._below(wish, chain, ups - 1, one, may_add=False) for one in tried)
            return next((one for one in found if one is not None), None)
        level = self._find(module.name, row, links, wish.numbers.get(ups), module.many)
        if level is None:
            # A record of its own begins a record of the file; a number alone cannot.
            if module.parent is None or ups in wish.numbers or not may_add:
                return None
            level = self._add(module.name, row, links, None)
        return self._below(wish, chain, ups - 1, level, may_add=may_add)

    def _row(self, rule: Rule, wish: _Wish, parent: _Row) -> _Row | None:
        module = rule.module
        siblings = parent.below.get(module.name, [])
        if rule.entry.fallback and siblings:
            return None
        first = next(iter(self._map.of_module(module.name)))
        if not module.many:
            return siblings[0] if siblings else self._add(module.name, parent, {}, None)
        number = wish.numbers.get(0)
        # What the first entity of the module is told apart by tells its rows apart, for the others too.
        mine = _own_keys(first) if first is not rule else frozenset()
        keys = {way: wish.keys[way] for way in mine} if mine and mine <= wish.keys.keys() else wish.keys
        if keys and (found := self._find(module.name, parent, keys, number, True)):
            # A second record of the same kind for one row would take the place of the first.
            return None if id(rule) in found.rules else found
        if module.parent is None and first is not rule:
            return None
        return self._add(module.name, parent, wish.keys, number)

    def _find(
        self, module: str, parent: _Row, texts: Mapping[Way, str], number: int | None, many: bool
    ) -> _Row | None:
        siblings = parent.below.get(module, [])
        if number is not None:
            return next((row for row in siblings if row.number == number), None)
        if not many:
            return siblings[0] if siblings else None
        if not texts:
            return None
        by_names = self._indexes.setdefault((id(parent), module), {})
        names = tuple(sorted(texts))
        if names not in by_names:
            by_names[names] = {}
            for row in siblings:
                _enter(by_names, names, row)
        return by_names[names].get(tuple(texts[name] for name in names))

    def _add(self, module: str, parent: _Row, texts: Mapping[Way, str], number: int | None) -> _Row:
        row = _Row(parent=parent, number=number)
        for way, text in texts.items():
            self._reached(row, 0, way[:-1]).texts[way[-1]] = text
        parent.below.setdefault(module, []).append(row)
        self._enter(module, row)
        return row

    def _enter(self, module: str, row: _Row) -> None:
        """Let a row be found by what it says now."""
        by_names = self._indexes.get((id(row.parent), module), {})
        for names in by_names:
            _enter(by_names, names, row)

    def _reached(self, row: _Row, ups: int, downs: tuple[str, ...]) -> _Row:
        for _ in range(ups):
            assert row.parent is not None  # proved when the map was made
            row = row.parent
        for name in downs:
            below = row.below.setdefault(name, [])
            if not below:
                below.append(_Row(parent=row))
            row = below[0]
        return row

    def _nested(self, module: str, row: _Row) -> Record:
        record: Record = {
            item.name: row.texts[item.name]
            for item in self._collection.modules[module].items
            if item.name in row.texts
        }
        for name, rows in row.below.items():
            # Rows with a number in their order, those without after them, as they came.
            ordered = sorted(rows, key=lambda one: (one.number is None, one.number or 0))
            record[name] = [self._nested(name, one) for one in ordered]
        return record

    def _count_left(self, entity: str, records: Iterable[Record], taken: set[int]) -> None:
        """Whole records without a place, and items of the others."""
        rules = [one for one in self._map.rules if one.entity.name == entity and one.entry.only != "read"]
        known = {
            name for rule in rules for name in (*rule.sources, *SPREAD_ITEMS.get(rule.entry.spread or "", ()))
        }
        for record in records:
            if id(record) not in taken:
                self._left[entity] += 1
                continue
            for name, value in record.items():
                if value is not None and name not in known and name not in RECORD_FIELDS:
                    self._left[f"{entity}.{name}"] += 1


def _enter(
    by_names: dict[tuple[Way, ...], dict[tuple[str, ...], _Row]], names: tuple[Way, ...], row: _Row
) -> None:
    texts = tuple(text for way in names if (text := _said(row, way)) is not None)
    if len(texts) == len(names):
        by_names[names].setdefault(texts, row)


def _said(row: _Row, way: Way) -> str | None:
    """What a row, or a single one below it, says."""
    for name in way[:-1]:
        below = row.below.get(name)
        if not below:
            return None
        row = below[0]
    return row.texts.get(way[-1])


def _own_keys(rule: Rule) -> frozenset[Way]:
    """The items of a row, and of single rows below it, that tell the records of an entity apart."""
    found: set[Way] = {(name,) for name in rule.entry.where}
    for name in rule.finding:
        found |= {(*cell.downs, cell.item) for cell in rule.sources[name].cells if cell.ups == 0}
    return frozenset(found)


def _present(mapped: RecordMap, entity: str, records: Sequence[Record]) -> list[Record]:
    """The newest of each key: a record that was corrected or has changed stands once in a file."""
    rule = next((one for one in mapped.rules if one.entity.name == entity), None)
    if rule is None:
        return list(records)
    newest: dict[tuple[Any, ...], Record] = {}
    for record in records:
        key = tuple(record.get(name) for name in rule.entity.key)
        held = newest.get(key)
        if held is None or _age(record) >= _age(held):
            newest[key] = record
    return list(newest.values())


def _age(record: Record) -> tuple[str, int]:
    return str(record.get("valid_from") or ""), int(record.get("version") or 0)
