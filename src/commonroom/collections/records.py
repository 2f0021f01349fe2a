"""A return as nested records: the form of examples, of whole valid returns, and of what systems hand over.

Such as `{Header: {...}, Child: [{ChildIdentifiers: {UPN: A1}, CINdetails: [{...}, {...}]}]}`; into rows, and back.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from commonroom.collections.model import Collection, Module
from commonroom.collections.tables import BATCH, CURRENT, Buffer, Tables, raw_name, table_name
from commonroom.problems import Problem, add_codes

add_codes({"CR-183": "The example or record does not fit the collection"})

Record = dict[str, Any]


class Rows:
    """Collects the rows of a return, gives them their keys, and writes them batch by batch."""

    def __init__(self, tables: Tables, schema: str = CURRENT) -> None:
        self._tables = tables
        self._schema = schema
        self.buffers = {module.name: Buffer(module) for module in tables.collection.modules.values()}

    def add(
        self, module: str, texts: list[str | None], parent: int | None, person: int | None, ordinal: int
    ) -> int:
        """One row; its key. `person` is None for a row at the top, which is its own record."""
        buffer = self.buffers[module]
        buffer.count += 1
        key = buffer.count
        buffer.rows.append([key, parent or 0, key if person is None else person, ordinal, *texts])
        if len(buffer.rows) >= BATCH:
            self._tables.insert(self._schema, buffer)
        return key

    def flush(self) -> None:
        """Write what still waits."""
        for buffer in self.buffers.values():
            self._tables.insert(self._schema, buffer)


def arrange(collection: Collection, content: Mapping[str, Any], where: str = "") -> Record:
    """Modules written side by side, put below one another; rows above them are made where they are not written."""
    whole: Record = Arranger(collection, where).arrange(None, content)
    return whole


def load_records(tables: Tables, content: Mapping[str, Any], schema: str = CURRENT, where: str = "") -> None:
    """Write a nested return into the tables. Raises Problem CR-183 where a name is not the collection's."""
    rows = Rows(tables, schema)
    Reader(tables.collection, where).read(content, rows)
    rows.flush()


def replace_record(tables: Tables, top: str, row: int, record: Mapping[str, Any]) -> dict[str, list[int]]:
    """Put a record in the place of one: its rows keep the old keys as far as they go, further ones get new keys.

    The keys of the old rows by module. Raises Problem CR-183 where a name is not the collection's, before anything is
    changed.
    """
    collection = tables.collection
    inside = [name for name in collection.modules if collection.top(name) == top]
    rows = Rows(tables)
    made = arrange(collection, {top: dict(record)})[top]
    Reader(collection).read_row(collection.modules[top], made[0], None, None, 1, rows)
    old, ordinal = _keys(tables, inside, row)
    keys: dict[str, dict[int, int]] = {}
    for name in inside:
        made_rows, further = rows.buffers[name].rows, tables.highest[name] + 1
        given = [*old[name], *range(further, further + len(made_rows))]
        keys[name] = {made_row[0]: given[place] for place, made_row in enumerate(made_rows)}
        if old[name]:
            tables.query(f"DELETE FROM {table_name(CURRENT, name)} WHERE _person = ?", [row])
    for name in inside:
        parent = collection.modules[name].parent
        for made_row in rows.buffers[name].rows:
            made_row[0], made_row[2] = keys[name][made_row[0]], row
            if parent is None:
                made_row[3] = ordinal
            else:
                made_row[1] = keys[parent][made_row[1]]
    rows.flush()
    return old


def _keys(tables: Tables, modules: list[str], person: int) -> tuple[dict[str, list[int]], int]:
    """The keys of a record's rows in each module; and the record's own number in the return."""
    parts = [
        f"SELECT {number} AS m, _row, _ordinal FROM {table_name(CURRENT, name)} WHERE _person = {person:d}"
        for number, name in enumerate(modules)
    ]
    found: dict[str, list[int]] = {name: [] for name in modules}
    ordinal = 1
    for number, key, place in tables.query(f"{' UNION ALL '.join(parts)} ORDER BY 1, 2"):
        found[modules[number]].append(key)
        if tables.collection.modules[modules[number]].parent is None:
            ordinal = place
    return found, ordinal


