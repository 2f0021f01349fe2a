"""Files of published figures, read row by row: numbers exact, symbols kept, what cannot be understood listed."""

from __future__ import annotations

import csv
import gzip
import io
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import IO, Any

import msgspec
import pyarrow as pa

from commonroom.problems import Problem
from commonroom.warehouse.published.model import ANY, Dataset, Place, all_declared

MOST_BYTES = 512 * 1024 * 1024  # unpacked
MOST_COLUMNS = 2_000
LISTED = 50
NUMBER = pa.decimal128(24, 8)
_EXACT = Decimal("1e-8")


class Fault(msgspec.Struct, frozen=True):
    """Something in a file that could not be taken."""

    line: int
    column: str
    reason: str


class Reading(msgspec.Struct, frozen=True):
    """A file as a table, with what was noticed. Of each indicator: the number, and beside it the symbol as published."""

    dataset: Dataset
    rows: pa.Table
    symbols: dict[str, int]  # as published: how many cells
    short: int  # rows that end before the last columns; those cells are x
    left_out: int  # rows that are of no declared place
    faults: tuple[Fault, ...]
    faulty: int


def recognised(path: Path) -> Dataset:
    """The dataset whose columns a file has; of several the one that reads most. Raises Problem CR-260, CR-261."""
    with _opened(path, "utf-8-sig") as text:
        header = set(_header(path, csv.reader(text)))
    fitting = [one for one in all_declared().values() if one.columns() <= header]
    if not fitting:
        raise Problem(
            "CR-261",
            "no declared dataset has its columns",
            where=path.name,
            remedy="Declare it: see docs/publish.md; or say which it is with --as, and learn which columns are missing.",
        )
    return max(fitting, key=lambda one: len(one.columns()))


def read(path: Path, dataset: Dataset) -> Reading:
    """The rows of a file. Raises Problem CR-260 when it is no such file at all."""
    collected = _Collected(dataset)
    with _opened(path, dataset.encoding) as text:
        lines = csv.reader(text)
        header = _header(path, lines)
        if missing := sorted(dataset.columns() - set(header)):
            raise _unreadable(path, f"it has no column {', '.join(missing)}")
        try:
            for cells in lines:
                if any(cell.strip() for cell in cells):
                    collected.add(lines.line_num, header, cells)
        except (csv.Error, UnicodeDecodeError, EOFError, gzip.BadGzipFile) as error:
            raise _unreadable(
                path, f"it breaks off or is not {dataset.encoding} after line {lines.line_num:,}"
            ) from error
    return collected.reading()


class _Collected:
    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._places = dataset.place_columns()
        texts = [
            "time_period",
            "time_identifier",
            "geographic_level",
            *self._places,
            *(one.name for one in dataset.filters),
        ]
        self._texts: dict[str, list[str | None]] = {name: [] for name in texts}
        self._numbers: dict[str, list[Decimal | None]] = {one.name: [] for one in dataset.indicators}
        self._marks: dict[str, list[str | None]] = {f"{one.name}_symbol": [] for one in dataset.indicators}
        self._seen: Counter[str] = Counter()
        self._faults: list[Fault] = []
        self._faulty = self._short = self._left_out = 0

    def add(self, line: int, header: list[str], cells: list[str]) -> None:
        """One row of the file; a faulty cell never takes the others with it."""
        row = {name: cell.strip() for name, cell in zip(header, cells, strict=False)}
        self._short += len(cells) < len(header)
        place = next((one for one in self._dataset.places if _is_of(one, row)), None)
        if place is None:
            self._left_out += 1
            return
        time = self._dataset.time
        self._texts["time_period"].append(time.period or row.get(time.period_column))
        self._texts["time_identifier"].append(time.identifier or row.get(time.identifier_column))
        self._texts["geographic_level"].append(place.level)
        for name in self._places:
            column = place.columns.get(name)
            value = place.values.get(name) if column is None else row.get(column)
            self._texts[name].append(value or None)
        for one in self._dataset.filters:
            self._texts[one.name].append(row.get(one.column) or one.blank)
        for indicator in self._dataset.indicators:
            number, mark = self._figure(line, indicator.column, row.get(indicator.column))
            self._numbers[indicator.name].append(number)
            self._marks[f"{indicator.name}_symbol"].append(mark)

    def _figure(self, line: int, column: str, cell: str | None) -> tuple[Decimal | None, str | None]:
        if not cell:
            return None, "x" if cell is None else None
        if cell in self._dataset.symbols:
            self._seen[cell] += 1
            return None, cell
        try:
            number = Decimal(cell.removesuffix("%").replace(",", "")).quantize(_EXACT)
        except InvalidOperation:
            self._faulty += 1
            if len(self._faults) < LISTED:
                self._faults.append(Fault(line, column, "neither a number nor a declared symbol"))
            return None, None
        return number, None

    def reading(self) -> Reading:
        """All of it."""
        columns: dict[str, Any] = {
            name: pa.array(values, pa.string()) for name, values in self._texts.items()
        }
        for name, values in self._numbers.items():
            columns[name] = pa.array(values, NUMBER)
            columns[f"{name}_symbol"] = pa.array(self._marks[f"{name}_symbol"], pa.string())
        return Reading(
            self._dataset,
            pa.table(columns),
            dict(self._seen.most_common()),
            self._short,
            self._left_out,
            tuple(self._faults),
            self._faulty,
        )


def _is_of(place: Place, row: dict[str, str]) -> bool:
    return all(
        bool(row.get(column)) if value == ANY else row.get(column, "") == value
        for column, value in place.when.items()
    )


def _header(path: Path, lines: Iterator[list[str]]) -> list[str]:
    try:
        header = next(lines, [])
    except (csv.Error, UnicodeDecodeError, EOFError, gzip.BadGzipFile) as error:
        raise _unreadable(path, "its first line cannot be read as CSV") from error
    if not 1 < len(header) <= MOST_COLUMNS:
        raise _unreadable(path, f"its first line has {len(header):,} columns")
    if len(set(header)) < len(header):
        raise _unreadable(path, "two of its columns have one name")
    return header


def _opened(path: Path, encoding: str) -> IO[str]:
    try:
        raw: IO[bytes] = path.open("rb")
    except OSError as error:
        raise _unreadable(path, error.strerror or "it cannot be opened") from error
    packed = raw.read(2) == b"\x1f\x8b"
    raw.seek(0)
    unpacked: Any = gzip.GzipFile(fileobj=raw) if packed else raw
    limited = io.BufferedReader(_Limited(unpacked, path), 1024 * 1024)
    return io.TextIOWrapper(limited, encoding=encoding, newline="")


class _Limited(io.RawIOBase):
    """The bytes of a file up to the limit, whatever it unpacks to."""

    def __init__(self, file: Any, path: Path) -> None:
        self._file = file
        self._path = path
        self._left = MOST_BYTES

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Raises Problem CR-260 past the limit."""
        data: bytes = self._file.read(len(buffer))
        self._left -= len(data)
        if self._left < 0:
            raise _unreadable(self._path, f"it has more than {MOST_BYTES:,} bytes")
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()


def _unreadable(path: Path, detail: str) -> Problem:
    return Problem(
        "CR-260", detail, where=path.name, remedy="Compare it with the declaration of its dataset."
    )
