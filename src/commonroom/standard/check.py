"""Judges records against the standard, one by one: a bad record never stops a good one.

Each entity is compiled once into a list of judges, one per item, so that ten thousand records take a fraction of a
second. Rules that look across records or items belong to a collection; the only ones here are those of the times.

Rules named in findings: `standard-record`, `standard-item-unknown`, `standard-required`, `standard-type`,
`standard-length`, `standard-code`, `standard-code-date`, `standard-identifier`, `standard-item-date`,
`standard-version`, `standard-valid-from`, `standard-valid-to`.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from functools import cache
from typing import Any

import msgspec

from commonroom.standard.agreement import RECORD_FIELDS
from commonroom.standard.judges import LARGEST, VALUE_SHOWN, Fault, Severity, is_date, judge_of, not_a_date
from commonroom.standard.loader import load, named
from commonroom.standard.model import Codeset, Entity

Record = dict[str, Any]


class Finding(msgspec.Struct, frozen=True):
    """One fault of one record. `index` counts from 0; only `key` and `value` may hold personal data."""

    severity: Severity
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
        self.judges = [(item.name, item.required, judge_of(item, codesets)) for item in items]

    def faults(self, record: Record, default_day: str) -> Iterator[Fault]:
        """Every fault of one record, unknown items first, then item by item, then its times and version."""
        if not isinstance(record, dict):
            yield Fault(
                "standard-record", "", None, "This is not a record.", "Send an object of named items."
            )
            return
        if not self.known.issuperset(record):
            yield from self._unknown_items(record)
        said = record.get(self.day_item)
        day = str(said) if is_date(said) else default_day
        for name, required, judge in self.judges:
            value = record.get(name)
            if value is not None:
                fault = judge(value, day)
                if fault is not None:
                    yield fault
            elif required:
                message = f"`{name}` is missing."
                yield Fault("standard-required", name, None, message, "Every record must have it.")
        yield from self._times(record)
        yield from self._version(record)

    def finding(self, fault: Fault, index: int, record: Record) -> Finding:
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

    def _unknown_items(self, record: Record) -> Iterator[Fault]:
        for name in record:
            if name not in self.known:
                # What somebody made up as a name could be anything, so it is shown as a value only.
                message = f"The entity {self.entity.name} has no such item."
                remedy = (
                    f"Leave it out, or see `commonroom standard show {self.entity.name}` for the right name."
                )
                yield Fault("standard-item-unknown", "", name, message, remedy)

    def _times(self, record: Record) -> Iterator[Fault]:
        valid_from, valid_to = record.get("valid_from"), record.get("valid_to")
        if valid_from is None:
            if self.entity.valid_from_item is None:
                message = "`valid_from` is missing."
                yield Fault(
                    "standard-valid-from", "valid_from", None, message, "Say from which day the record holds."
                )
        elif not is_date(valid_from):
            yield not_a_date("standard-valid-from", "valid_from", valid_from)
        elif self.entity.valid_from_item and valid_from != record.get(self.entity.valid_from_item):
            message = f"`valid_from` is not the same day as `{self.entity.valid_from_item}`."
            yield Fault("standard-valid-from", "valid_from", valid_from, message, "Leave out `valid_from`.")
        if valid_to is None:
            return
        if not is_date(valid_to):
            yield not_a_date("standard-valid-to", "valid_to", valid_to)
        elif is_date(begins := valid_from or record.get(self.day_item)) and valid_to < begins:
            message = "`valid_to` is before `valid_from`."
            yield Fault("standard-valid-to", "valid_to", valid_to, message, "Check both dates.")

    def _version(self, record: Record) -> Iterator[Fault]:
        version = record.get("version")
        if version is not None and not (type(version) is int and 0 < version <= LARGEST):
            message = "`version` is not a whole number above 0."
            yield Fault(
                "standard-version", "version", version, message, "Number the versions of a record 1, 2, 3."
            )


def _shown(value: Any) -> Any:
    """A value short enough to keep: scalars as they are, long text cut, anything else by its JSON type only."""
    if isinstance(value, str):
        return value if len(value) <= VALUE_SHOWN else value[:VALUE_SHOWN] + "…"
    if value is None or isinstance(value, bool | int | float):
        return value
    return "(a list)" if isinstance(value, list) else "(an object)"
