"""Rows of a vendor's query to records of the standard. Pure: no database, no clock, no judgement of values.

Whether a value is right is the standard's business; here only its form changes. What cannot even be read (a date that is
not one, bytes that are not UTF-8) is a fault of the row.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from typing import Any

import msgspec

from commonroom.agent.findings import Finding, Severity
from commonroom.agent.mapping import Read
from commonroom.standard import Entity, Item

Scalar = str | int | float | bool | None
Record = dict[str, Scalar]
Convert = Callable[[Any], Scalar]

TIMES = ("valid_from", "valid_to")
_SECONDS = re.compile(r"[0-9]{2}:[0-9]{2}:00(\.0+)?")


class Fault(msgspec.Struct, frozen=True):
    """One value of a row that cannot be read."""

    item: str
    rule: str
    message: str
    remedy: str
    value: str


class Translated(msgspec.Struct, frozen=True):
    """A row as a record (without the values that have faults; empty texts and nulls are left out)."""

    record: Record
    faults: tuple[Fault, ...] = ()


class Plan(msgspec.Struct, frozen=True):
    """How the columns of one query become items: (place of the column, item, converter), in the entity's order."""

    steps: tuple[tuple[int, str, Convert], ...]
    valid_from_item: str | None
    findings: tuple[Finding, ...]  # of the query as a whole
    usable: bool  # False: no record can be made


class _NotReadable(ValueError):
    """The value has not the form it should have."""

    def __init__(self, rule: str, message: str, remedy: str) -> None:
        super().__init__(message)
        self.rule, self.message, self.remedy = rule, message, remedy


def plan(read: Read, entity: Entity, columns: Sequence[str], mapping: str) -> Plan:
    """Match a query's columns with the entity's items. An unknown column is a finding; its values are left out."""
    items = {item.name: item for item in entity.items}
    steps: dict[str, tuple[int, str, Convert]] = {}
    findings = []
    for place, column in enumerate(columns):
        if column in steps:
            findings.append(
                _finding(mapping, entity, column, "column-twice", "the column stands twice in the query")
            )
        elif column in items or column in TIMES:
            steps[column] = (place, column, _converter(read, column, items.get(column)))
        else:
            findings.append(_unknown_column(mapping, entity, column))
    missing = _missing(entity, steps)
    findings += [
        _finding(
            mapping,
            entity,
            item,
            "column-missing",
            "the query has no such column, and no record is one without it",
        )
        for item in missing
    ]
    order = [*(item.name for item in entity.items), *TIMES]
    ordered = tuple(steps[name] for name in order if name in steps)
    return Plan(ordered, entity.valid_from_item, tuple(findings), not missing)


def translate(plan: Plan, row: Sequence[Any]) -> Translated:
    """One row as a record."""
    record: Record = {}
    faults = []
    for place, item, convert in plan.steps:
        value = row[place]
        if value is None:
            continue
        try:
            converted = convert(value)
        except _NotReadable as error:
            faults.append(Fault(item, error.rule, error.message, error.remedy, _shown(value)))
            continue
        if converted is not None:
            record[item] = converted
    if plan.valid_from_item is not None and plan.valid_from_item in record:
        record["valid_from"] = record[plan.valid_from_item]
    if not faults and "valid_from" not in record:
        remedy = "Give every record the date from which it holds."
        faults.append(Fault("valid_from", "value-missing", "the record has no valid_from", remedy, ""))
    return Translated(record, tuple(faults))


def _missing(entity: Entity, steps: dict[str, tuple[int, str, Convert]]) -> list[str]:
    needed = list(entity.key)
    if entity.valid_from_item is None:
        needed.append("valid_from")
    return [item for item in needed if item not in steps]


def _unknown_column(mapping: str, entity: Entity, column: str) -> Finding:
    return _finding(
        mapping, entity, column, "column-unknown", "the standard has no such item; the column is left out"
    )


