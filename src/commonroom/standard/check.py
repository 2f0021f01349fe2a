"""Judges records against the standard, one by one: a bad record never stops a good one.

Each entity is compiled once into a list of judges, one per item, so that ten thousand records take a fraction of a
second. Rules that look across records or items belong to a collection; the only ones here are those of the times.

Rules named in findings: `standard-record`, `standard-item-unknown`, `standard-required`, `standard-type`,
`standard-length`, `standard-code`, `standard-code-date`, `standard-identifier`, `standard-item-date`,
`standard-version`, `standard-valid-from`, `standard-valid-to`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from datetime import date
from functools import cache, lru_cache
from typing import Any, Literal

import msgspec

from commonroom.standard import identifiers
from commonroom.standard.loader import RECORD_FIELDS, load, named
from commonroom.standard.model import Code, Codeset, Entity, Item

Record = dict[str, Any]

# What a whole number may be, because tables hold it in 64 bits.
_LARGEST = 2**63 - 1
# Good values that one judge remembers; a bound, so that a long-lived process does not grow.
_REMEMBERED = 200_000
# A list of codes up to this length is written out in the remedy.
_CODES_SHOWN = 40
# The longest value that a finding repeats, and the longest unknown code of an open list.
_VALUE_SHOWN = 200
_OPEN_CODE_LENGTH = 60
# Neither PostgreSQL nor XML can hold these.
_UNUSABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")


class Finding(msgspec.Struct, frozen=True):
    """One fault of one record. `index` counts from 0; only `key` and `value` may hold personal data."""

    severity: Literal["error", "query"]
    rule: str
    entity: str
    index: int
    key: dict[str, Any]
    item: str
    value: Any
    message: str
    remedy: str


class Checked(msgspec.Struct, frozen=True):
    """The outcome: records without an error (queries allowed), the same objects in the same order, and findings."""

    good: list[Record]
    findings: list[Finding]


class _Fault(msgspec.Struct, frozen=True):
    """A finding before it knows its record."""

    rule: str
    item: str
    value: Any
    message: str
    remedy: str
    severity: Literal["error", "query"] = "error"


# A judge gets a value that is not None and the day (ISO, or empty when unknown) that the record speaks of.
_Judge = Callable[[Any, str], _Fault | None]


def check_records(entity: str, records: list[Record], on: date | None = None) -> Checked:
    """Judge records of one entity.

    Codes and items are judged by the day a record is valid from; `on` stands in where the record does not say.
    Raises Problem CR-091 for an entity the standard has not.
    """
    return _check(_checker(entity, False), records, on)


def check_withdrawn(entity: str, entries: list[Record]) -> Checked:
    """Judge entries that withdraw records: the items of the key, `valid_from` and `version`, and nothing else.

    Raises Problem CR-091 for an entity the standard has not.
    """
    return _check(_checker(entity, True), entries, None)


def _check(checker: _Checker, records: list[Record], on: date | None) -> Checked:
    good: list[Record] = []
    findings: list[Finding] = []
    default_day = on.isoformat() if on else ""
    for index, record in enumerate(records):
        faults = list(checker.faults(record, default_day))
        if not any(fault.severity == "error" for fault in faults):
            good.append(record)
        findings.extend(checker.finding(fault, index, record) for fault in faults)
    return Checked(good, findings)


@cache
def _checker(entity: str, key_only: bool) -> _Checker:
    standard = load()
    return _Checker(named(standard.entities, entity, "entity"), standard.codesets, key_only)


class _Checker:
    """The compiled form of one entity, or of its key only."""

    def __init__(self, entity: Entity, codesets: dict[str, Codeset], key_only: bool) -> None:
        self.entity = entity
        self.day_item = entity.valid_from_item or "valid_from"
        items = [item for item in entity.items if item.name in entity.key or not key_only]
        fields = set(RECORD_FIELDS) - ({"valid_to"} if key_only else set())
        self.known = fields.union(item.name for item in items)
        self.judges = [(item.name, item.required, _judge(item, codesets)) for item in items]

    def faults(self, record: Record, default_day: str) -> Iterator[_Fault]:
        """Every fault of one record, unknown items first, then item by item, then its times and version."""
        if not isinstance(record, dict):
            yield _Fault(
                "standard-record", "", None, "This is not a record.", "Send an object of named items."
            )
            return
        if not self.known.issuperset(record):
            yield from self._unknown_items(record)
        said = record.get(self.day_item)
        day = str(said) if _is_date(said) else default_day
        for name, required, judge in self.judges:
            value = record.get(name)
            if value is not None:
                fault = judge(value, day)
                if fault is not None:
                    yield fault
            elif required:
                message = f"`{name}` is missing."
                yield _Fault("standard-required", name, None, message, "Every record must have it.")
        yield from self._times(record)
        yield from self._version(record)

    def finding(self, fault: _Fault, index: int, record: Record) -> Finding:
        """The fault with what tells its record from others."""
        key = {name: _shown(record.get(name)) for name in self.entity.key} if isinstance(record, dict) else {}
        return Finding(
            severity=fault.severity,
            rule=fault.rule,
            entity=self.entity.name,
            index=index,
            key=key,
            item=fault.item,
            value=_shown(fault.value),
            message=fault.message,
            remedy=fault.remedy,
        )

    def _unknown_items(self, record: Record) -> Iterator[_Fault]:
        for name in record:
            if name not in self.known:
                # What somebody made up as a name could be anything, so it is shown as a value only.
                message = f"The entity {self.entity.name} has no such item."
                remedy = (
                    f"Leave it out, or see `commonroom standard show {self.entity.name}` for the right name."
                )
                yield _Fault("standard-item-unknown", "", name, message, remedy)

    def _times(self, record: Record) -> Iterator[_Fault]:
        valid_from, valid_to = record.get("valid_from"), record.get("valid_to")
        if valid_from is None:
            if self.entity.valid_from_item is None:
                message = "`valid_from` is missing."
                yield _Fault(
                    "standard-valid-from", "valid_from", None, message, "Say from which day the record holds."
                )
        elif not _is_date(valid_from):
            yield _not_a_date("standard-valid-from", "valid_from", valid_from)
        elif self.entity.valid_from_item and valid_from != record.get(self.entity.valid_from_item):
            message = f"`valid_from` is not the same day as `{self.entity.valid_from_item}`."
            yield _Fault("standard-valid-from", "valid_from", valid_from, message, "Leave out `valid_from`.")
        if valid_to is None:
            return
        if not _is_date(valid_to):
            yield _not_a_date("standard-valid-to", "valid_to", valid_to)
        elif _is_date(valid_from) and valid_to < valid_from:
            message = "`valid_to` is before `valid_from`."
            yield _Fault("standard-valid-to", "valid_to", valid_to, message, "Check both dates.")

    def _version(self, record: Record) -> Iterator[_Fault]:
        version = record.get("version")
        if version is not None and not (type(version) is int and 0 < version <= _LARGEST):
            message = "`version` is not a whole number above 0."
            yield _Fault(
                "standard-version", "version", version, message, "Number the versions of a record 1, 2, 3."
            )


def _judge(item: Item, codesets: dict[str, Codeset]) -> _Judge:
    """The judge of one item: its type, and its dates where it has them."""
    if item.type == "code":
        judge = _judge_code(item, codesets[item.codeset or ""])
    elif item.type == "identifier":
        judge = _judge_identifier(item, item.identifier or "")
    elif item.type == "string":
        judge = _judge_string(item, item.max_length or 0)
    else:
        judge = _JUDGES_OF_PLAIN_TYPES[item.type](item)
    return _within_dates(item, judge) if item.since or item.until else judge


def _within_dates(item: Item, judge: _Judge) -> _Judge:
    """A judge that first asks whether the record's day may carry the item at all."""
    since, until = _period(item)

    def within(value: Any, day: str) -> _Fault | None:
        if day and not since <= day <= until:
            message = f"`{item.name}` is not collected for that day."
            remedy = f"Leave it out of records {_outside(item)}."
            return _Fault("standard-item-date", item.name, value, message, remedy)
        return judge(value, day)

    return within


