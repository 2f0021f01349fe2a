"""One cell of a GIAS extract to one value. Pure: no file, no database.

Every reader takes the trimmed text of a cell that is not blank and gives a JSON scalar, or raises `BadValue` with the
reason and the remedy in words for the person who sent the file.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from typing import Any

from commonroom.standard import is_valid

Value = str | int | float | list[Any]

MAX_TEXT = 1_000
MAX_LONG_TEXT = 20_000
MAX_COUNT = 200_000
EARLIEST_YEAR = 1000
LATEST_YEAR = 2200

# Signs that have no width: they come from copying out of web pages and say nothing.
_WIDTHLESS = dict.fromkeys(map(ord, "\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"))
_DATE = re.compile(r"(\d{1,2})([-/])(\d{1,2})\2(\d{4})")
_ISO_DATE = re.compile(r"(\d{4})-(\d{2})-(\d{2})")
_POSTCODE = re.compile(r"([A-Z]{1,2}[0-9][A-Z0-9]?)([0-9][A-Z]{2})")
NATIONS = {name.lower(): name for name in ("Wales", "Scotland", "Northern Ireland")}
_WHOLE = re.compile(r"\d{1,9}")
_NUMBER = re.compile(r"\d{1,3}(\.\d{1,4})?%?")


class BadValue(ValueError):
    """A cell that cannot be what its column says; `reason` and `remedy` are for people."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy


def tidy(cell: str) -> str:
    """The cell without outer or repeated white space and without signs of no width."""
    return " ".join(cell.translate(_WIDTHLESS).split())


def shown(text: str) -> str:
    """A value as a message quotes it: short, and with control characters made visible."""
    printable = "".join(sign if sign.isprintable() else f"\\x{ord(sign):02x}" for sign in text[:40])
    return f"'{printable}{'...' if len(text) > 40 else ''}'"


def text(value: str) -> str:
    """Words of at most 1,000 characters without control characters."""
    return _words(value, MAX_TEXT)


def long_text(value: str) -> str:
    """Words of at most 20,000 characters."""
    return _words(value, MAX_LONG_TEXT)


def code(value: str) -> str:
    """A short code of any list, kept as it is written (leading zeros matter)."""
    return _words(value, 60)


def urn(value: str) -> str:
    """Unique reference number of an establishment: six digits, the first not 0."""
    if not is_valid("URN", value):
        raise BadValue(f"{shown(value)} is not a URN", "A URN has six digits, such as 100000.")
    return value


def la_code(value: str) -> str:
    """Three digits of a local authority (DfE number, not ONS)."""
    if not re.fullmatch(r"\d{3}", value, re.ASCII):
        raise BadValue(f"{shown(value)} is not a local authority code", "It has three digits, such as 936.")
    return value


def establishment_number(value: str) -> str:
    """Four digits of an establishment within its authority."""
    if not re.fullmatch(r"\d{4}", value, re.ASCII):
        raise BadValue(f"{shown(value)} is not an establishment number", "It has four digits, such as 2000.")
    return value


def ukprn(value: str) -> str:
    """UK provider reference number: eight digits, the first of them 1."""
    if not is_valid("UKPRN", value):
        raise BadValue(f"{shown(value)} is not a UKPRN", "A UKPRN has eight digits, such as 10080446.")
    return value


def school_number(value: str) -> str:
    """Seven digits of a school in Wales, Scotland or Northern Ireland, there written 123-4567."""
    if not re.fullmatch(r"\d{3}-?\d{4}", value, re.ASCII):
        raise BadValue(f"{shown(value)} is not a school number", "It has seven digits, such as 6714047.")
    return value.replace("-", "")


def authority_code(value: str) -> str:
    """A local authority outside England: three digits in Wales, else the nine signs of the ONS."""
    if not re.fullmatch(r"\d{3}|[WSN]\d{8}", value, re.ASCII):
        raise BadValue(f"{shown(value)} is not an authority's code", "Write 681, or S12000036.")
    return value


