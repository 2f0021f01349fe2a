"""A register file to facts: rows that can be used, and a list of every fault with line, reason and remedy.

A bad value of an optional item leaves that item blank and is listed; a row without a usable key, or of a width that
leaves open which field is which, is refused and listed; neither touches any other row.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from datetime import date
from functools import cache
from pathlib import Path
from typing import Literal

import msgspec

from commonroom.problems import Problem
from commonroom.registers.providers.files import MAX_BYTES, Opened, RawRow, open_file, rows
from commonroom.registers.providers.shapes import Kind, Shape, lists, plain, shape_of, shapes
from commonroom.registers.providers.values import READERS, BadValue, Value, shown, tidy

Effect = Literal["row refused", "value left blank", "note"]
Facts = dict[str, Value]
Progress = Callable[[int], None]  # called with the number of records read so far

MAX_ISSUES = 20_000  # kept one by one; beyond that they are counted
EVERY = 1_000  # records between two calls of the progress callback


class Issue(msgspec.Struct, frozen=True):
    """One fault of a file: where, what was done about it, why, and what to do."""

    line: int
    record: str  # URN or group UID, blank when unknown
    item: str  # the column as the file writes it, blank when it is the row
    effect: Effect
    reason: str
    remedy: str


class Row(msgspec.Struct, frozen=True):
    """One usable record."""

    line: int
    facts: Facts


class Parsed(msgspec.Struct, frozen=True):
    """A file as the register takes it. `items` are the facts that this file speaks of, blank or not."""

    name: str
    digest: bytes
    encoding: str
    kind: Kind
    file_date: date | None  # from the file's name
    items: tuple[str, ...]
    records: int  # records after the header that had anything in them
    rows: tuple[Row, ...]
    issues: tuple[Issue, ...]
    issue_count: int


def read_file(path: Path, *, limit: int = MAX_BYTES, progress: Progress | None = None) -> Parsed:
    """Read one extract. Raises Problem CR-080, CR-081 or CR-082 when the file as a whole cannot be used."""
    return parse(open_file(path, limit), progress)


def parse(opened: Opened, progress: Progress | None = None) -> Parsed:
    """Read an opened file."""
    records = rows(opened)
    header = next(records, None)
    if header is None or header.fault:
        raise _unknown(opened.name, "the first line cannot be read as a header")
    shape = _shape(opened.name, header)
    reading = _Reading(shape, header, opened)
    for number, record in enumerate(records, start=1):
        reading.take(record)
        if progress and number % EVERY == 0:
            progress(number)
    if progress:
        progress(reading.records)
    return reading.result()


def date_in_name(name: str) -> date | None:
    """The date in a file's name (`edubasealldata20250422.csv`), the last one when there are several."""
    found: date | None = None
    for digits in re.findall(r"(?<!\d)(20\d{6})(?!\d)", name):
        try:
            found = date(int(digits[:4]), int(digits[4:6]), int(digits[6:]))
        except ValueError:
            continue
    return found


def _shape(name: str, header: RawRow) -> Shape:
    """The kind of file, whose mandatory columns are all there, each once."""
    shape = shape_of(list(header.fields))
    if shape is None:
        titles = "; ".join(shape.title for shape in shapes())
        raise _unknown(
            f"{name}, line {header.line}", f"its header is none of: {titles}", _first_names(header)
        )
    present = Counter(plain(column) for column in header.fields if column.strip())
    missing = [column for column in shape.mandatory if plain(column) not in present]
    if missing:
        raise Problem(
            "CR-082",
            f"the {shape.title} lacks the column {', '.join(missing)}.",
            where=f"{name}, line {header.line}",
            remedy="Send the extract with all its columns.",
            extra={"missing": missing},
        )
    known = {plain(column.column) for column in shape.columns}
    twice = [column for column in header.fields if plain(column) in known and present[plain(column)] > 1]
    if twice:
        raise Problem(
            "CR-082",
            f"the column {twice[0]} stands there more than once.",
            where=f"{name}, line {header.line}",
            remedy="Remove the column that is not meant.",
        )
    return shape


class _Bound(msgspec.Struct, frozen=True):
    """A column of the shape at its place in this file."""

    index: int
    column: str
    fact: str
    read: Callable[[str], Value]


