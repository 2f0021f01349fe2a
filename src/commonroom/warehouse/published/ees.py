"""Files for Explore Education Statistics: a data file and its metadata, written and checked.

The rules stand in rules.yaml. Files with findings are written too, so that they can be looked at; they are not fit to
publish.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal
from functools import cache
from pathlib import Path

import msgspec
import pyarrow as pa

from commonroom import declarations, standard
from commonroom.problems import Problem
from commonroom.warehouse.published.model import Dataset, Indicator

Row = dict[str, str]
SHOWN = 10
_RULES = Path(__file__).parent / "rules.yaml"
_TIME = ("time_period", "time_identifier", "geographic_level")


class Rules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The rules, as data."""

    required: list[str]
    metadata: list[str]
    metadata_optional: list[str]
    units: list[str]
    symbols: list[str]
    legacy_symbols: list[str]
    column_name: str
    levels: dict[str, list[str]]
    times: dict[str, str]
    time_pattern: str


class Finding(msgspec.Struct, frozen=True):
    """A rule that the files break."""

    file: str  # data or metadata
    column: str
    rows: tuple[int, ...]  # line numbers, the first few
    number: int
    message: str


class Files(msgspec.Struct, frozen=True):
    """A data file and its metadata, as rows."""

    data: list[Row]
    columns: list[str]
    metadata: list[Row]


@cache
def rules() -> Rules:
    """The rules."""
    return declarations.load(_RULES, Rules)


def of_dataset(dataset: Dataset, rows: pa.Table, levels: Sequence[str]) -> Files:
    """The loaded figures of these levels, with the symbols that the statistics conventions have for what stood there."""
    wanted = [row for row in rows.to_pylist() if row["geographic_level"] in levels]
    codes = [name for level in levels for name in rules().levels.get(level, ())]
    places = list(dict.fromkeys(["country_code", "country_name", *codes]))
    kept = [name for name in places if name in dataset.place_columns()]
    filters = [one.name for one in dataset.filters]
    columns = [*_TIME, *kept, *filters, *(one.name for one in dataset.indicators)]
    data = []
    for row in wanted:
        known = {name: row[name] or "" for name in (*_TIME, *kept, *filters)}
        figures = {one.name: _shown(dataset, one, row) for one in dataset.indicators}
        data.append(known | figures)
    metadata = [
        *(_meta(one.name, "Filter", one.title) for one in dataset.filters),
        *(_meta(one.name, "Indicator", one.title, one.unit, one.decimals) for one in dataset.indicators),
    ]
    return Files(data, columns, metadata)


def _shown(dataset: Dataset, indicator: Indicator, row: Mapping[str, object]) -> str:
    number, mark = row[indicator.name], row[f"{indicator.name}_symbol"]
    if isinstance(number, Decimal):
        return str(number.quantize(Decimal(1).scaleb(-indicator.decimals), ROUND_HALF_UP))
    if mark is None:
        return "z"  # the cell was empty
    declared = dataset.symbols.get(str(mark))
    return declared.means if declared else str(mark)


def _meta(name: str, kind: str, label: str, unit: str = "", decimals: int | None = None) -> Row:
    return {
        "col_name": name,
        "col_type": kind,
        "label": label,
        "indicator_grouping": "",
        "indicator_unit": unit,
        "indicator_dp": "" if decimals is None else str(decimals),
        "filter_hint": "",
        "filter_grouping_column": "",
    }


