"""Loads the flat tables of the CIN rule cases into the tables of a return, and reads findings back as table, item, row.

The cases hold each module as a table with the keys of another program (LAchildID, CINdetailsID ...). Ours hang together by
keys of their own, so the rows above, which many cases leave out, are made here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from commonroom.collections.findings import Raised
from commonroom.collections.model import Collection
from commonroom.collections.records import Rows
from commonroom.collections.tables import Tables

# Table, item and row label of the case; the item is None where the case only names the row by one of its keys.
Cell = tuple[str, str | None, int]

_KEYS = ("LAchildID", "CINdetailsID", "AssessmentID", "CPPID")
# Above each module, the one its rows hang under, and the column by which the cases find it.
_PARENTS = {
    "ChildIdentifiers": ("Child", "LAchildID"),
    "ChildCharacteristics": ("Child", "LAchildID"),
    "CINdetails": ("Child", "LAchildID"),
    "Disabilities": ("ChildCharacteristics", "LAchildID"),
    "Assessments": ("CINdetails", "CINdetailsID"),
    "CINplanDates": ("CINdetails", "CINdetailsID"),
    "Section47": ("CINdetails", "CINdetailsID"),
    "ChildProtectionPlans": ("CINdetails", "CINdetailsID"),
    "Reviews": ("ChildProtectionPlans", "CPPID"),
}
# From the top down, so that a row finds the rows above it.
_ORDER = ("Header", "ChildIdentifiers", "CINdetails", "Disabilities", "Assessments", "CINplanDates",
          "Section47", "ChildProtectionPlans", "Reviews")  # fmt: skip
# The cases hold the factors as a column of the assessments, one row for each factor.
_FACTORS = "AssessmentFactorsList"


class CaseTables:
    """The tables of one case, loaded."""

    def __init__(self, collection: Collection, tables: Tables, given: dict[str, Any]) -> None:
        self._collection = collection
        self._given = given
        self._rows = Rows(tables)
        # (module, key) -> our row, record and how many rows hang under it.
        self._known: dict[tuple[str, Any], tuple[int, int]] = {}
        # (module, our row) -> row label of the case.
        self._labels: dict[tuple[str, int], int] = {}
        self._children: dict[tuple[str, int | None], int] = {}
        for module in _ORDER:
            if module in given:
                self._table(module, given[module])
        self._rows.flush()

    def cells(self, found: Iterable[Raised]) -> set[Cell]:
        """The places of findings in the case's own terms; rows that were only made here are left out."""
        cells = set()
        for finding in found:
            for place in finding.places:
                label = self._labels.get((place.module, place.row)) if place.row is not None else None
                if label is not None:
                    cells.add(
                        self._cell(
                            "Assessments" if place.module == _FACTORS else place.module, place.item, label
                        )
                    )
        return cells

    def expected(self, locations: list[list[Any]]) -> set[Cell]:
        """The expected places; a key of the other program stands for its row."""
        return {
            (table, None if item in _KEYS and table != "ChildIdentifiers" else item, row)
            for table, item, row in locations
        }

    def _cell(self, table: str, item: str | None, label: int) -> Cell:
        named = item in self._given[table]["columns"]
        return table, item if named else None, label

    def _table(self, module: str, table: dict[str, Any]) -> None:
        columns = table["columns"]
        for label, row in zip(table["index"], table["rows"], strict=True):
            values = {name: _text(value) for name, value in zip(columns, row, strict=True)}
            key = self._add(module, values, label)
            if module == "Assessments" and values.get("AssessmentFactors") is not None:
                factor = self._rows.add(_FACTORS, [values["AssessmentFactors"]], key[0], key[1], 1)
                self._labels[_FACTORS, factor] = label

    def _add(self, module: str, values: dict[str, str | None], label: int | None) -> tuple[int, int]:
        parent, person = None, None
        if module in _PARENTS:
            parent, person = self._above(module, values, label)
        ordinal = self._children[module, parent] = self._children.get((module, parent), 0) + 1
        texts = [values.get(item.name) for item in self._collection.modules[module].items]
        row = self._rows.add(module, texts, parent, person, ordinal)
        if label is not None:
            self._labels[module, row] = label
        known = (row, person or row)
        self._known.setdefault((module, self._key(module, values, row)), known)
        return known

    def _above(self, module: str, values: dict[str, str | None], label: int | None) -> tuple[int, int]:
        """The row this one hangs under: the one with the same key, else a new one."""
        parent, column = _PARENTS[module]
        key = (values.get("LAchildID"), values.get(column) if column != "LAchildID" else None)
        # Without the key nothing says that two rows hang together; a second record of a child is another child.
        lost = (
            "LAchildID" not in values
            or values["LAchildID"] is None
            or (column in values and values[column] is None)
        )
        if lost or (module == "ChildIdentifiers" and ("Child", key) in self._known):
            key = (module, label)
        if (parent, key) not in self._known:
            made = self._add(parent, {name: values.get(name) for name in _KEYS}, None)
            self._known[parent, key] = made
        return self._known[parent, key]

    def _key(self, module: str, values: dict[str, str | None], row: int) -> Any:
        own = {"CINdetails": "CINdetailsID", "ChildProtectionPlans": "CPPID"}.get(module)
        if own is not None and values.get(own) is None and own in values:
            return "made", row
        return values.get("LAchildID"), values.get(own) if own else None


def _text(value: Any) -> str | None:
    return None if value is None else str(value).removesuffix(" 00:00:00")
