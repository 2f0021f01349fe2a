"""The name of a file, held against its form and against the header in the file: the built-in rule `file-name`."""

from __future__ import annotations

import re
from pathlib import Path

from commonroom.collections.findings import Place, Raised, shortened
from commonroom.collections.model import Collection
from commonroom.collections.tables import CURRENT, Tables, raw_name, table_name

FILE_NAME = "file-name"
_HEADER = "Header"


def name_findings(collection: Collection, tables: Tables, path: Path) -> list[Raised] | None:
    """What is wrong with the name of a file that has been read; None where the collection asks for no name."""
    declared = collection.file_name
    if declared is None or path.is_dir() or path.suffix.lower() == ".csv":
        return None
    fit = re.fullmatch(declared.pattern, path.name)
    if fit is None:
        message = f"The file is called {shortened(path.name)}; its name must have the form {declared.form}."
        return [_finding(None, message)]
    header = _header(collection, tables)
    return [
        _finding(
            item, f"The name of the file says {item} {said}, the header says {header[item] or '(blank)'}."
        )
        for item, said in fit.groupdict().items()
        if item in header and header[item] != said
    ]


def _header(collection: Collection, tables: Tables) -> dict[str, str | None]:
    """What the file's header says, item by item, as written; nothing where it has none."""
    items = list(collection.modules[_HEADER].by_name)
    columns = ", ".join(raw_name(item) for item in items)
    rows = tables.query(f"SELECT {columns} FROM {table_name(CURRENT, _HEADER)} WHERE _row = 1")
    return dict(zip(items, rows[0], strict=True)) if rows else {}


def _finding(item: str | None, message: str) -> Raised:
    return Raised(FILE_NAME, "error", message, (Place(_HEADER, item, None, None, path=f"{_HEADER}[1]"),))