def _judge_code(item: Item, codeset: Codeset) -> _Judge:
    periods = {code.code: _period(code) for code in codeset.codes}

    def judge(value: Any, day: str) -> _Fault | None:
        period = periods.get(value) if type(value) is str else None
        if period is None:
            return _unknown_code(item, codeset, value)
        if day and not period[0] <= day <= period[1]:
            message = f"`{item.name}` has a code that was not in use on that day."
            remedy = (
                f"That code must not be used {_outside(codeset.by_code[value])}. {_codes_of(codeset, day)}"
            )
            return _Fault("standard-code-date", item.name, value, message, remedy, _severity(codeset))
        return None

    return judge


def _unknown_code(item: Item, codeset: Codeset, value: Any) -> _Fault | None:
    if type(value) is not str:
        return _wrong_type(item, value, "text")
    usable = len(value) <= _OPEN_CODE_LENGTH and not _UNUSABLE.search(value)
    severity = _severity(codeset) if usable else "error"
    message = f"`{item.name}` is not a code of the list {codeset.name}."
    return _Fault("standard-code", item.name, value, message, _codes_of(codeset, ""), severity)


def _severity(codeset: Codeset) -> Literal["error", "query"]:
    return "query" if codeset.open else "error"


def _judge_identifier(item: Item, kind: str) -> _Judge:
    good: set[str] = set()

    def judge(value: Any, day: str) -> _Fault | None:
        if type(value) is not str:
            return _wrong_type(item, value, "text")
        if value in good:
            return None
        verdict = identifiers.check(kind, value[:_VALUE_SHOWN])
        if not verdict.is_valid:
            message = f"`{item.name}` is not a valid {kind} ({verdict.verdict}): {verdict.reason}."
            remedy = "Correct it at the source."
            return _Fault("standard-identifier", item.name, value, message, remedy)
        if identifiers.canonical(kind, value) != value:
            message = f"`{item.name}` is not written as a {kind} is stored."
            return _Fault("standard-identifier", item.name, value, message, "Write its digits only.")
        if len(good) < _REMEMBERED:
            good.add(value)
        return None

    return judge


