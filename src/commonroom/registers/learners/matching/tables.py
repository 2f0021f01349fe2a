"""People out of any CSV file: columns mapped by name, dates in several forms."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from commonroom.problems import Problem
from commonroom.registers.learners.matching.people import Details

# What `--map given=first_name,...` calls the fields; a field may be several columns: `house=number+street`.
FIELDS = {
    "given": "given_name",
    "family": "family_name",
    "dob": "date_of_birth",
    "gender": "gender",
    "postcode": "postcode",
    "middle": "middle_names",
    "previous": "previous_family_name",
    "preferred": "preferred_given_name",
    "upn": "upn",
    "email": "email",
    "house": "house",
    "town": "town",
    "place": "place_of_birth",
    "school": "school_at_16",
}
_NOTHING = frozenset(("", "na", "n/a", "nan", "null", "none", "\\n"))
_SEXES = {
    "m": "1",
    "male": "1",
    "1": "1",
    "boy": "1",
    "f": "2",
    "female": "2",
    "2": "2",
    "girl": "2",
    "9": "9",
}
_MONTHS = {
    name: number
    for number, name in enumerate(
        ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"], start=1
    )
}
FIRST_YEAR, LAST_YEAR = 1850, 2100
_TIME = re.compile(r"(?<=[0-9])[t ]+[0-9]{1,2}:.*$")
_NUMBERS = re.compile(r"[0-9]+|[a-z]{3,}")


class Row(msgspec.Struct, frozen=True):
    """One record of a file."""

    id: str
    details: Details
    # A date of birth was there of which not all could be read.
    unread_date: bool = False


def parse_mapping(text: str) -> dict[str, str]:
    """`given=first,family=last,dob=born,id=rec_id` as a mapping of our fields to columns."""
    found: dict[str, str] = {}
    for item in text.split(","):
        field, _, column = (part.strip() for part in item.partition("="))
        if (field not in FIELDS and field != "id") or not column:
            raise Problem(
                "CR-004",
                f"the mapping `{item.strip()}` is not FIELD=COLUMN",
                remedy=f"Fields are id, {', '.join(FIELDS)}; several columns are joined by +.",
            )
        found[field] = column
    return found


def read_rows(path: Path, mapping: Mapping[str, str]) -> Iterator[Row]:
    """The records of a CSV file. The id is the mapped column, or `id`, `rec_id`, or the first column."""
    reader = csv.DictReader(_text(path), skipinitialspace=True)
    try:
        columns = [name.strip() for name in reader.fieldnames or ()]
        reader.fieldnames = columns
        _check(path, columns, mapping)
        id_column = mapping.get("id") or next(
            (name for name in ("id", "rec_id") if name in columns), columns[0]
        )
        for row in reader:
            yield Row((row[id_column] or "").strip(), details(row, mapping), _unread_date(row, mapping))
    except csv.Error as error:
        raise _no_csv(path, f"line {reader.line_num} is no CSV: {error}") from error


def read_truth(path: Path) -> list[tuple[str, str]]:
    """Pairs of ids, the registered first, from the first two columns of a CSV file with a heading."""
    rows = csv.reader(_text(path), skipinitialspace=True)
    try:
        next(rows, None)
        return [(row[0].strip(), row[1].strip()) for row in rows if len(row) >= 2]
    except csv.Error as error:
        raise _no_csv(path, f"line {rows.line_num} is no CSV: {error}") from error


def _text(path: Path) -> io.StringIO:
    """The text of a file: UTF-16 by its mark, else UTF-8, else the Windows encoding."""
    content = path.read_bytes()
    marked = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    for encoding in ("utf-16",) if marked else ("utf-8-sig", "cp1252"):
        try:
            return io.StringIO(content.decode(encoding), newline="")
        except UnicodeDecodeError:
            continue
    raise _no_csv(path, "it is neither UTF-8, UTF-16 nor cp1252")


def _no_csv(path: Path, detail: str) -> Problem:
    return Problem("CR-004", detail, where=str(path), remedy="Save it as CSV UTF-8.")


def _check(path: Path, columns: list[str], mapping: Mapping[str, str]) -> None:
    missing = sorted({part for name in mapping.values() for part in name.split("+")} - set(columns))
    if not columns or missing:
        raise Problem(
            "CR-004",
            f"there is no column {', '.join(missing)}" if columns else "the file has no heading",
            where=f"{path}, line 1",
            remedy=f"The file has {', '.join(columns[:30])}."
            if columns
            else "Write the columns' names first.",
        )


def details(row: Mapping[str, str | None], mapping: Mapping[str, str]) -> Details:
    """What one row says of a person."""
    found = {
        FIELDS[field]: _joined(row, column, "-" if field == "dob" else " ")
        for field, column in mapping.items()
        if field in FIELDS
    }
    return Details(
        given_name=found.pop("given_name", ""),
        family_name=found.pop("family_name", ""),
        date_of_birth=iso_date(found.pop("date_of_birth", "")),
        gender=_SEXES.get(found.pop("gender", "").lower(), "0"),
        **{field: value or None for field, value in found.items()},
    )


def _unread_date(row: Mapping[str, str | None], mapping: Mapping[str, str]) -> bool:
    text = _joined(row, mapping.get("dob", ""), "-")
    whole = len(_NUMBERS.findall(_TIME.sub("", text.lower()))) > 2
    return bool(text) and len(iso_date(text)) < (10 if whole else 1)


def _joined(row: Mapping[str, str | None], column: str, between: str) -> str:
    values = ((row.get(part) or "").strip() for part in column.split("+"))
    return between.join(value for value in values if value.lower() not in _NOTHING)


def iso_date(text: str) -> str:
    """A date as `2009-03-14`, `2009-03` or `2009`; "" when it is none. Of two small numbers the first is the day."""
    parts = _NUMBERS.findall(_TIME.sub("", text.lower()))[:3]
    if len(parts) == 1 and len(parts[0]) == 8 and parts[0].isdigit():
        year, month, day = _eight_digits(parts[0])
    else:
        year, month, day = _in_order(
            [_MONTHS.get(part[:3], 0) if part.isalpha() else int(part) for part in parts], parts
        )
    if not FIRST_YEAR <= year <= LAST_YEAR:
        return ""
    if month > 12 >= day:
        month, day = day, month
    if not 1 <= month <= 12:
        return f"{year:04d}"
    return f"{year:04d}-{month:02d}-{day:02d}" if 1 <= day <= 31 else f"{year:04d}-{month:02d}"


def _eight_digits(text: str) -> tuple[int, int, int]:
    """`20090314`, or `14032009` when the first four are no year."""
    if FIRST_YEAR <= int(text[:4]) <= LAST_YEAR:
        return int(text[:4]), int(text[4:6]), int(text[6:])
    return int(text[4:]), int(text[2:4]), int(text[:2])


def _in_order(numbers: list[int], parts: list[str]) -> tuple[int, int, int]:
    """Year, month and day of numbers in the order they were written, 0 for what is missing."""
    if len(numbers) > 1 and parts[0].isalpha():
        # `May 14, 2008`: the month's name stands in front of the day.
        numbers = [numbers[1], numbers[0], *numbers[2:]] if len(numbers) == 3 else numbers
    if len(numbers) > 1 and len(parts[-1]) == 4 and parts[-1].isdigit():
        numbers = numbers[::-1]
    year, month, day = (*numbers, 0, 0, 0)[:3]
    return year, month, day
