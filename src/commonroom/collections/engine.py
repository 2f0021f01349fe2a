"""Runs a collection's rules over the tables of a return. A rule that breaks is not checked; it never reads as passed."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterable
from typing import Any

import duckdb

from commonroom.collections.compiled import Compiled
from commonroom.collections.compiler import Compiler
from commonroom.collections.findings import Outcome, Raised, Rechecked, Report, raised, written
from commonroom.collections.model import Collection, Rule
from commonroom.collections.predicates import moved, quoted
from commonroom.collections.probes import Probes
from commonroom.collections.schema import RULES, Schema
from commonroom.collections.tables import CURRENT, Tables, table_name
from commonroom.problems import Problem, add_codes

add_codes({"CR-184": "The rule cannot be run"})

# Seconds after which a rule is stopped.
PATIENCE = 600.0
_NAMED = re.compile(r"\$(\w+)")

Unreadable = frozenset[tuple[str, str]]


class Engine:
    """The compiled rules of one collection; it holds no return, so one serves for many."""

    def __init__(self, collection: Collection) -> None:
        """Raises Problem CR-182 where a condition is not in the language."""
        self.collection = collection
        self._compiler = Compiler(collection)
        self.compiled = {code: self._compiler.compile(rule) for code, rule in collection.rules.items()}
        self._probes = Probes(collection, self.compiled.values())
        self._schema = Schema(collection, self._compiler.language)
        self._cautious: dict[tuple[str, Unreadable], Compiled] = {}

    def parameters(self, tables: Tables) -> dict[str, Any]:
        """What the rules read as `$name`: as declared, but for dates that the return itself says."""
        declared = dict(self._compiler.language.parameters)
        if self.collection.reference_date_from is None:
            return declared
        module, _, item = self.collection.reference_date_from.partition(".")
        rows = tables.query(f"SELECT {quoted(item)} FROM {table_name(CURRENT, module)} WHERE _row = 1")
        if not rows or rows[0][0] is None:
            return declared
        return declared | moved(self.collection, rows[0][0])

    def prove(self) -> None:
        """Plan every statement over empty tables. Raises Problem CR-184 for the first that DuckDB refuses."""
        tables = Tables(self.collection)
        try:
            self._prove_schema(tables)
            for compiled in self.compiled.values():
                self._prove(tables, compiled)
        finally:
            tables.close()

    def check(
        self, tables: Tables, found_at_load: Iterable[Raised] = (), codes: Iterable[str] | None = None
    ) -> Report:
        """Every rule over the whole return, or those of `codes`. `found_at_load` is what the reading of the file found."""
        schema, unreadable = self._schema.check(tables)
        tables.unreadable = unreadable
        found = [*found_at_load, *schema]
        failed = {one.rule for one in found}
        outcomes: dict[str, Outcome] = {rule: "failed" if rule in failed else "passed" for rule in RULES}
        reasons: dict[str, str] = {}
        given = self.parameters(tables)
        with _Watch(tables) as watch:
            asked = list(self.collection.rules if codes is None else codes)
            silent = self._silent(asked, tables, unreadable, given)
            for code in asked:
                watch.next_rule()
                if code in silent:
                    outcomes[code] = "passed"
                    continue
                mine, reason = self.run(code, tables, unreadable, given)
                found += mine
                outcomes[code] = "failed" if mine else "not_checked" if reason else "passed"
                if reason and not mine:
                    reasons[code] = reason
        return Report(
            collection=self.collection.name,
            year=self.collection.year,
            records=tables.count(self.collection.record),
            outcomes=outcomes,
            reasons=reasons,
            findings=written(found, tables),
        )

    def _silent(
        self, asked: list[str], tables: Tables, unreadable: Unreadable, given: dict[str, Any]
    ) -> set[str]:
        """Rules of which one look at many says that no row fails them; those that must leave rows alone are not asked."""
        rules = self.collection.rules
        plain = {code for code in asked if self._for(rules[code], unreadable) is self.compiled[code]}
        return self._probes.silent(tables, given, plain)

    def unreadable(self, tables: Tables) -> Unreadable:
        """(module, item) of which some value could not be read."""
        return self._schema.unreadable(tables, tables.filled)

    def below(self, module: str) -> list[str]:
        """A module and all below it."""
        return [name for name in self.collection.modules if self.collection.top(name) == module]

    def recheck(self, code: str, tables: Tables, module: str, row: int) -> Rechecked:
        """One rule, or built-in rule, after the record `row` of a top module was edited."""
        inside = frozenset(self.below(module))
        if code in RULES:
            schema, _ = self._schema.check(tables, inside, row)
            found = [one for one in schema if one.rule == code]
            return Rechecked("failed" if found else "passed", "", written(found, tables), whole=False)
        rule = self.collection.rules[code]
        local = bool(self.compiled[code].sql_for_record) and rule.for_each in inside
        # What could not be read before the edit may still stand elsewhere; only the record itself is looked at again.
        unread = (
            self._schema.unreadable(tables, inside & reads(self.collection, rule), row) | tables.unreadable
        )
        found, reason = self.run(code, tables, unread, person=row if local else None)
        outcome: Outcome = "failed" if found else "not_checked" if reason else "passed"
        return Rechecked(
            outcome, reason if outcome == "not_checked" else "", written(found, tables), whole=not local
        )

    def run(
        self,
        code: str,
        tables: Tables,
        unreadable: Unreadable = frozenset(),
        parameters: dict[str, Any] | None = None,
        person: int | None = None,
    ) -> tuple[list[Raised], str]:
        """One rule, over the whole return or one record: its findings, and why it was not checked where it was not."""
        rule = self.collection.rules[code]
        if rule.needs_last_return and rule.when_no_last_return == "skip" and not tables.has_last_return:
            return [], "there is no previous return to compare with"
        compiled = self._for(rule, unreadable)
        every = self.parameters(tables) if parameters is None else parameters
        given = {name: every[name] for name in compiled.parameters}
        try:
            if person is not None and compiled.sql_for_record:
                rows = tables.query(compiled.sql_for_record, {**given, "person": person})
            else:
                rows = tables.query(compiled.sql, given)
            unread = _count(tables, compiled.unread_sql, given) if not rows else 0
        except duckdb.Error as error:
            # The engine's own words may hold values; its kind of error does not.
            return [], f"the rule broke ({type(error).__name__})"
        reason = ""
        if unread:
            reason = f"{unread:,} value{'s' if unread > 1 else ''} it reads cannot be read (see the findings of `type`)"
        return list(raised(compiled, rows, {name: str(value) for name, value in every.items()})), reason

    def _for(self, rule: Rule, unreadable: Unreadable) -> Compiled:
        """The rule's statement; where a value it reads could not be read, one that leaves such rows alone."""
        mine = frozenset(
            (module, item)
            for module, item in unreadable & self.compiled[rule.code].reads
            if self.collection.modules[module].by_name[item].checked_by.get("type") != rule.code
        )
        if not mine:
            return self.compiled[rule.code]
        if (rule.code, mine) not in self._cautious:
            self._cautious[rule.code, mine] = self._compiler.compile(rule, mine)
        return self._cautious[rule.code, mine]

    def _prove_schema(self, tables: Tables) -> None:
        try:
            self._schema.check(tables)
        except duckdb.Error as error:
            detail = str(error).split("\n\n")[0].replace("\n", " ")
            where = self.collection.folders[0]
            raise Problem(
                "CR-184", detail, where=where, remedy="Look at `pattern`, `minimum`, `maximum`."
            ) from error

    def _prove(self, tables: Tables, compiled: Compiled) -> None:
        given = {name: self._compiler.language.parameters[name] for name in compiled.parameters}
        try:
            tables.query(compiled.sql, given)
            if compiled.sql_for_record:
                tables.query(compiled.sql_for_record, {**given, "person": 0})
        except duckdb.Error as error:
            detail = str(error).split("\n\n")[0].replace("\n", " ")
            raise Problem(
                "CR-184",
                detail,
                where=f"rule {compiled.rule.code}",
                remedy="Compare like with like; docs/collections.md has the language.",
            ) from error


def _count(tables: Tables, statement: str, given: dict[str, Any]) -> int:
    if not statement:
        return 0
    named = set(_NAMED.findall(statement))
    ((found,),) = tables.query(statement, {name: value for name, value in given.items() if name in named})
    return int(found)


def reads(collection: Collection, rule: Rule) -> set[str]:
    """The modules a rule may read: those it names, and those above them."""
    named = {
        *rule.reach,
        *(other.table for other in rule.others),
        *(m for other in rule.others for m in other.reach),
    }
    named |= {rule.for_each} if rule.for_each else set()
    named |= {"Header"} & set(collection.modules) if collection.reference_date_from else set()
    return named | {above.name for name in named for above in collection.ancestors(name)}


class _Watch:
    """Stops a statement that takes longer than a rule may."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._since = time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rules-watch")

    def __enter__(self) -> _Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def next_rule(self) -> None:
        """Count anew."""
        self._since = time.monotonic()

    def _run(self) -> None:
        while not self._over.wait(max(0.0, self._since + PATIENCE - time.monotonic())):
            if time.monotonic() >= self._since + PATIENCE:
                self._tables.interrupt()
                self._since = time.monotonic()
