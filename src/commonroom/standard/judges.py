"""Judges of single values: one for each item, compiled once, asked for every record.

A judge gets a value that is not None and the day that the record speaks of; it answers with a fault or None. No message
and no remedy repeats a value.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import date
from functools import lru_cache
from typing import Any, Literal

import msgspec

from commonroom.standard import identifiers
from commonroom.standard.model import Code, Codeset, Item

# What a whole number may be, because tables hold it in 64 bits.
LARGEST = 2**63 - 1
# The longest value that a finding repeats, and the longest unknown code of an open list.
VALUE_SHOWN = 200
OPEN_CODE_LENGTH = 60
# Good values that one judge remembers; a bound, so that a long-lived process does not grow.
_REMEMBERED = 200_000
# A list of codes up to this length is written out in the remedy.
_CODES_SHOWN = 40
# Neither PostgreSQL nor XML can hold these.
_UNUSABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
_TIME = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")

Severity = Literal["error", "query"]


class Fault(msgspec.Struct, frozen=True):
    """A finding before it knows its record."""

    rule: str
    item: str
    value: Any
    message: str
    remedy: str
    severity: Severity = "error"


# The day is ISO text, or empty when it is unknown.
Judge = Callable[[Any, str], Fault | None]


def judge_of(item: Item, codesets: Mapping[str, Codeset]) -> Judge:
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


def is_date(value: Any) -> bool:
    """True for YYYY-MM-DD only."""
    return type(value) is str and len(value) == 10 and _is_iso_date(value)


def not_a_date(rule: str, name: str, value: Any) -> Fault:
    """The fault of a value that should be a date."""
    return Fault(rule, name, value, f"`{name}` is not a date.", "Write it as YYYY-MM-DD, or send null.")


def decimal_pattern(item: Item) -> str:
    """What a decimal looks like as text: digits, and a point with more, at most as many as the item allows."""
    whole = (item.digits or 0) - (item.decimals or 0)
    return rf"-?(0|[1-9][0-9]{{0,{whole - 1}}})(\.[0-9]{{1,{item.decimals}}})?"


def _within_dates(item: Item, judge: Judge) -> Judge:
    """A judge that first asks whether the record's day may carry the item at all."""
    since, until = period(item)

    def within(value: Any, day: str) -> Fault | None:
        if day and not since <= day <= until:
            message = f"`{item.name}` is not collected for that day."
            remedy = f"Leave it out of records {_outside(item)}."
            return Fault("standard-item-date", item.name, value, message, remedy)
        return judge(value, day)

    return within


def _judge_code(item: Item, codeset: Codeset) -> Judge:
    periods = {code.code: period(code) for code in codeset.codes}

    def judge(value: Any, day: str) -> Fault | None:
        period = periods.get(value) if type(value) is str else None
        if period is None:
            return _unknown_code(item, codeset, value)
        if day and not period[0] <= day <= period[1]:
            message = f"`{item.name}` has a code that was not in use on that day."
            remedy = (
                f"That code must not be used {_outside(codeset.by_code[value])}. {_codes_of(codeset, day)}"
            )
            return Fault("standard-code-date", item.name, value, message, remedy, _severity(codeset))
        return None

    return judge


def _unknown_code(item: Item, codeset: Codeset, value: Any) -> Fault | None:
    if type(value) is not str:
        return _wrong_type(item, value, "text")
    usable = len(value) <= OPEN_CODE_LENGTH and not _UNUSABLE.search(value)
    severity = _severity(codeset) if usable else "error"
    message = f"`{item.name}` is not a code of the list {codeset.name}."
    return Fault("standard-code", item.name, value, message, _codes_of(codeset, ""), severity)


def _severity(codeset: Codeset) -> Literal["error", "query"]:
    return "query" if codeset.open else "error"


