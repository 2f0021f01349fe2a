"""Makes one statement of each source of a module: it gives the rows of the module as the record has them.

What may be named is proved here; the conditions are those of the rules, over the items of the standard's entities. The
facts stand in tables that `live` makes beforehand: see `Needed`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

from commonroom.collections.live_model import Figure, Live
from commonroom.collections.model import Collection, ColumnDef, ItemType, Module
from commonroom.collections.predicates import Condition, Scope, language_of, quoted, read
from commonroom.collections.tables import CURRENT, table_name
from commonroom.problems import Problem
from commonroom.standard import Entity
from commonroom.standard import load as load_standard

LIVE_FILE = "live.yaml"
When = Literal["on the reference date", "over the period", "until the reference date"]
VALIDITY = ("valid_from", "valid_to")
# What a source's statement gives before the items.
PLACES = ("_parent", "_person", "_source", "_place")
_ABOVE = "_above"
_TYPES: dict[str, ItemType] = {"date": "date", "boolean": "boolean", "integer": "integer"}


@dataclass(frozen=True)
class Needed:
    """Facts that a statement reads: the records of an entity as they stood at a time, or its periods."""

    entity: str
    when: When
    periods_of: tuple[str, ...] = ()

    @property
    def table(self) -> str:
        """The table in which the statement finds them, as SQL."""
        return quoted("_".join(("_facts", self.entity, *self.when.split(), *self.periods_of)))

    @property
    def columns(self) -> tuple[str, ...]:
        """What they have beside `valid_from` and `valid_to`."""
        entity = load_standard().entities[self.entity]
        if self.periods_of:
            return tuple(dict.fromkeys((*entity.key, *self.periods_of)))
        return tuple(entity.by_name)


@dataclass(frozen=True)
class Made:
    """The statement of one source: `[*PLACES, *keys, *texts of the module's items]`."""

    module: str
    sql: str
    needs: tuple[Needed, ...]
    parameters: frozenset[str]
    # Items of the entity by which rows below find this one.
    keys: tuple[str, ...]


def compiled(collection: Collection) -> dict[str, tuple[Made, ...]]:
    """The statements of each module that can be made, parents first. Raises Problem CR-180 or CR-182."""
    made: dict[str, tuple[Made, ...]] = {}
    # Whoever stands alone is made first: the others may name it.
    for name in sorted(collection.live, key=lambda name: _order(collection, name)):
        sources = collection.live[name]
        made[name] = tuple(
            _Source(collection, name, live, place, made).made() for place, live in enumerate(sources)
        )
    return made


def made_table(module: str) -> str:
    """The table that says which row was made of which record, as SQL."""
    return quoted(f"_made_{module}")


def as_module(needed: Needed) -> Module:
    """The records of an entity as rows that a condition may name."""
    entity = load_standard().entities[needed.entity]
    items = [
        ColumnDef(name=name, type=_TYPES.get(entity.by_name[name].type, "string")) for name in needed.columns
    ]
    validity = [ColumnDef(name=name, type="date") for name in VALIDITY]
    return Module(name=needed.entity, items=(*items, *validity))


class _Source:
    """One source of a module."""

    def __init__(
        self, collection: Collection, name: str, live: Live, place: int, made: Mapping[str, tuple[Made, ...]]
    ) -> None:
        self._collection = collection
        self._language = language_of(collection)
        if name not in collection.modules:
            raise self._fault(name, "there is no such module")
        self._module = collection.modules[name]
        self._live = live
        self._number = place
        self._made = made
        self._parameters: set[str] = set()

    def made(self) -> Made:
        self._prove()
        columns = self._items
        if self._live.group_by:
            keys: tuple[str, ...] = tuple(name for name in self._live.group_by if name in self._entity.key)
        else:
            keys = tuple(name for name in self._entity.key)
        figures = [self._figure(place, figure) for place, figure in enumerate(self._live.figures)]
        where = [self._read(self._live.where)] if self._live.where else []
        order = [f"{self._own}.{quoted(name)}" for name in self._live.order or self._live.group_by or keys]
        parent = [f"{_ABOVE}._row", f"{_ABOVE}._person"] if self._module.parent else ["0", "NULL"]
        place = f"row_number() OVER (ORDER BY {', '.join([parent[0], *order] if self._module.parent else order) or '1'})"
        select = [*parent, str(self._number), place, *(f"{self._own}.{quoted(name)}" for name in keys)]
        named = (
            *PLACES,
            *(quoted(f"_key_{name}") for name in keys),
            *(quoted(item.name) for item in self._module.items),
        )
        values = [*select, *columns]
        text = " ".join([*columns, *where])
        sql = "SELECT " + ", ".join(f"{value} AS {name}" for value, name in zip(values, named, strict=True))
        sql += f" FROM {self._rows.table} AS {self._own} {' '.join((*self._joins(text), *figures))}"
        if where:
            sql += f" WHERE {' AND '.join(where)}"
        if self._live.group_by:
            grouped = [f"{self._own}.{quoted(name)}" for name in self._live.group_by]
            sql += f" GROUP BY {', '.join([*(parent if self._module.parent else []), *grouped])}"
        needs = (
            self._rows,
            *self._reached.values(),
            *(self._counted(figure) for figure in self._live.figures),
        )
        return Made(self._module.name, sql, needs, frozenset(self._parameters), keys)

    # What may be named.

    @cached_property
    def _entity(self) -> Entity:
        return self._named_entity(self._live.entity)

    @cached_property
    def _rows(self) -> Needed:
        when: When = "until the reference date" if self._live.periods_of else self._live.taken
        return Needed(self._entity.name, when, self._live.periods_of)

    @cached_property
    def _reached(self) -> dict[str, Needed]:
        return {
            name: Needed(self._named_entity(name).name, "on the reference date") for name in self._live.reach
        }

    @cached_property
    def _records(self) -> dict[str, Module]:
        """The records that a condition may name."""
        return {self._entity.name: as_module(self._rows)} | {
            name: as_module(needed) for name, needed in self._reached.items()
        }

    @cached_property
    def _modules(self) -> dict[str, Module]:
        """The rows made before: those above, and those that stand alone at the top."""
        alone = [one for one in self._collection.children(None) if not one.many and one.name in self._made]
        found = {one.name: one for one in (*_above(self._collection, self._module.name), *alone)}
        return {name: one for name, one in found.items() if name != self._module.name}

    @cached_property
    def _scope(self) -> Scope:
        figures = {
            name: f"_figure{place}.{quoted(name)}"
            for place, figure in enumerate(self._live.figures)
            for name in figure.values
        }
        return Scope(
            {**self._modules, **self._records},
            self._entity.name,
            figures,
            aggregates=bool(self._live.group_by),
        )

    @property
    def _own(self) -> str:
        return quoted(self._entity.name)

    # The parts of the statement.

    @cached_property
    def _items(self) -> list[str]:
        """The text of each item of the module, as SQL."""
        header = self._collection.header if self._module.name == "Header" else {}
        fixed = {**header, **self._live.set}
        found = []
        for item in self._module.items:
            text = self._live.items.get(item.name)
            if text is None and item.name in fixed:
                found.append("'" + fixed[item.name].replace("'", "''") + "'")
            elif text is None and not self._mapped(item):
                found.append("NULL")
            else:
                sql = self._read(text if text is not None else str(item.item), item.name)
                found.append(f"CAST({sql} AS VARCHAR)")
        return found

    def _mapped(self, item: ColumnDef) -> bool:
        entity, _, name = (item.item or "").partition(".")
        return self._live.mapped and entity in self._records and name in self._records[entity].by_name

    def _joins(self, text: str) -> Iterator[str]:
        for name, needed in self._reached.items():
            yield f"LEFT JOIN {needed.table} AS {quoted(name)} ON {self._same(quoted(name), self._live.reach[name])}"
        above = self._module.parent
        if above is not None:
            yield f"JOIN {made_table(above)} AS {_ABOVE} ON {self._under()}"
        key = f"{_ABOVE}._row"
        chain = [module.name for module in _above(self._collection, self._module.name)]
        for name in chain:
            yield f"JOIN {table_name(CURRENT, name)} AS {quoted(name)} ON {quoted(name)}._row = {key}"
            key = f"{quoted(name)}._parent"
        for name in self._modules:
            if name not in chain and f"{quoted(name)}." in text:
                yield f"LEFT JOIN {table_name(CURRENT, name)} AS {quoted(name)} ON {quoted(name)}._row = 1"

    def _under(self) -> str:
        pairs = [
            f"{_ABOVE}.{quoted(f'_key_{name}')} = {self._own}.{quoted(name)}" for name in self._live.under
        ]
        return " AND ".join(pairs) or "true"

    def _same(self, other: str, names: tuple[str, ...]) -> str:
        return (
            " AND ".join(f"{other}.{quoted(name)} = {self._own}.{quoted(name)}" for name in names) or "true"
        )

    def _counted(self, figure: Figure) -> Needed:
        return Needed(self._named_entity(figure.over).name, figure.taken)

    def _figure(self, place: int, figure: Figure) -> str:
        needed = self._counted(figure)
        alias, rows = quoted(figure.alias), as_module(needed)
        scope = Scope({figure.alias: rows}, figure.alias, aggregates=True)
        values = [
            f"{self._read(text, name, scope)} AS {quoted(name)}" for name, text in figure.values.items()
        ]
        conditions = [self._same(alias, figure.same)]
        if figure.where:
            beside = Scope({**self._records, figure.alias: rows}, figure.alias)
            conditions.append(f"({self._read(figure.where, 'figures', beside)})")
        return (
            f"LEFT JOIN LATERAL (SELECT {', '.join(values)} FROM {needed.table} AS {alias}"
            f" WHERE {' AND '.join(conditions)}) AS _figure{place} ON true"
        )

    def _read(self, text: str, key: str = "where", scope: Scope | None = None) -> str:
        where = f"{self._file}, module {self._module.name}, {key}"
        condition: Condition = read(text, scope or self._scope, self._language, where)
        self._parameters |= condition.parameters
        return condition.sql if key != "where" else f"({condition.sql})"

    # What is proved.

    def _prove(self) -> None:
        live, module = self._live, self._module
        for name in (*live.items, *live.set):
            if name not in module.by_name:
                raise self._fault(module.name, f"it has no item `{name}`")
        own = self._records[self._entity.name].by_name
        shared = (*live.under, *live.group_by, *live.order, *(n for f in live.figures for n in f.same))
        for name in (*shared, *(n for names in live.reach.values() for n in names)):
            if name not in own:
                raise self._fault(module.name, f"{self._entity.name} has no item `{name}`")
        for name, names in live.reach.items():
            self._prove_reach(self._named_entity(name), names)
        for figure in live.figures:
            if figure.alias in self._records:
                raise self._fault(module.name, f"two sets of records have the name {figure.alias}")
            for name in figure.same:
                if name not in self._named_entity(figure.over).by_name:
                    raise self._fault(module.name, f"{figure.over} has no item `{name}`")
        self._prove_parent()

    def _prove_reach(self, entity: Entity, names: tuple[str, ...]) -> None:
        """What is reached is one record at most, or rows would be made twice."""
        for name in names:
            if name not in entity.by_name:
                raise self._fault(self._module.name, f"{entity.name} has no item `{name}`")
        whose = {entity.holder} if entity.holder else set(entity.key)
        missing = set(entity.key) - whose - set(names)
        if missing:
            detail = f"`with: {entity.name}` may be several records; it is told apart by {', '.join(sorted(missing))}"
            raise self._fault(self._module.name, detail)

    def _prove_parent(self) -> None:
        parent = self._module.parent
        if parent is None:
            return
        if parent not in self._made:
            raise self._fault(self._module.name, f"its parent {parent} is not made from the record")
        if self._collection.modules[parent].many and not self._live.under:
            raise self._fault(self._module.name, f"`under` does not say to which {parent} a row belongs")
        for source in self._made[parent]:
            for name in self._live.under:
                if name not in source.keys:
                    raise self._fault(
                        self._module.name, f"`under`: rows of {parent} are known by {', '.join(source.keys)}"
                    )

    def _named_entity(self, name: str) -> Entity:
        entity = load_standard().entities.get(name)
        if entity is None:
            raise self._fault(self._module.name, f"the standard has no entity `{name}`")
        return entity

    @property
    def _file(self) -> str:
        folders = [Path(folder) / LIVE_FILE for folder in self._collection.folders]
        return str(next((path for path in folders if path.exists()), LIVE_FILE))

    def _fault(self, module: str, detail: str) -> Problem:
        return Problem(
            "CR-180",
            f"{detail}.",
            where=f"{self._file}, module {module}",
            remedy="docs/collections.md has the form.",
        )


def _order(collection: Collection, module: str) -> tuple[int, bool]:
    alone = module in collection.modules and not collection.modules[module].many
    return len(list(_above(collection, module))), not alone


def _above(collection: Collection, module: str) -> Iterator[Module]:
    return collection.ancestors(module) if module in collection.modules else iter(())
