"""The standard in forms for other programs and for readers: JSON Schema, CSV tables, HTML pages.

Each form is a mapping of file names to texts, which `write` puts into a folder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from commonroom.problems import Problem, add_codes
from commonroom.standard.exports import csv_tables, html_pages, json_schema
from commonroom.standard.model import Standard

add_codes({"CR-096": "The export of the standard cannot be written"})

FORMATS: Mapping[str, Callable[[Standard], Mapping[str, str]]] = {
    "json-schema": json_schema.files,
    "csv": csv_tables.files,
    "html": html_pages.files,
}


def write(standard: Standard, form: str, folder: Path) -> list[str]:
    """Write a version of the standard in one of the FORMATS; the names of the files. Raises Problem CR-096."""
    if form not in FORMATS:
        remedy = f"Use one of: {', '.join(FORMATS)}."
        raise Problem("CR-096", f"there is no format {form!r}.", where=str(folder), remedy=remedy)
    files = FORMATS[form](standard)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text, "utf-8")
    except OSError as error:
        remedy = "Name a folder that can be written."
        raise Problem("CR-096", f"{error.strerror}.", where=str(folder), remedy=remedy) from error
    return list(files)
