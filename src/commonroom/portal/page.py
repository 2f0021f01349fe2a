"""A page as data, and its three forms: HTML for people, `.json` and `.csv` for programs."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, Literal

import msgspec

from commonroom.portal.charts import Chart
from commonroom.portal.tables import Cell, Column, Link, Table, as_csv, as_records, plain, shown
from commonroom.problems import Problem, add_codes

add_codes({"CR-102": "The page has no such table"})

Form = Literal["html", "json", "csv"]
SUFFIXES: dict[str, Form] = {".json": "json", ".csv": "csv"}
FACT_COLUMNS = (Column("name", "Name"), Column("title", "Title"), Column("value", "Value"))
# The home page has no last part to carry the suffix.
INDEX = "/index"
LONGEST_NUMBER = 10


class Stamp(msgspec.Struct, frozen=True):
    """As of when the figures of a page are: of the newest of them the batch, the hub's position and the moment."""

    batch: int
    position: int
    as_of: datetime | None
    newest_period: date | None = None  # the first day of the newest period that has figures
    is_released: bool = True  # or worked out as at that moment
    so_far: str = ""  # the newest period, in words, where it has not ended


class Fact(msgspec.Struct, frozen=True):
    """One line of a list of facts."""

    name: str
    title: str
    value: Cell


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a template or a program needs.

    `facts` and `tables` are in every form; `charts` and `more` (whatever else the template shows) only in HTML.
    """

    template: str
    title: str
    summary: str = ""
    facts: tuple[Fact, ...] = ()
    tables: tuple[Table, ...] = ()
    charts: tuple[Chart, ...] = ()
    trail: tuple[Link, ...] = ()
    section: str = ""
    stamp: Stamp | None = None
    more: dict[str, Any] = msgspec.field(default_factory=dict)
    status: int = 200
    # A page with a form of its own gives the browser a cookie to bind it to.
    has_form: bool = False
    # Signed-in pages stay out of every cache.
    private: bool = False

    def table(self, name: str) -> Table:
        """A table by name, the first one for ''; 404 when there is none."""
        for table in self.tables:
            if name in ("", table.name):
                return table
        known = ", ".join(table.name for table in self.tables) or "none"
        raise Problem("CR-102", f"This page has no table of that name. Its tables: {known}.", status=404)


def paths(path: str) -> list[str]:
    """The addresses of a page whose last part is fixed: itself, `.json` and `.csv`."""
    stem = INDEX if path == "/" else path
    return [path, *(f"{stem}{suffix}" for suffix in SUFFIXES)]


def form_of(path: str) -> Form:
    """Which form an address asks for."""
    return next((form for suffix, form in SUFFIXES.items() if path.endswith(suffix)), "html")


def stem(text: str) -> str:
    """An address, or its last part, without the suffix that names the form."""
    for suffix in SUFFIXES:
        text = text.removesuffix(suffix)
    return "/" if text == INDEX else text


def number_in(part: str) -> str:
    """The number that the last part of an address names, such as a URN; '' when it is anything else."""
    number = stem(part)
    return number if number.isascii() and number.isdigit() and len(number) <= LONGEST_NUMBER else ""


def as_json(page: Page) -> dict[str, Any]:
    """The page for programs: its facts, its tables' rows by column name, and what they were read from."""
    return {
        "title": page.title,
        "summary": page.summary,
        "facts": {fact.name: plain(fact.value) for fact in page.facts},
        "tables": {table.name: as_records(table) for table in page.tables},
        "symbols": {name: words for table in page.tables for name, words in table.symbols.items()},
        "stamp": page.stamp,
    }


def csv_of(page: Page, name: str) -> str:
    """One table of the page as CSV; a page without tables gives its facts."""
    if not page.tables and not name:
        rows = tuple((fact.name, fact.title, shown(fact.value)) for fact in page.facts)
        return as_csv(Table(name="facts", title="Facts", columns=FACT_COLUMNS, rows=rows))
    return as_csv(page.table(name))


def file_name(path: str, table: str) -> str:
    """'/schools/990001.csv' and 'absence' -> 'schools-990001-absence.csv'; nothing but letters, digits and hyphens."""
    parts = [*stem(path).strip("/").split("/"), table]
    clean = ["".join(letter for letter in part if letter.isascii() and letter.isalnum()) for part in parts]
    return f"{'-'.join(part for part in clean if part) or 'home'}.csv"