def _judge_identifier(item: Item, kind: str) -> Judge:
    good: set[str] = set()

    def judge(value: Any, day: str) -> Fault | None:
        if type(value) is not str:
            return _wrong_type(item, value, "text")
        if value in good:
            return None
        verdict = identifiers.check(kind, value[:VALUE_SHOWN])
        if not verdict.is_valid:
            message = f"`{item.name}` is not a valid {kind} ({verdict.verdict}): {verdict.reason}."
            remedy = "Correct it at the source."
            return Fault("standard-identifier", item.name, value, message, remedy)
        if identifiers.canonical(kind, value) != value:
            message = f"`{item.name}` is not written as a {kind} is stored."
            return Fault("standard-identifier", item.name, value, message, "Write its digits only.")
        if len(good) < _REMEMBERED:
            good.add(value)
        return None

    return judge


def _judge_string(item: Item, longest: int) -> Judge:
    def judge(value: Any, day: str) -> Fault | None:
        if type(value) is not str:
            return _wrong_type(item, value, "text")
        if not value or value.isspace():
            message = f"`{item.name}` is blank."
            return Fault("standard-type", item.name, value, message, "Leave it out, or send null.")
        if len(value) > longest:
            message = f"`{item.name}` has {len(value):,} characters; {longest} are allowed."
            return Fault("standard-length", item.name, value, message, "Shorten it.")
        if _UNUSABLE.search(value):
            message = f"`{item.name}` has a control character."
            return Fault("standard-type", item.name, value, message, "Remove tabs, line ends and the like.")
        return None

    return judge


def _judge_integer(item: Item) -> Judge:
    def judge(value: Any, day: str) -> Fault | None:
        fits = type(value) is int and -LARGEST <= value <= LARGEST
        return None if fits else _wrong_type(item, value, "a whole number")

    return judge


def _judge_boolean(item: Item) -> Judge:
    def judge(value: Any, day: str) -> Fault | None:
        return None if type(value) is bool else _wrong_type(item, value, "true or false")

    return judge


def _judge_decimal(item: Item) -> Judge:
    fits = re.compile(decimal_pattern(item)).fullmatch

    def judge(value: Any, day: str) -> Fault | None:
        if type(value) is not str:
            remedy = 'Send it as text, such as "12.5", so that no program rounds it; or null.'
            return Fault("standard-type", item.name, value, f"`{item.name}` is not a decimal.", remedy)
        if fits(value):
            return None
        message = f"`{item.name}` is not a number with at most {item.decimals} digits behind the point"
        remedy = "Write digits and a point, without spaces, signs of money or leading zeros."
        return Fault("standard-type", item.name, value, f"{message} and {item.digits} in all.", remedy)

    return judge


def _judge_time(item: Item) -> Judge:
    def judge(value: Any, day: str) -> Fault | None:
        if type(value) is str and _TIME.fullmatch(value):
            return None
        return Fault("standard-type", item.name, value, f"`{item.name}` is not a time.", "Write it as HH:MM.")

    return judge


def _judge_date(item: Item) -> Judge:
    def judge(value: Any, day: str) -> Fault | None:
        return None if is_date(value) else not_a_date("standard-type", item.name, value)

    return judge


_JUDGES_OF_PLAIN_TYPES: dict[str, Callable[[Item], Judge]] = {
    "integer": _judge_integer,
    "boolean": _judge_boolean,
    "date": _judge_date,
    "decimal": _judge_decimal,
    "time": _judge_time,
}


def _wrong_type(item: Item, value: Any, wanted: str) -> Fault:
    return Fault(
        "standard-type", item.name, value, f"`{item.name}` is not {wanted}.", f"Send {wanted}, or null."
    )


@lru_cache(maxsize=65_536)
def _is_iso_date(text: str) -> bool:
    """True for YYYY-MM-DD only: `fromisoformat` alone would also take week dates such as 2025-W01-1."""
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def period(dated: Code | Item) -> tuple[str, str]:
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