class Reader:
    """Reads nested records of one collection."""

    def __init__(self, collection: Collection, where: str = "") -> None:
        self._collection = collection
        self._where = where

    def read(self, content: Mapping[str, Any], rows: Rows) -> None:
        """Every module at the top."""
        for name, value in content.items():
            module = self._module(name, None)
            for ordinal, row in enumerate(_listed(value), start=1):
                self.read_row(module, row, None, None, ordinal, rows)

    def read_row(
        self, module: Module, row: Any, parent: int | None, person: int | None, ordinal: int, rows: Rows
    ) -> int:
        """One row with all below it; its key."""
        texts, below = self.split(module, row)
        key = rows.add(module.name, texts, parent, person, ordinal)
        for name, value in below.items():
            following = self._module(name, module.name)
            for place, lower in enumerate(_listed(value), start=1):
                self.read_row(following, lower, key, person or key, place, rows)
        return key

    def split(self, module: Module, row: Any) -> tuple[list[str | None], Record]:
        """A row's own texts in the order of the items, and the modules below it."""
        if row is None or isinstance(row, str):
            if len(module.items) != 1:
                raise self._fault(f"a row of {module.name} is written with the names of its items")
            row = {module.items[0].name: row}
        if not isinstance(row, Mapping):
            raise self._fault(f"a row of {module.name} is written {{Item: value}}")
        texts = {name: value for name, value in row.items() if name in module.by_name}
        for name, value in texts.items():
            if value is not None and not isinstance(value, str):
                raise self._fault(f"{module.name}.{name} is one value, written as text")
        below = {name: value for name, value in row.items() if name not in texts}
        return [_text(texts.get(item.name)) for item in module.items], below

    def _module(self, name: str, parent: str | None) -> Module:
        module = self._collection.modules.get(name)
        if module is None or module.parent != parent:
            known = ", ".join(child.name for child in self._collection.children(parent)) or "nothing"
            items = self._collection.modules[parent].by_name if parent else {}
            inside = f"below {parent}" if parent else "at the top"
            raise self._fault(
                f"there is no `{name}` {inside}; there is {known}"
                + (f", and the items {', '.join(items)}" if items else "")
            )
        return module

    def _fault(self, detail: str) -> Problem:
        return Problem("CR-183", f"{detail}.", where=self._where, remedy="docs/collections.md has the form.")


def read_back(
    tables: Tables, schema: str = CURRENT, first: int = 1, last: int = 2**31 - 1
) -> dict[str, list[Record]]:
    """The return as nested records again: for each module at the top its rows in file order, lists throughout.

    Of each module at the top, only the rows from `first` to `last`.
    """
    found: dict[str, dict[int, Record]] = {}
    above: dict[str, list[tuple[int, int]]] = {}
    for module in tables.collection.modules.values():
        rows = tables.query(_read_back(schema, module), [first, last])
        names = [item.name for item in module.items]
        found[module.name] = {
            row: {name: text for name, text in zip(names, texts, strict=True) if text is not None}
            for row, _, *texts in rows
        }
        above[module.name] = [(row, parent) for row, parent, *_ in rows]
    for module in tables.collection.modules.values():
        if module.parent is not None:
            for row, parent in above[module.name]:
                found[module.parent][parent].setdefault(module.name, []).append(found[module.name][row])
    return {module.name: list(found[module.name].values()) for module in tables.collection.children(None)}


def _read_back(schema: str, module: Module) -> str:
    columns = ", ".join(("_row", "_parent", *(raw_name(item.name) for item in module.items)))
    return (
        f"SELECT {columns} FROM {table_name(schema, module.name)} WHERE _person BETWEEN ? AND ? ORDER BY _row"
    )


class Arranger:
    """Puts modules that are written side by side below one another."""

    def __init__(self, collection: Collection, where: str) -> None:
        self._collection = collection
        self._where = where

    def arrange(self, parent: str | None, row: Any) -> Any:
        """A row with only its own items and the modules right below it; for None the whole return."""
        if not isinstance(row, Mapping):
            return row
        items = self._collection.modules[parent].by_name if parent else {}
        made: Record = {name: value for name, value in row.items() if name in items}
        below: dict[str, list[Any]] = {}
        chains = {name: self._chain(parent, name) for name in row if name not in items}
        for name, chain in sorted(chains.items(), key=lambda one: len(one[1])):
            rows = row[name] if isinstance(row[name], list) else [row[name]]
            if len(chain) == 1:
                below[name] = list(rows)
                continue
            above = below.setdefault(chain[0], [{}])
            if len(above) != 1:
                raise self._fault(f"{chain[0]} has several rows: write {name} inside the one it belongs to")
            above[0] = {**_named(self._collection, chain[0], above[0]), name: rows}
        return made | {name: [self.arrange(name, lower) for lower in rows] for name, rows in below.items()}

    def normal(self, module: str, row: Any) -> Record:
        """A row whose modules below are lists of rows throughout, and whose values are written by their items."""
        arranged = self.arrange(module, _named(self._collection, module, row))
        items = self._collection.modules[module].by_name
        made = {name: value for name, value in arranged.items() if name in items and value}
        return made | {
            name: [self.normal(name, lower) for lower in rows]
            for name, rows in arranged.items()
            if name not in items
        }

    def _chain(self, parent: str | None, name: str) -> list[str]:
        """The modules from right below `parent` down to `name`."""
        if name not in self._collection.modules:
            known = ", ".join(self._collection.modules)
            raise self._fault(
                f"there is no module or item `{name}` in {parent or 'the return'}; modules: {known}"
            )
        chain = [name, *(above.name for above in self._collection.ancestors(name))]
        if parent is not None:
            if parent not in chain[1:]:
                raise self._fault(f"{name} does not stand below {parent}")
            chain = chain[: chain.index(parent)]
        return chain[::-1]

    def _fault(self, detail: str) -> Problem:
        return Problem("CR-183", f"{detail}.", where=self._where, remedy="docs/collections.md has the form.")


def _named(collection: Collection, module: str, row: Any) -> Mapping[str, Any]:
    """A row as item -> value, also where its only item was written as a plain value."""
    if isinstance(row, Mapping):
        return row
    return {collection.modules[module].items[0].name: row}


def _text(value: str | None) -> str | None:
    stripped = (value or "").strip()
    return stripped or None


def _listed(value: Any) -> Iterable[Any]:
    return value if isinstance(value, list) else [value]
