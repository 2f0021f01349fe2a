"""Reads a return from CSV: a folder with one file for each module, or one flat file with a row for each record.

Without a map (map.yaml) the files are called as the modules are, with the headings of the items; `id` names a row and
`parent` its parent's row.
"""

from __future__ import annotations

import contextlib
import csv
import re
from collections.abc import Iterator
from datetime import datetime
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from commonroom.collections.file_model import CsvMap, CsvModule
from commonroom.collections.findings import Place, Raised
from commonroom.collections.model import Module
from commonroom.collections.records import Reader, Rows, arrange
from commonroom.collections.tables import CURRENT, Tables
from commonroom.problems import Problem, add_codes

add_codes({"CR-194": "The CSV files do not fit the collection"})

# Characters of one value.
_LONGEST = 1024 * 1024
_WHOLE = re.compile(r"\.0+\s*$")
_COLUMN = re.compile(r"(?:(\w+)(?:\[(\d+)\])?\.)?(\w+)")
# `Module`, number of its row in the record, item.
Cell = tuple[str, int, str]


def read_csv(path: Path, tables: Tables, schema: str = CURRENT) -> list[Raised]:
    """Read a folder of files, or one flat file, into the tables; what it found on the way. Raises CR-190, 192, 194."""
    csv.field_size_limit(_LONGEST)
    reader = _Folder(tables, schema) if path.is_dir() else _Flat(tables, schema)
    reader.read(path)
    return reader.found


class _CsvReader:
    def __init__(self, tables: Tables, schema: str) -> None:
        self._collection = tables.collection
        self._tables = tables
        self._map = tables.collection.files.csv or CsvMap()
        self._dates = (self._map.dates,) if isinstance(self._map.dates, str) else self._map.dates
        self._rows = Rows(tables, schema)
        self.found: list[Raised] = []

    def _lines(self, path: Path) -> Iterator[tuple[int, dict[str, str]]]:
        """Line and values by heading. The first line is the headings."""
        try:
            if path.stat().st_size > self._tables.limits.file_bytes:
                raise Problem(
                    "CR-192",
                    f"the file has more than {self._tables.limits.file_bytes:,} bytes",
                    where=path.name,
                )
            with path.open(encoding="utf-8-sig", newline="") as file:
                lines = csv.reader(file, strict=True)
                headings = [heading.strip() for heading in next(lines, [])]
                self._check_headings(path, headings)
                for values in lines:
                    if not values:
                        continue
                    if len(values) != len(headings):
                        detail = f"the line has {len(values)} values; there are {len(headings)} headings"
                        raise self._fault(path, lines.line_num, detail)
                    yield lines.line_num, dict(zip(headings, values, strict=True))
        except UnicodeDecodeError as error:
            remedy = "Save the file as CSV UTF-8."
            raise Problem("CR-190", "the file is not UTF-8", where=path.name, remedy=remedy) from error
        except csv.Error as error:
            raise Problem(
                "CR-190", "the file is not CSV, or has a value beyond all measure", where=path.name
            ) from error
        except OSError as error:
            raise Problem(
                "CR-190", f"the file cannot be opened ({error.strerror})", where=path.name
            ) from error

    def _check_headings(self, path: Path, headings: list[str]) -> None:
        if not any(headings):
            raise Problem(
                "CR-190", "the file is empty", where=path.name, remedy="The first line is the headings."
            )
        twice = next((heading for heading in headings if headings.count(heading) > 1), None)
        if twice is not None:
            raise self._fault(path, 1, f"the heading {twice!r} stands twice")

    def _unknown(self, heading: str, module: str) -> None:
        inside = f" in {module}" if module else ""
        place = Place(module, heading, None, None)
        self.found.append(
            Raised("unknown-element", "error", f"There is no item {heading}{inside}.", (place,))
        )

    def _constants(self) -> dict[str, dict[str, str]]:
        """Module -> item -> value, for what no file carries."""
        found: dict[str, dict[str, str]] = {}
        for name, value in self._map.constants.items():
            module, _, item = name.partition(".")
            found.setdefault(module, {})[item] = value
        return found

    def _text(self, module: Module, item: str, value: str) -> str:
        """The value as the tables want it, where the map declares how programs write dates and numbers."""
        kind = module.by_name[item].type
        if kind == "date":
            for form in self._dates:
                with contextlib.suppress(ValueError):
                    return datetime.strptime(value.strip(), form).date().isoformat()  # noqa: DTZ007 - a day
        if kind == "integer" and self._map.decimal_integers:
            return _WHOLE.sub("", value)
        return value

    def _ignored(self, name: str) -> bool:
        return any(fnmatch(name.lower(), pattern.lower()) for pattern in self._map.ignore)

    def _fault(self, path: Path, line: int, detail: str) -> Problem:
        return Problem(
            "CR-194",
            f"{detail}.",
            where=f"{path.name}, line {line}",
            remedy="docs/collections.md has the form.",
        )