def _judge_string(item: Item, longest: int) -> _Judge:
    def judge(value: Any, day: str) -> _Fault | None:
        if type(value) is not str:
            return _wrong_type(item, value, "text")
        if not value or value.isspace():
            message = f"`{item.name}` is blank."
            return _Fault("standard-type", item.name, value, message, "Leave it out, or send null.")
        if len(value) > longest:
            message = f"`{item.name}` has {len(value):,} characters; {longest} are allowed."
            return _Fault("standard-length", item.name, value, message, "Shorten it.")
        if _UNUSABLE.search(value):
            message = f"`{item.name}` has a control character."
            return _Fault("standard-type", item.name, value, message, "Remove tabs, line ends and the like.")
        return None

    return judge


def _judge_integer(item: Item) -> _Judge:
    def judge(value: Any, day: str) -> _Fault | None:
        fits = type(value) is int and -_LARGEST <= value <= _LARGEST
        return None if fits else _wrong_type(item, value, "a whole number")

    return judge


def _judge_boolean(item: Item) -> _Judge:
    def judge(value: Any, day: str) -> _Fault | None:
        return None if type(value) is bool else _wrong_type(item, value, "true or false")

    return judge


def _judge_date(item: Item) -> _Judge:
    def judge(value: Any, day: str) -> _Fault | None:
        return None if _is_date(value) else _not_a_date("standard-type", item.name, value)

    return judge


_JUDGES_OF_PLAIN_TYPES: dict[str, Callable[[Item], _Judge]] = {
    "integer": _judge_integer,
    "boolean": _judge_boolean,
    "date": _judge_date,
}


def _wrong_type(item: Item, value: Any, wanted: str) -> _Fault:
    return _Fault(
        "standard-type", item.name, value, f"`{item.name}` is not {wanted}.", f"Send {wanted}, or null."
    )


def _not_a_date(rule: str, name: str, value: Any) -> _Fault:
    return _Fault(rule, name, value, f"`{name}` is not a date.", "Write it as YYYY-MM-DD, or send null.")


def _is_date(value: Any) -> bool:
    return type(value) is str and len(value) == 10 and _is_iso_date(value)


@lru_cache(maxsize=65_536)
def _is_iso_date(text: str) -> bool:
    """True for YYYY-MM-DD only: `fromisoformat` alone would also take week dates such as 2025-W01-1."""
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _period(dated: Code | Item) -> tuple[str, str]:
    """First and last day as ISO text, which sorts as dates do; `9999` where there is no end."""
    return (
        dated.since.isoformat() if dated.since else "",
        dated.until.isoformat() if dated.until else "9999-12-31",
    )


def _outside(dated: Code | Item) -> str:
    """`before 2024-08-19`, `after 2024-08-18` or both, in words."""
    words = [f"before {dated.since}" if dated.since else "", f"after {dated.until}" if dated.until else ""]
    return " or ".join(word for word in words if word)


def _codes_of(codeset: Codeset, day: str) -> str:
    codes: Iterable[Code] = codeset.on(date.fromisoformat(day)) if day else codeset.codes
    listed = [code.code for code in codes]
    if len(listed) > _CODES_SHOWN:
        return f"See `commonroom standard codes {codeset.name}`."
    return f"Use one of: {', '.join(listed)}."


def _shown(value: Any) -> Any:
    """A value short enough to keep: scalars as they are, long text cut, anything else by its JSON type only."""
    if isinstance(value, str):
        return value if len(value) <= _VALUE_SHOWN else value[:_VALUE_SHOWN] + "…"
    if value is None or isinstance(value, bool | int | float):
        return value
    return "(a list)" if isinstance(value, list) else "(an object)"
