"""The built-in rules: what each value may be, by the item's declaration. One scan of each table counts what is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from commonroom.collections.findings import Place, Raised, shortened
from commonroom.collections.model import Collection, ColumnDef, Module, Severity
from commonroom.collections.predicates import Language, quoted
from commonroom.collections.tables import CURRENT, Tables, is_typed, raw_name, table_name, unreadable
from commonroom.standard import load as load_standard

RULES = ("header", "type", "length", "pattern", "range", "code", "required", "repeated", "unknown-element")
_KINDS = {
    "date": "a date, written CCYY-MM-DD",
    "datetime": "a date and time, written CCYY-MM-DDThh:mm:ss",
    "time": "a time, written hh:mm",
    "integer": "a whole number",
    "decimal": "a number",
    "boolean": "yes or no (1, 0, true, false, Y, N)",
}


@dataclass(frozen=True)
class ItemCheck:
    """The checks of one item: SQL of the first that fails, NULL where none does; and how it is said."""

    module: Module
    item: ColumnDef
    # Built-in rule -> condition under which it fails, those that a rule of the collection makes included.
    failing: dict[str, str]
    severity: dict[str, Severity] = field(default_factory=dict)

    @property
    def case(self) -> str:
        """The name of the first check that fails."""
        cases = " ".join(f"WHEN {condition} THEN '{name}'" for name, condition in self.failing.items())
        return f"CASE {cases} END"


class Schema:
    """The built-in rules of one collection."""

    def __init__(self, collection: Collection, language: Language) -> None:
        self._collection = collection
        self._checks = {
            module.name: [
                check for item in module.items if (check := _item_check(collection, language, module, item))
            ]
            for module in collection.modules.values()
        }

    def check(
        self, tables: Tables, only: frozenset[str] | None = None, person: int | None = None
    ) -> tuple[list[Raised], frozenset[tuple[str, str]]]:
        """The findings; and (module, item) of which some value could not be read.

        With `only`, of these modules and of the record `person`; otherwise of the whole return.
        """
        record = "" if person is None else f" AND _person = {person:d}"
        found: list[Raised] = []
        unread: set[tuple[str, str]] = set()
        for module in self._collection.modules.values():
            if only is not None and module.name not in only:
                continue
            for check in self._failing(tables, module, record):
                for row, name, value in tables.query(_rows(check, record)):
                    if name == "type" and is_typed(check.item):
                        unread.add((module.name, check.item.name))
                    if name not in check.item.checked_by:
                        found.append(_value_finding(check, name, row, value))
            found += self._missing(tables, module, record)
        if only is None:
            found += self._header(tables)
        return found, frozenset(unread)

    def unreadable(
        self, tables: Tables, modules: Iterable[str], person: int | None = None
    ) -> frozenset[tuple[str, str]]:
        """(module, item) of these modules of which some value could not be read, without the findings."""
        where = "" if person is None else f" WHERE _person = {person:d}"
        cells = [
            (name, item)
            for name in modules
            for item in self._collection.modules[name].items
            if is_typed(item)
        ]
        if not cells:
            return frozenset()
        tested = {name: [item for of, item in cells if of == name] for name, _ in cells}
        flags = [
            f"(SELECT [{', '.join(map(_count_unreadable, items))}] FROM {table_name(CURRENT, name)}{where})"
            for name, items in tested.items()
        ]
        ((*counts,),) = tables.query(f"SELECT {', '.join(flags)}")
        found = [count for counted in counts for count in counted]
        return frozenset((name, item.name) for (name, item), count in zip(cells, found, strict=True) if count)

    def _failing(self, tables: Tables, module: Module, record: str) -> list[ItemCheck]:
        checks = self._checks[module.name]
        if not checks:
            return []
        counts = ", ".join(f"count({check.case})" for check in checks)
        ((*found,),) = tables.query(
            f"SELECT {counts} FROM {table_name(CURRENT, module.name)} WHERE TRUE{record}"
        )
        return [check for check, count in zip(checks, found, strict=True) if count]

    def _missing(self, tables: Tables, module: Module, record: str) -> Iterator[Raised]:
        """Modules that should be there, and rows that stand where one is the most."""
        table = table_name(CURRENT, module.name)
        if not module.many and not (record and module.parent is None):
            for (row,) in tables.query(f"SELECT _row FROM {table} WHERE _ordinal > 1{record} ORDER BY 1"):
                message = f"{module.name} may stand once only{_below(module)}."
                yield Raised("repeated", "error", message, (Place(module.name, None, row, None),))
        if not module.required:
            return
        if module.parent is None:
            if not tables.count(module.name):
                place = Place(module.name, None, None, None)
                yield Raised("required", "error", f"The return has no {module.name}.", (place,))
            return
        above = table_name(CURRENT, module.parent)
        lacking = (
            f"SELECT _row FROM {above} AS p WHERE NOT EXISTS"
            f" (SELECT 1 FROM {table} AS c WHERE c._parent = p._row){record} ORDER BY 1"
        )
        for (row,) in tables.query(lacking):
            place = Place(module.name, None, row, None, row_of=module.parent)
            yield Raised("required", "error", f"{module.parent} has no {module.name}.", (place,))

    def _header(self, tables: Tables) -> Iterator[Raised]:
        if not self._collection.header:
            return
        names = list(self._collection.header)
        columns = ", ".join(raw_name(name) for name in names)
        rows = tables.query(f"SELECT {columns} FROM {table_name(CURRENT, 'Header')} WHERE _row = 1")
        if not rows:
            place = Place("Header", None, None, None)
            yield Raised("header", "error", "The return has no header.", (place,))
            return
        for name, value in zip(names, rows[0], strict=True):
            wanted = self._collection.header[name]
            if value != wanted:
                said = f"says {shortened(value)}" if value else "is blank"
                message = f"{name} should say {wanted} for this collection; it {said}."
                yield Raised("header", "error", message, (Place("Header", name, 1, value),))


def _item_check(
    collection: Collection, language: Language, module: Module, item: ColumnDef
) -> ItemCheck | None:
    raw, own = raw_name(item.name), quoted(item.name)
    failing: dict[str, str] = {}
    severity: dict[str, Severity] = {}
    if unreadable("", item):
        failing["type"] = unreadable("", item)
    if item.codeset is not None:
        failing["code"] = f"{raw} NOT IN ({_texts(language.codes(item.codeset)) or 'NULL'})"
        severity["code"] = "query" if _is_open(collection, item.codeset) else "error"
    if item.length is not None:
        failing["length"] = f"length({raw}) > {item.length}"
    if item.pattern is not None:
        failing["pattern"] = f"NOT regexp_full_match({raw}, {_texts([item.pattern])})"
    limits = [("<", item.minimum), (">", item.maximum)]
    beyond = [f"{own} {sign} {_limit(item, limit)}" for sign, limit in limits if limit is not None]
    if beyond:
        failing["range"] = f"({' OR '.join(beyond)})"
    if item.required:
        failing["required"] = f"{raw} IS NULL"
    # What a rule of the collection checks is silent here; types all the same are looked at, for the other rules' sake.
    kept = {name: sql for name, sql in failing.items() if name == "type" or name not in item.checked_by}
    return ItemCheck(module, item, kept, severity) if kept else None


def _count_unreadable(item: ColumnDef) -> str:
    return f"count(*) FILTER (WHERE {unreadable('', item)})"


def _rows(check: ItemCheck, record: str) -> str:
    table = table_name(CURRENT, check.module.name)
    return (
        f"SELECT _row, {check.case} AS failing, {raw_name(check.item.name)} FROM {table}"
        f" WHERE failing IS NOT NULL{record} ORDER BY 1"
    )


def _value_finding(check: ItemCheck, name: str, row: int, value: str | None) -> Raised:
    item = check.item
    shown = shortened(value)
    limits = " and ".join(
        f"{word} {limit}" for word, limit in (("at least", item.minimum), ("at most", item.maximum)) if limit
    )
    messages = {
        "type": f"{item.name} should be {_KINDS.get(item.type, item.type)}; it says {shown}.",
        "code": f"{item.name} says {shown}, which is not in the list {item.codeset}.",
        "length": f"{item.name} may have {item.length} characters; it has {len(value or '')}.",
        "pattern": f"{item.name} says {shown}, which is not of the right form.",
        "range": f"{item.name} should be {limits}; it says {shown}.",
        "required": f"{item.name} is missing.",
    }
    place = Place(check.module.name, item.name, row, value)
    return Raised(name, check.severity.get(name, "error"), messages[name], (place,))


def _is_open(collection: Collection, codeset: str) -> bool:
    own = collection.codesets.get(codeset)
    return own.open if own is not None else load_standard().codesets[codeset].open


def _limit(item: ColumnDef, limit: str) -> str:
    return f"DATE '{limit}'" if item.type == "date" else _texts([limit]) if item.type == "string" else limit


def _texts(values: list[str] | tuple[str, ...]) -> str:
    return ", ".join("'" + value.replace("'", "''") + "'" for value in values)


def _below(module: Module) -> str:
    return f" in {module.parent}" if module.parent else ""