def nation(value: str) -> str:
    """One of the three nations besides England."""
    if (found := NATIONS.get(value.lower().replace("-", " "))) is None:
        raise BadValue(
            f"{shown(value)} is not a nation of this file", f"Write {', '.join(NATIONS.values())}."
        )
    return found


def group_uid(value: str) -> str:
    """Unique id of a group in GIAS: digits."""
    if not re.fullmatch(r"\d{1,8}", value, re.ASCII):
        raise BadValue(f"{shown(value)} is not a group UID", "A group UID is a whole number, such as 2044.")
    return value


def uprn(value: str) -> str:
    """Unique property reference number: up to twelve digits."""
    if not re.fullmatch(r"\d{1,12}", value, re.ASCII):
        raise BadValue(
            f"{shown(value)} is not a UPRN",
            "It has up to 12 digits; a spreadsheet may have rounded it: format the column as text.",
        )
    return value


def day(value: str) -> str:
    """A date written dd-mm-yyyy, dd/mm/yyyy or yyyy-mm-dd, as ISO text."""
    found = _DATE.fullmatch(value)
    iso = _ISO_DATE.fullmatch(value)
    try:
        if found:
            moment = date(int(found[4]), int(found[3]), int(found[1]))
        elif iso:
            moment = date(int(iso[1]), int(iso[2]), int(iso[3]))
        else:
            raise ValueError
        if not EARLIEST_YEAR <= moment.year <= LATEST_YEAR:
            raise ValueError
    except ValueError:
        raise BadValue(f"{shown(value)} is not a date", "Write dates as 31-12-2022 or 31/12/2022.") from None
    return moment.isoformat()


def count(value: str) -> int:
    """A whole number of pupils or places."""
    number = _whole(value)
    if number > MAX_COUNT:
        raise BadValue(
            f"{shown(value)} is too great a number of pupils or places", f"The most is {MAX_COUNT:,}."
        )
    return number


def age(value: str) -> int:
    """An age in years, 0 to 99 (GIAS writes 99 for no upper limit)."""
    number = _whole(value)
    if number > 99:
        raise BadValue(f"{shown(value)} is not an age", "Ages are whole numbers from 0 to 99.")
    return number


def percent(value: str) -> float:
    """A percentage, 0 to 100."""
    if not _NUMBER.fullmatch(value) or (number := float(value.rstrip("%"))) > 100:
        raise BadValue(f"{shown(value)} is not a percentage", "Write a number from 0 to 100, such as 13.7.")
    return number


def grid(value: str) -> int:
    """Metres on the national grid."""
    number = _whole(value)
    if number > 1_300_000:
        raise BadValue(f"{shown(value)} is outside the national grid", "Write metres, such as 533498.")
    return number


def postcode(value: str) -> str:
    """A postcode in capitals with one space."""
    packed = value.upper().replace(" ", "")
    found = _POSTCODE.fullmatch(packed)
    if not found:
        raise BadValue(f"{shown(value)} is not a postcode", "Write it like GU34 1DH.")
    return f"{found[1]} {found[2]}"


READERS: dict[str, Callable[[str], Value]] = {
    "text": text,
    "long_text": long_text,
    "code": code,
    "urn": urn,
    "la_code": la_code,
    "establishment_number": establishment_number,
    "ukprn": ukprn,
    "school_number": school_number,
    "authority_code": authority_code,
    "nation": nation,
    "group_uid": group_uid,
    "uprn": uprn,
    "date": day,
    "count": count,
    "age": age,
    "percent": percent,
    "grid": grid,
    "postcode": postcode,
}


def _words(value: str, most: int) -> str:
    if not value.isprintable():
        raise BadValue(f"{shown(value)} has control characters in it", "Remove them and save the file again.")
    if len(value) > most:
        raise BadValue(
            f"the text has {len(value):,} characters", f"The most is {most:,}: is a closing quote missing?"
        )
    return value


def _whole(value: str) -> int:
    if not _WHOLE.fullmatch(value) or not value.isascii():
        raise BadValue(f"{shown(value)} is not a whole number", "Write digits only, such as 210.")
    return int(value)