class _Reading:
    """What has been read of one file so far."""

    def __init__(self, shape: Shape, header: RawRow, opened: Opened) -> None:
        self.records = 0
        self._shape = shape
        self._opened = opened
        self._width = len(header.fields)
        self._rows: list[Row] = []
        self._issues: list[Issue] = []
        self._issue_count = 0
        self._keys: dict[tuple[Value, ...], int] = {}
        self._empty: list[int] = []
        self._strange_names: set[str] = set()
        self._bound = self._bind(header)
        self._required = {bound.fact: bound.column for bound in self._bound if bound.fact in shape.required}
        self._surplus = bool(shape.takes_surplus) and plain(header.fields[-1]) == plain(shape.takes_surplus)
        if opened.mixed_at is not None:
            self._note(
                opened.mixed_at,
                "",
                "the file is UTF-8 but for the byte on this line, so it was read as cp1252 and accents may be wrong",
                "Save the file as CSV UTF-8 and load it again.",
            )

    def take(self, record: RawRow) -> None:
        """Read one record into a row, or list why not."""
        if not record.fault and not any(cell and not cell.isspace() for cell in record.fields):
            self._empty.append(record.line)
            return
        self.records += 1
        fields = record.fields
        fault = record.fault or self._misfit(fields)
        if fault:
            self._refuse(
                record.line, "", "", fault, "Quote fields that have commas, quotes or line ends in them."
            )
            return
        if len(fields) > self._width:
            fields = (*fields[: self._width - 1], ",".join(fields[self._width - 1 :]))
        facts = self._facts(record.line, fields)
        if facts is not None:
            self._derive(record.line, facts)
            self._keep(record.line, facts)

    def result(self) -> Parsed:
        """All of it; empty records are told in one line."""
        if self._empty:
            self._note(
                self._empty[0], "", f"{len(self._empty):,} empty rows, from this line on", "None is needed."
            )
        items = {bound.fact for bound in self._bound} | _derived(self._shape, {b.fact for b in self._bound})
        return Parsed(
            name=self._opened.name,
            digest=self._opened.digest,
            encoding=self._opened.encoding,
            kind=self._shape.name,
            file_date=date_in_name(self._opened.name),
            items=tuple(sorted(items)),
            records=self.records,
            rows=tuple(self._rows),
            issues=tuple(sorted(self._issues, key=lambda issue: issue.line)),
            issue_count=self._issue_count,
        )

    def _bind(self, header: RawRow) -> tuple[_Bound, ...]:
        known = {plain(column.column): column for column in self._shape.columns}
        bound: list[_Bound] = []
        for index, name in enumerate(header.fields):
            column = known.get(plain(name))
            if column is None:
                label = tidy(name)
                reason = "this column is not known" if label else f"column {index + 1} has no name"
                self._note(header.line, label, f"{reason}, it was ignored", "None is needed.")
            elif column.kind != "not_kept":
                bound.append(_Bound(index, tidy(name), column.fact, READERS[column.kind]))
        return tuple(bound)

    def _misfit(self, fields: tuple[str, ...]) -> str:
        """Why a record's width does not fit the header; blank when it does."""
        found = len(fields)
        if found < self._width:
            return f"the row has {found} fields, the header {self._width}"
        if found > self._width and not self._surplus:
            return f"the row has {found} fields, the header {self._width}, and any of them may be the surplus one"
        return ""

    def _facts(self, line: int, fields: tuple[str, ...]) -> Facts | None:
        """The values of one record; None when one of the required ones is missing or bad."""
        facts: Facts = {}
        bad: list[tuple[str, str, BadValue]] = []
        for bound in self._bound:
            cell = fields[bound.index]
            if not cell or not (value := tidy(cell)):
                continue
            try:
                facts[bound.fact] = bound.read(value)
            except BadValue as error:
                bad.append((bound.fact, bound.column, error))
        if self._lacks_required(line, facts, bad):
            return None
        for _, column, fault in bad:
            self._list(line, self._record(facts), column, "value left blank", fault.reason, fault.remedy)
        return facts

    def _lacks_required(self, line: int, facts: Facts, bad: list[tuple[str, str, BadValue]]) -> bool:
        """Refuse the row when a required value is bad or missing; the first one is named."""
        reasons = {fact: fault for fact, _, fault in bad}
        for fact, column in self._required.items():
            if fact not in facts:
                fault = reasons.get(fact) or BadValue("the value is missing", "Fill it in.")
                self._refuse(line, self._record(facts), column, fault.reason, fault.remedy)
                return True
        return False

    def _derive(self, line: int, facts: Facts) -> None:
        """Facts that follow from others: LAESTAB, codes of region and type."""
        if self._shape.name != "establishments":
            return
        if "establishment_number" in facts:
            facts["laestab"] = f"{facts['la_code']}{facts['establishment_number']}"
        self._derive_region(line, facts)
        self._derive_type(line, facts)
        low, high = facts.get("low_age"), facts.get("high_age")
        if isinstance(low, int) and isinstance(high, int) and low > high:
            reason = f"the lowest age {low} is above the highest age {high}"
            self._note(
                line, "StatutoryLowAge", reason, "Correct one of them at the source.", self._record(facts)
            )

    def _derive_region(self, line: int, facts: Facts) -> None:
        name = facts.get("region_name")
        if name is None:
            return
        found = _region_codes().get(plain(str(name)))
        if found:
            facts["region_code"], facts["region_name"] = found
        elif plain(str(name)) not in _outside_regions():
            self._once(line, "GOR (name)", str(name), "is not a region of England that we know")

    def _derive_type(self, line: int, facts: Facts) -> None:
        if "type_code" in facts:
            facts["type_code"] = str(facts["type_code"]).zfill(2)
        elif (name := facts.get("type")) is not None:
            code = _type_codes().get(plain(str(name)))
            if code:
                facts["type_code"] = code
            else:
                self._once(
                    line, "TypeOfEstablishment (name)", str(name), "is not an establishment type that we know"
                )

    def _keep(self, line: int, facts: Facts) -> None:
        """Keep a row unless an earlier one has its key: the first stands, the later is listed."""
        key = tuple(facts[name] for name in self._shape.key)
        earlier = self._keys.setdefault(key, line)
        if earlier != line:
            reason = f"line {earlier} of this file has the same {' and '.join(self._shape.key)}"
            self._refuse(line, self._record(facts), "", reason, "Keep one of the two rows.")
            return
        self._rows.append(Row(line, facts))

    def _record(self, facts: Facts) -> str:
        return str(facts.get("urn") or facts.get("group_uid") or "")

    def _once(self, line: int, item: str, value: str, reason: str) -> None:
        """A name outside a list: said once a file, however many rows have it."""
        if value not in self._strange_names:
            self._strange_names.add(value)
            self._note(line, item, f"{shown(value)} {reason}; the name was kept", "Check the spelling.")

    def _refuse(self, line: int, record: str, item: str, reason: str, remedy: str) -> None:
        self._list(line, record, item, "row refused", reason, remedy)

    def _note(self, line: int, item: str, reason: str, remedy: str, record: str = "") -> None:
        self._list(line, record, item, "note", reason, remedy)

    def _list(self, line: int, record: str, item: str, effect: Effect, reason: str, remedy: str) -> None:
        self._issue_count += 1
        if len(self._issues) < MAX_ISSUES:
            self._issues.append(Issue(line, record, item, effect, reason, remedy))


def _derived(shape: Shape, facts: set[str]) -> set[str]:
    """The facts that `_derive` makes of these."""
    if shape.name != "establishments":
        return set()
    found = {"laestab"}
    if "region_name" in facts:
        found.add("region_code")
    if "type" in facts:
        found.add("type_code")
    return found


@cache
def _region_codes() -> dict[str, tuple[str, str]]:
    return {plain(name): (code, name) for code, name in lists().regions.items()}


@cache
def _outside_regions() -> set[str]:
    return {plain(name) for name in lists().outside_regions}


@cache
def _type_codes() -> dict[str, str]:
    return {plain(name): code for code, name in lists().types.items()}


def _first_names(header: RawRow) -> str:
    names = ", ".join(shown(tidy(name)) for name in header.fields[:4])
    return f"It begins with {names}. Send a comma-separated GIAS extract with its header line."


def _unknown(
    where: str, detail: str, remedy: str = "Send a comma-separated GIAS extract with its header line."
) -> Problem:
    return Problem("CR-081", f"{detail}.", where=where, remedy=remedy)
