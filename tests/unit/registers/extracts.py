"""Small register files for tests: the columns of a cut GIAS extract, with one good row to change."""

from __future__ import annotations

import csv
import io
from pathlib import Path

COLUMNS = (
    "URN", "LA (code)", "LA (name)", "EstablishmentNumber", "EstablishmentName", "TypeOfEstablishment (name)",
    "EstablishmentStatus (name)", "OpenDate", "CloseDate", "PhaseOfEducation (name)", "StatutoryLowAge",
    "StatutoryHighAge", "NumberOfPupils", "PercentageFSM", "UKPRN", "LastChangedDate", "Town", "Postcode", "GOR (name)",
)  # fmt: skip

GOOD = {
    "URN": "990001",
    "LA (code)": "997",
    "LA (name)": "Westmarch",
    "EstablishmentNumber": "2001",
    "EstablishmentName": "Fernside Infant School",
    "TypeOfEstablishment (name)": "Community school",
    "EstablishmentStatus (name)": "Open",
    "OpenDate": "01-09-1998",
    "CloseDate": "",
    "PhaseOfEducation (name)": "Primary",
    "StatutoryLowAge": "4",
    "StatutoryHighAge": "7",
    "NumberOfPupils": "170",
    "PercentageFSM": "19.8",
    "UKPRN": "10080446",
    "LastChangedDate": "01-03-2026",
    "Town": "Saltmere",
    "Postcode": "WM1 2BD",
    "GOR (name)": "South West",
}


def row(urn: int | str = "990001", **changes: str) -> dict[str, str]:
    """The good row with another URN and some columns changed; columns with blanks in their names come in by `**{}`."""
    return {**GOOD, "URN": str(urn), "EstablishmentNumber": f"{int(urn) % 10000:04d}", **changes}


def text(rows: list[dict[str, str]], columns: tuple[str, ...] = COLUMNS) -> str:
    """CSV text of these rows."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(columns)
    writer.writerows([record.get(column, "") for column in columns] for record in rows)
    return out.getvalue()


def write(
    path: Path, rows: list[dict[str, str]], columns: tuple[str, ...] = COLUMNS, encoding: str = "utf-8"
) -> Path:
    """A file of these rows."""
    path.write_bytes(text(rows, columns).encode(encoding))
    return path
