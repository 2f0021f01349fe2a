"""Writes a return as XML, by the same map that reads it: header, order of elements, places of rows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from xml.sax.saxutils import escape

from commonroom.collections.model import Collection
from commonroom.collections.records import Record, read_back
from commonroom.collections.tables import CURRENT, Tables
from commonroom.collections.xml_map import GROUP, ITEM, Node, Plan, XmlMap, xml_map
from commonroom.problems import Problem

_STEP = "  "
# Records written between two looks into the tables.
_AT_ONCE = 2000
# Characters that XML cannot carry, not even escaped.
_ILLEGAL = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write_records(
    collection: Collection, content: Mapping[str, list[Record]], write: Callable[[bytes], Any]
) -> None:
    """Nested records, lists throughout, as a whole file."""
    _Writer(xml_map(collection), write).whole(lambda module: iter([content.get(module, [])]))


def write_tables(tables: Tables, write: Callable[[bytes], Any], schema: str = CURRENT) -> None:
    """The return in the tables as a whole file, some records at a time."""

    def batches(module: str) -> Iterator[list[Record]]:
        for first in range(1, tables.count(module, schema) + 1, _AT_ONCE):
            yield read_back(tables, schema, first, first + _AT_ONCE - 1)[module]

    _Writer(xml_map(tables.collection), write).whole(batches)


class _Writer:
    def __init__(self, mapped: XmlMap, write: Callable[[bytes], Any]) -> None:
        self._map = mapped
        self._write = write
        self._lines: list[str] = []
        self._namespace = mapped.collection.files.namespace

    def whole(self, batches: Callable[[str], Iterator[list[Record]]]) -> None:
        """The file, with the rows of each top module in batches."""
        self._lines.append('<?xml version="1.0" encoding="UTF-8"?>')
        open_steps: tuple[str, ...] = ()
        for module in self._map.collection.children(None):
            for plan in self._map.plans[module.name]:
                for rows in batches(module.name):
                    mine = [row for row in rows if self._plan_of(module.name, row) is plan]
                    if mine:
                        open_steps = self._frame(open_steps, plan.steps[:-1])
                    for row in mine:
                        self._row(plan, row, len(open_steps))
                    self._flush()
        if not open_steps:
            open_steps = self._frame((), (self._map.root,))
        self._frame(open_steps, ())
        self._flush()

    def _frame(self, old: tuple[str, ...], new: tuple[str, ...]) -> tuple[str, ...]:
        """Close and open the elements above the records."""
        same = 0
        while same < min(len(old), len(new)) and old[same] == new[same]:
            same += 1
        for depth in range(len(old) - 1, same - 1, -1):
            self._lines.append(f"{_STEP * depth}</{self._name(old[depth])}>")
        for depth in range(same, len(new)):
            space = f' xmlns="{escape(self._namespace)}"' if depth == 0 and self._namespace else ""
            self._lines.append(f"{_STEP * depth}<{self._name(new[depth])}{space}>")
        return new

    def _row(self, plan: Plan, row: Record, depth: int) -> None:
        name = self._name(plan.steps[-1])
        space = _STEP * depth
        own = plan.module.items[plan.own].name if plan.own >= 0 else None
        text = self._text(row.get(own) or "") if own else ""
        inner = self._node(plan.node, plan, row, depth + 1)
        if not inner:
            self._lines.append(f"{space}<{name}>{text}</{name}>" if text else f"{space}<{name}/>")
            return
        self._lines.append(f"{space}<{name}>{text}")
        self._lines += inner
        self._lines.append(f"{space}</{name}>")

    def _node(self, node: Node, plan: Plan, row: Record, depth: int) -> list[str]:
        """The lines below an element; none where nothing is there."""
        lines: list[str] = []
        for tag, (kind, what) in node.items():
            name, space = self._name(tag), _STEP * depth
            if kind == ITEM:
                value = row.get(plan.module.items[what].name)  # type: ignore[index]
                if value:
                    lines.append(f"{space}<{name}>{self._text(value)}</{name}>")
            elif kind == GROUP:
                inner = self._node(what, plan, row, depth + 1)  # type: ignore[arg-type]
                if inner:
                    lines += [f"{space}<{name}>", *inner, f"{space}</{name}>"]
            else:
                lines += self._below(what, row, depth)  # type: ignore[arg-type]
        return lines

    def _below(self, plan: Plan, row: Record, depth: int) -> list[str]:
        kept, self._lines = self._lines, []
        for lower in row.get(plan.module.name) or ():
            if self._plan_among(plan, lower):
                self._row(plan, lower, depth)
        made, self._lines = self._lines, kept
        return made

    def _plan_of(self, module: str, row: Record) -> Plan:
        """The place where a row stands: the one whose given items it has; else the first."""
        plans = self._map.plans[module]
        fitting = (plan for plan in plans if _fits(plan, row))
        return next(fitting, plans[0])

    def _plan_among(self, plan: Plan, row: Record) -> bool:
        """True where the row stands at this place of its module, and not at another one of the same parent."""
        siblings = [one for one in self._map.plans[plan.module.name] if one.steps[:-1] == plan.steps[:-1]]
        return len(siblings) < 2 or next((one for one in siblings if _fits(one, row)), siblings[0]) is plan

    def _text(self, value: str) -> str:
        if _ILLEGAL.search(value):
            raise Problem("CR-183", "a value holds a character that XML cannot carry", remedy="Take it out.")
        return escape(value)

    def _name(self, tag: str) -> str:
        return tag.rpartition("}")[2]

    def _flush(self) -> None:
        if self._lines:
            self._write(("\n".join(self._lines) + "\n").encode())
            self._lines = []


def _fits(plan: Plan, row: Record) -> bool:
    return all(row.get(plan.module.items[place].name) == value for place, value in plan.fixed.items())