class _Folder(_CsvReader):
    """One file for each module, or several."""

    def __init__(self, tables: Tables, schema: str) -> None:
        super().__init__(tables, schema)
        # Module -> heading of the key -> name of a row -> its key and its record's.
        self._keys: dict[str, dict[str, dict[str, tuple[int, int]]]] = {}
        # Module -> parent's key -> rows so far.
        self._counts: dict[str, dict[int, int]] = {}

    def read(self, path: Path) -> None:
        files = {file.stem.lower(): file for file in sorted(path.glob("*.csv"))}
        constants = self._constants()
        for module in self._in_depth(None):
            given = constants.get(module.name, {})
            for declared in self._map.files_of(module.name):
                file = _take(files, declared.file)
                if file is not None:
                    self._module(file, module, declared, given)
            if given and module.parent is None and module.name not in self._keys:
                self._rows.add(module.name, Reader(self._collection).split(module, given)[0], None, None, 1)
        unknown = [file for stem, file in files.items() if not self._ignored(stem)]
        if unknown:
            raise self._fault(unknown[0], 1, "no module of the collection has this file")
        self._rows.flush()

    def _in_depth(self, parent: str | None) -> Iterator[Module]:
        for module in self._collection.children(parent):
            yield module
            yield from self._in_depth(module.name)

    def _module(self, path: Path, module: Module, declared: CsvModule, given: dict[str, str]) -> None:
        """The rows of one file."""
        keys = self._keys.setdefault(module.name, {}).setdefault(declared.key.lower(), {})
        counts = self._counts.setdefault(module.name, {})
        parents = self._parents(module, declared)
        columns: dict[str, str | None] = {}
        for line, values in self._lines(path):
            columns = columns or self._columns(module, declared, values)
            named = {heading.lower(): value.strip() for heading, value in values.items()}
            parent, person = 0, None
            if module.parent is not None:
                name = named.get(declared.parent_key.lower(), "")
                if name not in parents:
                    raise self._fault(path, line, f"{declared.parent_key} names no row of {module.parent}")
                parent, person = parents[name]
            row: dict[str, Any] = {**given, **declared.set}
            for heading, value in values.items():
                item = columns[heading]
                if item is not None:
                    row[item] = self._text(module, item, value)
            counts[parent] = ordinal = counts.get(parent, 0) + 1
            texts, _ = Reader(self._collection).split(module, row)
            made = self._rows.add(module.name, texts, parent, person, ordinal)
            own = named.get(declared.key.lower(), str(line))
            if own in keys:
                raise self._fault(path, line, f"{declared.key} names two rows")
            keys[own] = (made, made if person is None else person)

    def _parents(self, module: Module, declared: CsvModule) -> dict[str, tuple[int, int]]:
        """The rows above, by their names: those of the file whose key is meant, or of the only one there is."""
        above = self._keys.get(module.parent or "", {})
        if declared.parent_key.lower() in above:
            return above[declared.parent_key.lower()]
        return next(iter(above.values())) if len(above) == 1 else {}

    def _columns(self, module: Module, declared: CsvModule, values: dict[str, str]) -> dict[str, str | None]:
        """Heading -> item; None for a key, or for what the collection has not, which is a finding."""
        renamed = {heading.lower(): item for heading, item in declared.columns.items()}
        items = {name.lower(): name for name in module.by_name}
        found: dict[str, str | None] = {}
        for heading in values:
            lower = heading.lower()
            found[heading] = items.get(renamed.get(lower, lower).lower())
            known = lower in (declared.key.lower(), declared.parent_key.lower()) or self._ignored(heading)
            if found[heading] is None and not known:
                self._unknown(heading, module.name)
        return found


class _Flat(_CsvReader):
    """One file, a row for each record; `Module[2].Item` is the second row of a module in the record."""

    def read(self, path: Path) -> None:
        cells: dict[str, Cell | None] | None = None
        reader = Reader(self._collection, path.name)
        record = self._collection.modules[self._collection.record]
        singles: dict[str, dict[str, Any]] = {}
        for number, (_, values) in enumerate(self._lines(path), start=1):
            if cells is None:
                cells = {heading: self._cell(heading) for heading in values}
            content = self._content({heading: cells[heading] for heading in values}, values)
            mine = {name: rows for name, rows in content.items() if self._collection.top(name) == record.name}
            for name, rows in content.items():
                if name not in mine:
                    singles.setdefault(name, rows[0])
            empty: dict[str, list[dict[str, Any]]] = {record.name: [{}]}
            whole = arrange(self._collection, mine or empty, path.name)
            reader.read_row(record, whole[record.name][0], None, None, number, self._rows)
        for name, given in self._constants().items():
            singles[name] = {**given, **singles.get(name, {})}
        reader.read(singles, self._rows)
        self._rows.flush()

    def _cell(self, heading: str) -> Cell | None:
        """What a heading means; None for one that means nothing here, which is a finding."""
        flat = self._map.flat.columns if self._map.flat else {}
        match = _COLUMN.fullmatch(flat.get(heading, heading))
        if match:
            module, number, item = match.group(1), int(match.group(2) or 1), match.group(3)
            named = [one for one in self._collection.modules.values() if item in one.by_name]
            fitting = [one for one in named if module in (None, one.name)]
            if len(fitting) == 1:
                return fitting[0].name, number, item
        if not self._ignored(heading):
            self._unknown(heading, "")
        return None

    def _content(
        self, cells: dict[str, Cell | None], values: dict[str, str]
    ) -> dict[str, list[dict[str, Any]]]:
        """The modules of one line, side by side; rows in which nothing stands are not there."""
        found: dict[str, dict[int, dict[str, Any]]] = {}
        for heading, cell in cells.items():
            if cell is None or not values[heading].strip():
                continue
            module, number, item = cell
            text = self._text(self._collection.modules[module], item, values[heading])
            found.setdefault(module, {})[number] = {**found.get(module, {}).get(number, {}), item: text}
        return {module: [rows[number] for number in sorted(rows)] for module, rows in found.items()}


def _take(files: dict[str, Path], name: str) -> Path | None:
    """The file of that name, taken off the list; exports put their own words before it, as in `2026_pupils`."""
    wanted = name.lower().removesuffix(".csv")
    stem = next((stem for stem in files if stem == wanted or stem.endswith(f"_{wanted}")), None)
    return files.pop(stem) if stem is not None else None
