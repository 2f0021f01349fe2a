"""A table as data: the same rows become HTML, CSV and JSON.

Cells are values (text, numbers, dates), a `Link`, or `Withheld` for a figure that disclosure control suppressed.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from datetime import date, datetime
from decimal import Decimal
from typing import Literal

import msgspec

from commonroom.portal import words

# `whole` is short text that is never broken over two lines, such as a postcode; a `hash` is, wherever it must.
Kind = Literal["text", "whole", "number", "percent", "date", "time", "code", "hash"]

# A spreadsheet runs what begins with one of these; an apostrophe in front makes it text (OWASP, CSV injection).
WORDS_TO_STACK = 3
# More columns than these do not stand beside each other on 320 px.
COLUMNS_TO_STACK = 3
RUNS_AS_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class Link(msgspec.Struct, frozen=True):
    """Text that leads to another page of ours. Programs read `plain` where there is one, else the text."""

    text: str
    href: str
    plain: str = ""


# What stands in the place of a figure, in a few words and in a sentence.
SYMBOLS = {
    "c": (
        "withheld to protect individuals",
        "withheld to protect individuals: the figure is about so few pupils that they could be recognised, or another such "
        "figure could be worked out from it. It does not mean zero.",
    ),
    "z": ("does not apply", "does not apply, because there is nothing to take a share of."),
    "x": ("not available", "not available: nothing is known of it."),
    "low": ("rounds to zero", "not zero, but it rounds to zero."),
    "u": ("too few to be relied on", "of so few that it cannot be relied on."),
}


class SoFar(msgspec.Struct, frozen=True):
    """A period that has not ended when its figures are as of: programs read the period alone."""

    period: str | date


class Withheld(msgspec.Struct, frozen=True):
    """A figure that is not shown, and the symbol in its place: one of SYMBOLS."""

    symbol: str = "c"


Cell = str | int | bool | Decimal | date | datetime | Link | SoFar | Withheld | None


class Column(msgspec.Struct, frozen=True):
    """One column: `name` for machines, `title` for people, `kind` for how its cells are written."""

    name: str
    title: str
    kind: Kind = "text"


class Table(msgspec.Struct, frozen=True):
    """Rows under a caption. `name` chooses it in `page.csv?table=name`."""

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    # Said instead of the table when it has no rows.
    empty: str = "There is nothing to show."
    always_stacks: bool = False

    @property
    def stacks(self) -> bool:
        """Whether a narrow screen shows each row as a list of its cells: it does where columns would have to hide."""
        words = sum(column.kind not in ("number", "percent") for column in self.columns)
        return self.always_stacks or words >= WORDS_TO_STACK or len(self.columns) > COLUMNS_TO_STACK

    @property
    def symbols(self) -> dict[str, str]:
        """The symbols among its cells, each with the sentence that explains it."""
        found = {cell.symbol for row in self.rows for cell in row if isinstance(cell, Withheld)}
        return {symbol: words for symbol, (_, words) in SYMBOLS.items() if symbol in found}


def shown(cell: Cell, kind: Kind = "text") -> str:
    """A cell as people read it."""
    match cell:
        case None:
            return ""
        case Link():
            return cell.text
        case SoFar():
            return f"{shown(cell.period)}, so far"
        case Withheld():
            return cell.symbol
        case bool():
            return "Yes" if cell else "No"
        case datetime():
            return words.short_moment(cell) if kind == "time" else words.moment(cell)
        case date():
            return words.day(cell)
        case Decimal() | int():
            return words.percent(cell) if kind == "percent" else words.number(cell)
        case str():
            return cell


def plain(cell: Cell) -> str | int | float | bool | None:
    """A cell as machines read it: ISO dates, numbers as numbers, the symbol of a withheld figure."""
    match cell:
        case Link():
            return cell.plain or cell.text
        case SoFar():
            return plain(cell.period)
        case Withheld():
            return cell.symbol
        case datetime() | date():
            return cell.isoformat()
        case Decimal():
            return float(cell)
        case _:
            return cell


def as_csv(table: Table) -> str:
    """RFC 4180 text with a header row of column names. Text that a spreadsheet would run is made harmless."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow([column.name for column in table.columns])
    writer.writerows([guarded(plain(cell)) for cell in row] for row in table.rows)
    return out.getvalue()


def guarded(value: str | int | float | bool | None) -> str | int | float | bool | None:
    """Text beginning with `= + - @` gets an apostrophe in front; numbers, also negative ones, stay as they are."""
    if isinstance(value, str) and value.startswith(RUNS_AS_FORMULA):
        return f"'{value}"
    return value


def as_records(table: Table) -> list[dict[str, str | int | float | bool | None]]:
    """The rows for JSON, by column name."""
    names = [column.name for column in table.columns]
    return [dict(zip(names, map(plain, row), strict=True)) for row in table.rows]


def withheld_last(rows: Iterable[tuple[Cell, ...]], by: int) -> tuple[tuple[Cell, ...], ...]:
    """Rows in order of their column `by`, those withheld or absent there last: never as if they were 0."""
    return tuple(sorted(rows, key=lambda row: _order(row[by])))


def _order(cell: Cell) -> tuple[bool, float, str]:
    absent = cell is None or isinstance(cell, Withheld)
    size = float(cell) if isinstance(cell, Decimal | int) and not absent else 0.0
    return absent, size, "" if absent else shown(cell).casefold()