def _finding(mapping: str, entity: Entity, item: str, rule: str, message: str) -> Finding:
    known = ", ".join([*(known.name for known in entity.items), *TIMES])
    remedy = f"Correct the query. Its columns may be: {known}."
    severity: Severity = "error" if rule == "column-missing" else "query"
    return Finding(
        mapping=mapping,
        entity=entity.name,
        item=item,
        rule=rule,
        severity=severity,
        message=message,
        remedy=remedy,
    )


def _converter(read: Read, name: str, item: Item | None) -> Convert:
    """The converter of one column: the vendor's spelling first, then the item's type."""
    kind = "date" if item is None else item.type
    if kind == "date":
        return _date(read.dates.get(name))
    if kind == "boolean":
        words = read.booleans.get(name)
        # Words of the vendor's own take the place of 1 and 0: what they leave out is a finding, never a guess.
        return _boolean(words.true, words.false) if words else _boolean(("1",), ("0",))
    if kind == "time":
        return _time
    convert = _integer if kind == "integer" else _text
    codes = read.codes.get(name)
    return _coded(codes, convert) if codes else convert


def _coded(codes: dict[str, str], convert: Convert) -> Convert:
    def coded(value: Any) -> Scalar:
        text = _text(value)
        return convert(codes.get(str(text), text)) if text is not None else _empty_code(codes)

    return coded


def _empty_code(codes: dict[str, str]) -> Scalar:
    # A vendor may write "nothing special" as an empty text: `"": N` in the mapping.
    return codes.get("")


def _text(value: Any) -> Scalar:
    if isinstance(value, bytes | bytearray | memoryview):
        value = bytes(value).decode("utf-8", errors="surrogateescape")
    text = value if isinstance(value, str) else str(value)
    if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
        raise _NotReadable(
            "encoding",
            "the text holds bytes that are not UTF-8",
            "Store the text as UTF-8 in the school system; it looks like another code page, such as Windows-1252.",
        )
    return text.strip() or None


def _time(value: Any) -> Scalar:
    text = _text(value)
    # A time of day with seconds is how databases store one to the minute.
    return str(text)[:5] if text is not None and _SECONDS.fullmatch(str(text)) else text


def _integer(value: Any) -> Scalar:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    text = _text(value)
    try:
        return int(str(text)) if text is not None else None
    except ValueError:
        raise _NotReadable(
            "form", "the value is not a whole number", "Correct it in the school system."
        ) from None


def _boolean(true: tuple[str, ...], false: tuple[str, ...]) -> Convert:
    words = dict.fromkeys(true, True) | dict.fromkeys(false, False)

    def boolean(value: Any) -> Scalar:
        if isinstance(value, bool):
            value = int(value)
        text = _text(value)
        word = str(text) if text is not None else ""
        if word in words:
            return words[word]
        if text is None:
            return None
        remedy = "Correct it in the school system, or name it under `booleans` in the mapping."
        raise _NotReadable("form", "the value means neither yes nor no", remedy)

    return boolean


def _date(form: str | None) -> Convert:
    def written(value: Any) -> Scalar:
        if isinstance(value, datetime):
            return value.date().isoformat()
        if isinstance(value, date):
            return value.isoformat()
        text = _text(value)
        if text is None:
            return None
        try:
            return _parse_date(str(text), form)
        except ValueError:
            expected = f"the form {form}" if form else "the form YYYY-MM-DD"
            remedy = "Correct it in the school system, or name its form under `dates` in the mapping."
            raise _NotReadable("form", f"the value is not a date of {expected}", remedy) from None

    return written


def _parse_date(text: str, form: str | None) -> str:
    if form is not None:
        return datetime.strptime(text, form).replace(tzinfo=UTC).date().isoformat()
    # A date-time at midnight is how many systems store a date.
    return date.fromisoformat(text[:10] if len(text) > 10 and text[10] in " T" else text).isoformat()


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else str(value)
    return text.encode("utf-8", errors="replace").decode("utf-8")[:100]
