"""Asks of many rules at once whether any row fails: rules that look at a row and what stands above it share one scan.

Most rules find nothing in most returns. Those that find something run their own statement, which says what and where.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import duckdb

from commonroom.collections.compiled import Compiled
from commonroom.collections.joins import Source
from commonroom.collections.model import Collection
from commonroom.collections.predicates import quoted
from commonroom.collections.tables import CURRENT, Tables, table_name

# Conditions in one statement.
_TOGETHER = 32


@dataclass(frozen=True)
class _Group:
    """Rules for each row of one module; the rows with everything that any of the rules reads."""

    rows: str
    rules: tuple[Compiled, ...]


class Probes:
    """The groups of one collection's rules."""

    def __init__(self, collection: Collection, compiled: Iterable[Compiled]) -> None:
        by_module: dict[str, list[Compiled]] = {}
        for one in compiled:
            if one.condition and one.rule.for_each:
                by_module.setdefault(one.rule.for_each, []).append(one)
        self._groups = [
            _Group(
                _rows(collection, module, rules[first : first + _TOGETHER]),
                tuple(rules[first : first + _TOGETHER]),
            )
            for module, rules in by_module.items()
            for first in range(0, len(rules), _TOGETHER)
        ]

    def silent(self, tables: Tables, given: dict[str, Any], asked: set[str]) -> set[str]:
        """Those of the rules asked for that no row fails. A rule that is not among them may find something, or nothing."""
        found: set[str] = set()
        for group in self._groups:
            rules = [one for one in group.rules if one.rule.code in asked]
            if len(rules) < 2:
                continue
            counts = ", ".join(f"count(*) FILTER (WHERE {one.condition})" for one in rules)
            names = frozenset(name for one in rules for name in one.parameters)
            try:
                ((*failing,),) = tables.query(
                    f"SELECT {counts} FROM {group.rows}", {name: given[name] for name in names}
                )
            except duckdb.Error:
                # One of them breaks: each is run by itself, and the one that breaks says so.
                continue
            found |= {one.rule.code for one, count in zip(rules, failing, strict=True) if not count}
        return found


def _rows(collection: Collection, module: str, rules: list[Compiled]) -> str:
    base = f"{table_name(CURRENT, module)} AS {quoted(module)}"
    source = Source(collection, module, module, base)
    for name in dict.fromkeys(name for one in rules for name in one.rule.reach):
        source.reach(name, name)
    return source.sql