def write(files: Files, folder: Path, name: str) -> tuple[Path, Path]:
    """`<name>.csv` and `<name>.meta.csv` in a folder; their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    data, metadata = folder / f"{name}.csv", folder / f"{name}.meta.csv"
    data.write_text(_csv(files.columns, files.data), "utf-8")
    metadata.write_text(_csv(rules().metadata, files.metadata), "utf-8")
    return data, metadata


def read(data: Path, metadata: Path) -> Files:
    """A pair of files as rows. Raises Problem CR-262 when one is no CSV with a header."""
    columns, rows = _rows(data)
    _, described = _rows(metadata)
    return Files(rows, columns, described)


def check(files: Files) -> list[Finding]:
    """All rules that the files break; none: fit to publish."""
    return [
        *_check_metadata(files),
        *_check_columns(files),
        *_check_times(files),
        *_check_places(files),
        *_check_figures(files),
        *_check_repeats(files),
    ]


def _check_metadata(files: Files) -> Iterable[Finding]:
    allowed = rules()
    if not files.metadata:
        yield _finding("metadata", "", (), "it describes no column")
        return
    have = set(files.metadata[0])
    for name in [one for one in allowed.metadata if one not in have]:
        yield _finding("metadata", name, (), "the column is missing")
    for name in sorted(have - set(allowed.metadata) - set(allowed.metadata_optional)):
        yield _finding("metadata", name, (), "no such column is known")
    for line, row in enumerate(files.metadata, 2):
        name, kind = row.get("col_name", ""), row.get("col_type", "")
        if kind not in ("Filter", "Indicator"):
            yield _finding("metadata", name, (line,), "col_type must be Filter or Indicator")
        if not row.get("label"):
            yield _finding("metadata", name, (line,), "it has no label")
        if row.get("indicator_unit", "") not in allowed.units:
            yield _finding("metadata", name, (line,), "its indicator_unit is not one of those known")
        if name not in files.columns:
            yield _finding("metadata", name, (line,), "the data file has no such column")


def _check_columns(files: Files) -> Iterable[Finding]:
    allowed = rules()
    places = {name for names in allowed.levels.values() for name in names}
    described = {row.get("col_name", "") for row in files.metadata}
    for name in [one for one in allowed.required if one not in files.columns]:
        yield _finding("data", name, (), "the column is missing")
    for name in files.columns:
        if not re.fullmatch(allowed.column_name, name):
            yield _finding("data", name, (), "a column's name has small letters, digits and _ only")
        elif name not in described | places | {*_TIME, "country_code", "country_name"}:
            yield _finding("data", name, (), "the metadata does not describe it")
    for row in files.metadata:
        name = row.get("col_name", "")
        if row.get("col_type") == "Filter" and name in files.columns:
            values = {one[name] for one in files.data}
            if "" in values:
                yield _finding("data", name, (), "a filter has empty cells; what is not broken down is Total")
            elif len(values) > 1 and "Total" not in values:
                yield _finding("data", name, (), "a filter of several values has no Total")


def _check_times(files: Files) -> Iterable[Finding]:
    wrong, unknown = [], []
    identifiers = {row.get("time_identifier", "") for row in files.data}
    for line, row in enumerate(files.data, 2):
        form = _time_form(row.get("time_identifier", ""))
        if form is None:
            unknown.append(line)
        elif not _is_period(row.get("time_period", ""), form):
            wrong.append(line)
    if unknown:
        yield _finding("data", "time_identifier", unknown, "no such identifier is known")
    if wrong:
        yield _finding("data", "time_period", wrong, "write 202425 for two years, 2025 for one")
    if len({_time_form(one) for one in identifiers}) > 1:
        yield _finding("data", "time_identifier", (), "one file has periods of one kind")


def _time_form(identifier: str) -> str | None:
    allowed = rules()
    if identifier in allowed.times:
        return allowed.times[identifier]
    return "year" if re.fullmatch(allowed.time_pattern, identifier) else None


def _is_period(text: str, form: str) -> bool:
    if form == "year":
        return re.fullmatch(r"\d{4}", text) is not None
    return re.fullmatch(r"\d{6}", text) is not None and (int(text[2:4]) + 1) % 100 == int(text[4:])


def _check_places(files: Files) -> Iterable[Finding]:
    levels = rules().levels
    regions = standard.load().codesets["region"].by_code
    unknown, bare, strange = [], dict[str, list[int]](), []
    for line, row in enumerate(files.data, 2):
        level = row.get("geographic_level", "")
        if level not in levels:
            unknown.append(line)
            continue
        for name in levels[level]:
            if not row.get(name):
                bare.setdefault(name, []).append(line)
        code = row.get("region_code", "")
        if level == "Regional" and code not in regions and not code.startswith("E13") and code != "z":
            strange.append(line)
    if unknown:
        yield _finding("data", "geographic_level", unknown, "no such level is known")
    for name, lines in bare.items():
        yield _finding("data", name, lines, "rows of its level must have it")
    if strange:
        yield _finding("data", "region_code", strange, "it is no region of England")


def _check_figures(files: Files) -> Iterable[Finding]:
    allowed = rules()
    for row in files.metadata:
        name = row.get("col_name", "")
        if row.get("col_type") != "Indicator" or name not in files.columns:
            continue
        old, wrong = [], []
        for line, one in enumerate(files.data, 2):
            cell = one[name]
            if cell in allowed.legacy_symbols:
                old.append(line)
            elif cell not in allowed.symbols and not re.fullmatch(r"-?\d+(\.\d+)?", cell):
                wrong.append(line)
        if old:
            yield _finding(
                "data", name, old, f"an older symbol; those of today are {', '.join(allowed.symbols)}"
            )
        if wrong:
            yield _finding("data", name, wrong, "neither a number nor a symbol")


def _check_repeats(files: Files) -> Iterable[Finding]:
    indicators = {row.get("col_name", "") for row in files.metadata if row.get("col_type") == "Indicator"}
    keys = [name for name in files.columns if name not in indicators]
    seen: Counter[tuple[str, ...]] = Counter()
    again = []
    for line, row in enumerate(files.data, 2):
        key = tuple(row[name] for name in keys)
        seen[key] += 1
        if seen[key] > 1:
            again.append(line)
    if again:
        yield _finding("data", "", again, "the same place, time and filters stand there before")


def _finding(file: str, column: str, lines: Sequence[int], message: str) -> Finding:
    return Finding(file, column, tuple(lines[:SHOWN]), len(lines) or 1, message)


def _csv(columns: Sequence[str], rows: Iterable[Row]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _rows(path: Path) -> tuple[list[str], list[Row]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.DictReader(file, restval="", restkey="")
            rows = [dict(row) for row in lines]
            columns = list(lines.fieldnames or ())
    except (OSError, csv.Error, UnicodeDecodeError) as error:
        raise _unreadable(path) from error
    if not columns:
        raise _unreadable(path)
    return columns, rows


def _unreadable(path: Path) -> Problem:
    return Problem("CR-262", "it is no CSV file in UTF-8 with a first line of column names", where=path.name)
