"""Makes one statement of each rule: it gives every row for which the rule fails, with the values its finding names.

The joins come from the declarations, by our own keys; nobody writes one. A statement works on sets: there is one for a whole
return, whatever its size.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

from commonroom.collections.agreement import nearest_common
from commonroom.collections.compiled import TWINS, Cell, Compiled
from commonroom.collections.conditions import Conditions
from commonroom.collections.joins import Source
from commonroom.collections.model import RETURN, Collection, Measure, Module, Other, Rule
from commonroom.collections.predicates import Condition, Language, Scope, language_of, quoted
from commonroom.collections.tables import CURRENT, LAST_RETURN, raw_name, table_name

# Rows beside the judged one that a finding names, at most.
MOST_OTHERS = 20


class Compiler:
    """Compiles the rules of one collection."""

    def __init__(self, collection: Collection) -> None:
        self.collection = collection
        self.language: Language = language_of(collection)

    def compile(self, rule: Rule, unreadable: Iterable[tuple[str, str]] = ()) -> Compiled:
        """The rule's statement. Raises Problem CR-182.

        `unreadable` are (module, item) of which some value could not be read: rows with such a value are left to the
        finding that says so.
        """
        return _RuleCompiler(self, rule, frozenset(unreadable)).compiled()


class _RuleCompiler:
    def __init__(self, compiler: Compiler, rule: Rule, unreadable: frozenset[tuple[str, str]]) -> None:
        self._collection = compiler.collection
        self._rule = rule
        self._conditions = Conditions(compiler.language, rule, unreadable)
        self._only_condition = ""
        # `$person` while the statement for one record is written.
        self._person = ""

    def compiled(self) -> Compiled:
        sql = self._statement()
        unread = f"SELECT {' + '.join(self._conditions.unread)}" if self._conditions.unread else ""
        local = ""
        if self._is_local():
            self._person = "$person"
            local = self._statement()
        singles = {alias: self._outer[alias] for alias, _ in self._named if alias in self._outer}
        singles.pop(self._rule.for_each or "", None)
        return Compiled(
            self._rule,
            sql,
            local,
            singles,
            self._cells,
            self._rule.figures,
            self._lists,
            unread,
            frozenset(self._conditions.parameters),
            frozenset(self._conditions.reads),
            self._only_condition,
        )

    # What the finding names.

    @cached_property
    def _named(self) -> list[tuple[str, str]]:
        """Rows and item of the places, then of the message."""
        written = (*self._rule.point_at, *self._rule.placeholders)
        return list(dict.fromkeys(cell for cell in map(self._rule.cell, written) if cell is not None))

    @cached_property
    def _outer(self) -> dict[str, str]:
        """Names of rows of which there is one at most for each finding, with their modules."""
        found = {name: name for name in (self._rule.for_each, *self._rule.reach) if name}
        return found | {other.alias: other.table for other in self._rule.lookups}

    @cached_property
    def _cells(self) -> tuple[Cell, ...]:
        return tuple(
            Cell(alias, self._outer[alias], item) for alias, item in self._named if alias in self._outer
        )

    @cached_property
    def _lists(self) -> dict[str, tuple[Cell, ...]]:
        gathered = {other.alias: other for other in (*self._rule.pairs, *self._rule.presences)}
        found = {
            alias: tuple(Cell(alias, other.table, item) for name, item in self._named if name == alias)
            for alias, other in gathered.items()
        }
        if self._rule.unique is not None and self._rule.for_each is not None:
            each = self._rule.for_each
            found[TWINS] = tuple(Cell(TWINS, each, item) for item in self._rule.unique.items)
        return found | self._counted_lists

    @cached_property
    def _counted_lists(self) -> dict[str, tuple[Cell, ...]]:
        """Rows that are counted and that the rule points at: places of a row's finding, not of the whole return's."""
        if self._rule.for_each is None:
            return {}
        named = {alias for alias, _ in self._named} - set(self._outer)
        counted = {measure.other.alias: measure.other.table for measure in self._rule.counted}
        return {
            alias: tuple(Cell(alias, table, item) for name, item in self._named if name == alias)
            for alias, table in counted.items()
            if alias in named
        }

    def _is_local(self) -> bool:
        """True where the rule looks at nothing beyond the record of the judged row."""
        if self._rule.for_each is None:
            return False
        scopes = [self._same(other) for other in self._rule.beside]
        scopes += [measure.each for measure in self._rule.counted]
        scopes += [self._rule.unique.same] if self._rule.unique else []
        return RETURN not in scopes

    def _same(self, other: Other) -> str:
        if other.is_last or self._rule.for_each is None:
            return RETURN
        return other.same or nearest_common(self._collection, self._rule.for_each, other.table)

    # The statement.

    def _statement(self) -> str:
        rule = self._rule
        main = self._judged()
        readable = dict(main.modules)
        for number, other in enumerate(rule.lookups):
            self._lookup(main, other, number)
            readable[other.alias] = self._collection.modules[other.table]
        figures, counted = self._measures(main)
        wanted: list[str] = []
        lists: list[str] = []
        for other in rule.pairs:
            readable |= self._beside(main, other)
            if other.where:
                wanted.append(
                    self._conditions.condition(other.where, readable, other.alias, "pair_with", main)
                )
            lists.append(
                _gather(quoted(other.alias), "_row", [raw_name(c.item) for c in self._lists[other.alias]])
            )
        if rule.presences:
            main.joins.append(f"JOIN ({self._hits(rule.presences)}) AS _any ON _any._f = {main.row}")
            lists += self._hit_lists()
        if rule.unique is not None:
            lists.append(self._twins(main))
        for number, other in enumerate(rule.absences):
            none = f"SELECT 1 FROM ({self._hits((other,), gather=False)}) AS _none{number}"
            wanted.append(f"NOT EXISTS ({none} WHERE _none{number}._f = {main.row})")
        if rule.fails_when is not None:
            condition = self._conditions.condition(
                rule.fails_when, readable, rule.for_each, "fails_when", main, figures
            )
            wanted.insert(0, condition)
            if not (rule.others or rule.unique or self._person):
                self._only_condition = condition
        return self._select(main, wanted, lists, figures, counted)

    def _select(
        self,
        main: Source,
        wanted: list[str],
        lists: list[str],
        figures: dict[str, str],
        counted: list[tuple[str, str]],
    ) -> str:
        singles = dict.fromkeys(cell.alias for cell in self._cells if cell.alias != self._rule.for_each)
        single = [f"{quoted(alias)}._row" for alias in singles]
        single += [f"{quoted(cell.alias)}.{raw_name(cell.item)}" for cell in self._cells]
        single += list(figures.values())
        keys = [key for key, _ in counted]
        if lists:
            single = [f"any_value({column})" for column in single]
            keys = [f"any_value({key})" for key in keys]
        where = f" WHERE {' AND '.join(f'({condition})' for condition in wanted)}" if wanted else ""
        group = " GROUP BY 1" if lists else ""
        rows = f"FROM {main.sql}{where}{group}"
        columns = [main.row, *single, *lists]
        if not counted:
            return f"SELECT {', '.join(columns)} {rows} ORDER BY 1"
        # Few rows fail: the rows that they counted are listed for them only.
        named = [f"{column} AS _c{place}" for place, column in enumerate(columns)]
        named += [f"{key} AS _k{number}" for number, key in enumerate(keys)]
        shown = [f"_failed._c{place}" for place in range(len(columns))]
        shown += [f"_listed{number}._rows" for number in range(len(counted))]
        joins = " ".join(
            f"LEFT JOIN ({listed}) AS _listed{number} ON _listed{number}._k = _failed._k{number}"
            for number, (_, listed) in enumerate(counted)
        )
        failed = f"WITH _failed AS MATERIALIZED (SELECT {', '.join(named)} {rows})"
        return f"{failed} SELECT {', '.join(shown)} FROM _failed {joins} ORDER BY 1"

    def _judged(self) -> Source:
        """The rows that are judged, with what `with` joins to them; one row for the whole return."""
        each = self._rule.for_each
        if each is None:
            return Source(self._collection, "_return", RETURN, "(SELECT 1) AS _return")
        base = f"{self._rows(CURRENT, each)} AS {quoted(each)}"
        main = Source(self._collection, each, each, base, modules={each: self._collection.modules[each]})
        for name in self._rule.reach:
            main.reach(name, name)
        return main

    def _rows(self, schema: str, module: str, same: str = "") -> str:
        """A table, or its rows of one record while the statement for one record is written."""
        table = table_name(schema, module)
        if self._person and same != RETURN:
            return f"(SELECT * FROM {table} WHERE _person = {self._person})"
        return table

    def _beside(self, main: Source, other: Other) -> dict[str, Module]:
        """Join rows beside the judged ones, and what they reach; the names that conditions may use now."""
        same, alias = self._same(other), quoted(other.alias)
        schema = LAST_RETURN if other.is_last else CURRENT
        beside = Source(self._collection, other.alias, other.table, "", schema)
        beside.modules[other.alias] = self._collection.modules[other.table]
        rows = self._rows(schema, other.table, same)
        key = beside.direct_key(same)
        if key is None:
            # The common ancestor is further up: its key is found before the rows are joined.
            chain = Source(self._collection, "_o", other.table, f"{rows} AS _o", schema)
            found = chain.key(same)
            rows, key = f"(SELECT _o.*, {found} AS _same FROM {chain.sql})", f"{alias}._same"
        on = "TRUE" if same == RETURN else f"{key} = {main.key(same)}"
        if other.table == main.module and not other.is_last:
            on += f" AND {alias}._row <> {main.row}"
        for name, module in other.reached.items():
            beside.reach(module, name)
        main.joins += [f"JOIN {rows} AS {alias} ON {on}", *beside.joins]
        return beside.modules

    def _hits(self, others: tuple[Other, ...], gather: bool = True) -> str:
        """Statement: the judged row as `_f`; where they are gathered, each other row and its values."""
        parts = []
        for other in others:
            inner = self._judged()
            modules = {**inner.modules, **self._beside(inner, other)}
            columns = [f"{inner.row} AS _f", *(self._hit_columns(other) if gather else ())]
            where = self._where(other, modules, "any_of" if gather else "none_of", inner, certain=gather)
            parts.append(f"SELECT {', '.join(columns)} FROM {inner.sql}{where}")
        return " UNION ALL ".join(parts)

    def _where(
        self, other: Other, modules: dict[str, Module], key: str, source: Source, certain: bool = True
    ) -> str:
        if other.where is None:
            return ""
        self._conditions.check_bounded(other, self._same(other), other.where, modules, key)
        return f" WHERE {self._conditions.condition(other.where, modules, other.alias, key, source, certain=certain)}"

    def _hit_columns(self, other: Other) -> list[str]:
        """Every alias has its columns in every part, empty where the part is about another one."""
        columns = []
        for number, alias in enumerate(present.alias for present in self._rule.presences):
            values = ["_row", *(raw_name(cell.item) for cell in self._lists[alias])]
            columns += [
                f"{f'{quoted(alias)}.{value}' if alias == other.alias else 'NULL'} AS _o{number}_{place}"
                for place, value in enumerate(values)
            ]
        return columns

    def _hit_lists(self) -> list[str]:
        found = []
        for number, alias in enumerate(present.alias for present in self._rule.presences):
            values = [f"_o{number}_{place + 1}" for place in range(len(self._lists[alias]))]
            found.append(_gather("_any", f"_o{number}_0", values))
        return found

    def _lookup(self, main: Source, other: Other, number: int) -> None:
        """The first row in file order that fits, joined to the judged row."""
        inner = self._judged()
        modules = {**inner.modules, **self._beside(inner, other)}
        where = self._where(other, modules, "lookup", inner)
        own, found = quoted(other.alias), f"_lookup{number}"
        first = f"SELECT {inner.row} AS _f, min({own}._row) AS _o FROM {inner.sql}{where} GROUP BY 1"
        table = table_name(LAST_RETURN if other.is_last else CURRENT, other.table)
        main.joins.append(f"LEFT JOIN ({first}) AS {found} ON {found}._f = {main.row}")
        main.joins.append(f"LEFT JOIN {table} AS {own} ON {own}._row = {found}._o")

    def _twins(self, main: Source) -> str:
        """Join the rows that share what should be unique; SQL of the list of them."""
        unique, each = self._rule.unique, self._rule.for_each
        assert unique is not None
        assert each is not None
        own = quoted(each)
        within = Source(self._collection, each, each, f"{self._rows(CURRENT, each, unique.same)} AS {own}")
        wanted = [f"{own}.{quoted(item)} IS NOT NULL" for item in unique.items]
        if unique.where:
            modules = {each: self._collection.modules[each]}
            wanted.append(f"({self._conditions.condition(unique.where, modules, each, 'unique', within)})")
        by = [f"{own}.{quoted(item)}" for item in unique.items]
        by += [] if unique.same == RETURN else [within.key(unique.same)]
        members = _gather(own, "_row", [raw_name(item) for item in unique.items], most=MOST_OTHERS + 1)
        # What stands once, which is nearly all, is counted and left; lists are made of the rest only.
        group = f"FROM {within.sql} WHERE {' AND '.join(wanted)}"
        repeated = f"SELECT {', '.join(by)} {group} GROUP BY {', '.join(by)} HAVING count(*) > 1"
        groups = (
            f"SELECT list({own}._row) AS _rows, {members} AS _twins {group}"
            f" AND ({', '.join(by)}) IN ({repeated}) GROUP BY {', '.join(by)}"
        )
        twins = f"SELECT unnest(_rows) AS _f, _twins FROM ({groups})"
        main.joins.append(f"JOIN ({twins}) AS _same ON _same._f = {main.row}")
        return "any_value(_same._twins)"

    def _measures(self, main: Source) -> tuple[dict[str, str], list[tuple[str, str]]]:
        """Join the figures; name -> SQL of each.

        And of each measure whose rows the rule points at: SQL of the key, and the statement of the lists by key, which
        reads the keys of failing rows in `_failed`.
        """
        found: dict[str, str] = {}
        lists: list[tuple[str, str]] = []
        for number, measure in enumerate(self._rule.counted):
            alias, read_figures = f"_figures{number}", self._figures(measure)
            columns = ", ".join(f"{figure.sql} AS {quoted(name)}" for name, figure in read_figures.items())
            source = self._counted(measure)
            key = source.key(measure.each)
            condition = "TRUE"
            if measure.where:
                condition = self._conditions.condition(
                    measure.where, source.modules, source.alias, "measures", source
                )
            if source.alias in self._counted_lists:
                values = [raw_name(cell.item) for cell in self._counted_lists[source.alias]]
                among = f"({condition}) AND {key} IN (SELECT _k{len(lists)} FROM _failed)"
                members = f"{key} AS _k, {_gather(quoted(source.alias), '_row', values)} AS _rows"
                listed = f"SELECT {members} FROM {source.sql} WHERE {among} GROUP BY 1"
                lists.append((main.key(measure.each), listed))
            if measure.each == RETURN:
                main.joins.append(
                    f"CROSS JOIN (SELECT {columns} FROM {source.sql} WHERE {condition}) AS {alias}"
                )
                found |= {name: f"{alias}.{quoted(name)}" for name in measure.values}
                continue
            counted = f"SELECT {key} AS _k, {columns} FROM {source.sql} WHERE {condition} GROUP BY 1"
            main.joins.append(f"LEFT JOIN ({counted}) AS {alias} ON {alias}._k = {main.key(measure.each)}")
            found |= self._over_none(main, source, alias, read_figures)
        return found, lists

    def _over_none(
        self, main: Source, source: Source, alias: str, figures: dict[str, Condition]
    ) -> dict[str, str]:
        """SQL of each figure; over no rows a count is 0 and a sum is NULL, as an empty table answers."""
        unseen = {name: figure for name, figure in figures.items() if not figure.over_none}
        if unseen:
            columns = ", ".join(f"{figure.sql} AS {quoted(name)}" for name, figure in unseen.items())
            main.joins.append(f"CROSS JOIN (SELECT {columns} FROM {source.sql} WHERE FALSE) AS {alias}_none")
        return {
            name: f"CASE WHEN {alias}._k IS NULL THEN {figure.over_none or f'{alias}_none.{quoted(name)}'}"
            f" ELSE {alias}.{quoted(name)} END"
            for name, figure in figures.items()
        }

    def _counted(self, measure: Measure) -> Source:
        other = measure.other
        schema = LAST_RETURN if other.is_last else CURRENT
        base = f"{self._rows(schema, other.table, measure.each)} AS {quoted(other.alias)}"
        modules = {other.alias: self._collection.modules[other.table]}
        source = Source(self._collection, other.alias, other.table, base, schema, modules=modules)
        for name in measure.reach:
            source.reach(name, name)
        return source

    def _figures(self, measure: Measure) -> dict[str, Condition]:
        other = measure.other
        names = {other.alias: other.table, **{name: name for name in measure.reach}}
        modules = {alias: self._collection.modules[table] for alias, table in names.items()}
        scope = Scope(modules, other.alias, aggregates=True)
        where = f"rule {self._rule.code}, measures"
        return {name: self._conditions.read(text, scope, where) for name, text in measure.values.items()}


def _gather(table: str, row: str, values: list[str], most: int = MOST_OTHERS) -> str:
    """SQL of the list of rows of a group: their keys and values, in file order, the first of them."""
    fields = [f"r := {table}.{row}", *(f"c{place} := {table}.{value}" for place, value in enumerate(values))]
    listed = f"list(struct_pack({', '.join(fields)}) ORDER BY {table}.{row}) FILTER (WHERE {table}.{row} IS NOT NULL)"
    return f"list_slice({listed}, 1, {most})"
