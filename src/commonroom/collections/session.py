"""A return being checked: loaded from a file or from records, judged, edited record by record, judged again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb

from commonroom.collections.csv_in import read_csv
from commonroom.collections.engine import Engine
from commonroom.collections.file_names import FILE_NAME, name_findings
from commonroom.collections.findings import Raised, Rechecked, Report
from commonroom.collections.records import Record, load_records, read_back, replace_record
from commonroom.collections.tables import CURRENT, LAST_RETURN, Limits, Tables, table_name
from commonroom.collections.xml_faults import other_collection
from commonroom.collections.xml_in import read_xml
from commonroom.collections.xsd import SCHEMA, against_schema
from commonroom.problems import Problem


class Session:
    """One return, and the previous one beside it if it is given. Not for several threads."""

    def __init__(self, engine: Engine, limits: Limits | None = None) -> None:
        self._engine = engine
        self.tables = Tables(engine.collection, limits)
        self._found_at_load: list[Raised] = []
        self._found_by_schema: list[Raised] | None = None
        self._found_in_name: list[Raised] | None = None

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release the memory."""
        self.tables.close()

    def load(self, path: Path) -> None:
        """The return: an XML file, a flat CSV file, or a folder of CSV files. Raises Problem CR-190 to CR-194; then the
        session cannot be used further."""
        self._found_at_load = self._read(path, CURRENT)
        self._found_in_name = name_findings(self._engine.collection, self.tables, path)

    def hold_against_schema(self, path: Path) -> None:
        """The XML file that was loaded, against the XML Schema of the collection: what it finds joins the other findings."""
        if path.is_dir() or path.suffix.lower() == ".csv":
            raise Problem(
                "CR-190", "an XML Schema judges XML files only", where=path.name, remedy="Leave out --schema."
            )
        self._found_by_schema = list(against_schema(self._engine.collection, path))

    def load_last(self, path: Path) -> None:
        """The sender's previous return."""
        self._read(path, LAST_RETURN)
        self.tables.has_last_return = True

    def load_records(self, content: Mapping[str, Any]) -> None:
        """The return, as nested records. Raises Problem CR-183."""
        load_records(self.tables, content)

    def check(self) -> Report:
        """Every rule over the whole return. Raises Problem CR-192 where the memory given does not do."""
        beside = {SCHEMA: self._found_by_schema, FILE_NAME: self._found_in_name}
        asked = {rule: found for rule, found in beside.items() if found is not None}
        found_so_far = [*self._found_at_load, *(one for found in asked.values() for one in found)]
        try:
            report = self._engine.check(self.tables, found_so_far)
        except duckdb.OutOfMemoryException as error:
            raise self._too_large("the return") from error
        for rule, found in asked.items():
            report.outcomes[rule] = "failed" if found else "passed"
        return report

    def replace(self, module: str, row: int, record: Mapping[str, Any]) -> None:
        """Put an edited record in the place of one: `row` of a module at the top, with all below it.

        What the reading of the file found in the old record is forgotten. Raises Problem CR-183; then nothing is changed.
        """
        old = replace_record(self.tables, module, row, record)
        self._found_at_load = [
            one
            for one in self._found_at_load
            if not any(place.row in old.get(place.module, ()) for place in one.places)
        ]

    def record(self, module: str, row: int) -> Record:
        """A record as nested records, as `replace` takes it."""
        (found,) = read_back(self.tables, first=row, last=row)[module]
        return found

    def recheck(self, code: str, module: str, row: int) -> Rechecked:
        """One rule after an edit: its findings in that record, or in the whole return where it looks beyond one."""
        return self._engine.recheck(code, self.tables, module, row)

    def _read(self, path: Path, schema: str) -> list[Raised]:
        found = self._read_any(path, schema)
        collection = self._engine.collection
        if "Collection" in collection.header:
            name = table_name(schema, "Header")
            for (says,) in self.tables.query(f'SELECT "Collection" FROM {name} WHERE _row = 1'):
                if says is not None and says != collection.header["Collection"]:
                    raise other_collection(collection, says, path.name)
        return found

    def _read_any(self, path: Path, schema: str) -> list[Raised]:
        try:
            if path.is_dir() or path.suffix.lower() == ".csv":
                return read_csv(path, self.tables, schema)
            return read_xml(path, self.tables, schema)
        except duckdb.OutOfMemoryException as error:
            raise self._too_large(path.name) from error

    def _too_large(self, name: str) -> Problem:
        limit = self.tables.limits.memory_mb
        return Problem("CR-192", f"the return does not fit into {limit:,} MB", where=name)
