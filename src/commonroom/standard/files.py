"""Checks a whole record set that lies in a file, as an integrator does before the first message is sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec

from commonroom.problems import Problem, add_codes
from commonroom.standard.check import Checked, Finding, check_records, check_withdrawn
from commonroom.standard.loader import load
from commonroom.standard.versions import Note, upgrade_records, versions

add_codes({"CR-093": "The record set file cannot be read"})

MAX_BYTES = 64 * 1024 * 1024

Part = Literal["records", "withdrawn"]


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The outer form of a record set. `rekeyed` is taken as it is: its keys are for the receiver to find."""

    standard: str
    records: dict[str, list[dict[str, Any]]] = {}
    withdrawn: dict[str, list[dict[str, Any]]] = {}
    rekeyed: dict[str, list[dict[str, Any]]] = {}


class FileFinding(msgspec.Struct, frozen=True):
    """A finding and the part of the file it is in."""

    part: Part
    found: Finding


class Report(msgspec.Struct, frozen=True):
    """What a file holds: its records, how many of them are good, and the findings."""

    total: int
    good: int
    findings: list[FileFinding]
    # What an older version says that the present one cannot hold.
    notes: list[Note] = []

    @property
    def errors(self) -> int:
        """Findings that are errors, not queries."""
        return sum(finding.found.severity == "error" for finding in self.findings)


def check_file(path: Path) -> Report:
    """Check every record of a record set file.

    A file of an older version is judged as what it becomes. Raises Problem CR-093 when it is no record set, is larger
    than `MAX_BYTES` or of a version that is not known, and CR-091 when it names an entity the standard has not.
    """
    content, notes = _read(path)
    checked: list[tuple[Part, Checked]] = [
        *(("records", check_records(entity, records)) for entity, records in content.records.items()),
        *(("withdrawn", check_withdrawn(entity, entries)) for entity, entries in content.withdrawn.items()),
    ]
    lists = [*content.records.values(), *content.withdrawn.values()]
    return Report(
        total=sum(map(len, lists)),
        good=sum(len(outcome.good) for _, outcome in checked),
        findings=[FileFinding(part, finding) for part, outcome in checked for finding in outcome.findings],
        notes=notes,
    )


def read_records(path: Path) -> dict[str, list[dict[str, Any]]]:
    """The records of a record set file by entity, brought up to the present version; not yet judged.

    Raises Problem CR-093 as `check_file` does.
    """
    return _read(path)[0].records


def _read(path: Path) -> tuple[_File, list[Note]]:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise _unreadable(path, f"the file is larger than {MAX_BYTES:,} bytes", "Split it.")
        content = msgspec.json.decode(path.read_bytes(), type=_File)
    except OSError as error:
        raise _unreadable(path, f"the file cannot be opened ({error.strerror})", "Check the path.") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        remedy = 'It is JSON in UTF-8: {"standard": ..., "records": {entity: [...]}, "withdrawn": {...}}.'
        raise _unreadable(path, f"{error}", remedy) from error
    if content.standard not in versions():
        remedy = f'Write "standard": "{load().version}", or use a program that has the other version.'
        older = ", ".join(versions()[:-1])
        detail = (
            f"the record set is not of version {load().version}, nor of an older one known here ({older})"
        )
        raise _unreadable(path, detail, remedy)
    present = upgrade_records(content.standard, content.records, content.withdrawn, {})
    return _File(content.standard, present.records, present.withdrawn, content.rekeyed), present.notes


def _unreadable(path: Path, detail: str, remedy: str) -> Problem:
    return Problem("CR-093", f"{detail}.", where=str(path), remedy=remedy)
