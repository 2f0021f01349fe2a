"""The Common Transfer File: read as records of the standard, and written from them, whole or in part."""

from __future__ import annotations

import csv
import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Collection as Names
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from commonroom import standard
from commonroom.collections import loader
from commonroom.collections.engine import Engine
from commonroom.collections.findings import Report
from commonroom.collections.from_records import from_records
from commonroom.collections.record_forms import Given, School, given, school_year
from commonroom.collections.record_map import Part, record_map
from commonroom.collections.records import read_back
from commonroom.collections.session import Session
from commonroom.collections.to_records import to_records
from commonroom.collections.xml_out import write_records
from commonroom.problems import Problem, add_codes

add_codes(
    {
        "CR-186": "The school of the transfer file is not known",
        "CR-187": "The transfer file cannot be written",
    }
)

NAME = "ctf"
SUPPLIER = "Common Room"
_HEADER, _PUPIL, _HISTORY = "Header", "Pupil", "School"
_SOURCE = re.compile(r"[0-9]{3}([0-9]{4}|LLLL)|XXXXXXX")
_DESTINATION = re.compile(r"[0-9]{3}([0-9]{4}|LLLL)|XXXXXXX|MMMMMMM")
_OUTSIDE = "MMMMMMM"
_LAESTAB = re.compile(r"[0-9]{7}")
# A register's headings: ours, and those of the extract of establishments that the Department publishes.
_HEADINGS = (("urn", "laestab", "", "name"), ("URN", "LA (code)", "EstablishmentNumber", "EstablishmentName"))
_SESSIONS = ("sessions_possible", "sessions_attended", "sessions_authorised", "sessions_unauthorised")

Record = dict[str, Any]
Records = Mapping[str, Sequence[Record]]


@dataclass(frozen=True)
class TransferRead:
    """A file that was read: what its check found, its good records, and what could not be said with them."""

    report: Report
    records: dict[str, list[Record]]
    refused: list[standard.Finding]
    left_out: Counter[str]


@dataclass(frozen=True)
class TransferWritten:
    """A file that was written, or (without a path) was not because its check found errors."""

    report: Report
    path: Path | None
    left_out: Counter[str]


@dataclass(frozen=True)
class Outgoing:
    """What is to be written besides the records. `source` and `destination` are LLLEEEE."""

    source: str
    destination: str
    serial: str
    at: datetime
    # Part of the record that it holds, such as PHO; None for the whole.
    part: str | None = None
    # URN of the sending school; without it the one that the records are of.
    school: str | None = None
    # Only these pupils; empty for all.
    upns: Names[str] = ()
    schools: Sequence[School] = ()
    supplier: str = SUPPLIER


def engine() -> Engine:
    """The rules of the newest version of the form."""
    return _engine(loader.years(NAME)[-1])


@cache
def _engine(year: int) -> Engine:
    return Engine(loader.load(NAME, year))


def schools_of(path: Path) -> list[School]:
    """The schools of a register file (CSV). Raises Problem CR-186 where it is none."""
    try:
        try:
            text = path.read_text("utf-8-sig")
        except UnicodeDecodeError:
            text = path.read_text("cp1252")
        return list(_schools(csv.DictReader(text.splitlines())))
    except (OSError, UnicodeDecodeError, csv.Error, KeyError) as error:
        detail = f"the register cannot be read ({type(error).__name__})"
        remedy = (
            "It is CSV with the headings urn, laestab and name, or the published extract of establishments."
        )
        raise Problem("CR-186", detail, where=str(path), remedy=remedy) from error


def read(path: Path, schools: Sequence[School] = (), school: str | None = None) -> TransferRead:
    """The records of a transfer file. `school` is the URN of its sender, where the register does not know it.

    Raises Problem CR-190 to CR-193 where the file cannot be read, CR-186 where the sender's URN is not known.
    """
    rules = engine()
    with Session(rules) as session:
        session.load(path)
        report = session.check()
        content = read_back(session.tables)
    header = content[_HEADER][0] if content[_HEADER] else {}
    told = to_records(rules.collection, content, _given_by(header, schools, school, path), (_PUPIL,))
    checked = {entity: standard.check_records(entity, records) for entity, records in told.records.items()}
    return TransferRead(
        report,
        {entity: outcome.good for entity, outcome in checked.items() if outcome.good},
        [finding for outcome in checked.values() for finding in outcome.findings],
        told.left_out,
    )


def write(records: Records, wanted: Outgoing, folder: Path) -> TransferWritten:
    """Write a transfer file of these records into a folder, under its name; nothing is written where it has errors.

    Raises Problem CR-186 where sender or receiver are not written in their form or the school is not known, CR-187 where
    there is nobody to write or the file is there already.
    """
    rules = engine()
    part = _part(rules, wanted)
    name = _name(wanted)
    if (folder / name).exists():
        raise _exists(folder / name)
    school = wanted.school or _only_school(records)
    facts = _given_for(wanted, school)
    chosen = _chosen(records, wanted.upns, part)
    written = from_records(rules.collection, _year_to_date(chosen), facts)
    pupils = written.content[_PUPIL]
    if not pupils:
        remedy = "Give the learner records of those who leave."
        raise Problem("CR-187", "there is no pupil to write", status=422, remedy=remedy)
    for pupil in pupils:
        _mark_last_school(pupil, facts.by_urn.get(school))
    header = _header(rules, wanted, part, facts.by_urn.get(school))
    content = {_HEADER: [header], _PUPIL: pupils}
    return _checked(rules, content, folder / name, written.left_out)


def _given_by(header: Record, schools: Sequence[School], school: str | None, path: Path) -> Given:
    """What a file says of itself, for its records."""
    source = f"{header.get('SourceLEA', '')}{header.get('SourceEstab', '')}"
    destination = f"{header.get('DestLEA', '')}{header.get('DestEstab', '')}"
    known = given({}, schools).by_laestab
    urn = school or (known[source].urn if source in known else None)
    if urn is None:
        detail = f"the URN of the sender {source or '(blank)'} is not known"
        remedy = "Say it with --school, or give a register with --register."
        raise Problem("CR-186", detail, status=422, where=path.name, remedy=remedy)
    own = [] if source in known or not _LAESTAB.fullmatch(source) else [School(urn, source)]
    values = {
        "school": urn,
        "laestab": source,
        "valid_from": header.get("DateTime", "")[:10] or None,
        "destination": known[destination].urn if destination in known else None,
        "outside": destination == _OUTSIDE,
        "content": header.get("DocumentQualifier", "").upper() or None,
        "part": header.get("DataQualifier"),
    }
    return given(values, [*schools, *own])


def _given_for(wanted: Outgoing, school: str) -> Given:
    known = {one.urn: one for one in wanted.schools}
    own = [School(school, wanted.source)] if school not in known and _LAESTAB.fullmatch(wanted.source) else []
    laestab = known[school].laestab if school in known else wanted.source
    return given({"school": school, "laestab": laestab}, [*wanted.schools, *own])


def _part(rules: Engine, wanted: Outgoing) -> Part | None:
    if wanted.part is None:
        return None
    parts = record_map(rules.collection).parts
    if wanted.part not in parts:
        detail = f"there is no part {wanted.part}"
        raise Problem("CR-187", detail, status=422, remedy=f"Use one of: {', '.join(parts)}.")
    return parts[wanted.part]


def _name(wanted: Outgoing) -> str:
    for what, number, form in (
        ("sender", wanted.source, _SOURCE),
        ("receiver", wanted.destination, _DESTINATION),
    ):
        if not form.fullmatch(number):
            remedy = (
                "Write LLLEEEE: seven digits of a school, 820LLLL for an authority; a receiver may be XXXXXXX "
                "(not known) or MMMMMMM (outside the system)."
            )
            raise Problem(
                "CR-186", f"the {what} {number[:20]!r} has no known form", status=422, remedy=remedy
            )
    if not re.fullmatch(r"[0-9]{3}", wanted.serial) or wanted.serial == "000":
        detail = f"the serial number {wanted.serial[:20]!r} is not one of 001 to 999"
        raise Problem("CR-187", detail, status=422, remedy="Number the files of a day.")
    return f"{wanted.source}_{wanted.part or 'CTF'}_{wanted.destination}_{wanted.serial}.xml"


def _only_school(records: Records) -> str:
    found = {str(record.get("school")) for record in records.get("learner", ())}
    if len(found) != 1:
        detail = "there are no learner records" if not found else "the learner records are of several schools"
        raise Problem("CR-186", detail, status=422, remedy="Say with --school whose records they are.")
    return found.pop()


def _chosen(records: Records, upns: Names[str], part: Part | None) -> dict[str, list[Record]]:
    """The records of the pupils asked for, and of them what belongs to the part."""
    chosen = {
        entity: [record for record in found if not upns or record.get("upn") in upns]
        for entity, found in records.items()
    }
    if part is None:
        return chosen
    held = {
        entity: [
            _cut(entity, record, part) for record in chosen.get(entity, ()) if _fits(entity, record, part)
        ]
        for entity in part.entities
    }
    needed = [entity for entity in part.entities if entity != "learner"]
    with_data = {record.get("upn") for entity in needed for record in held[entity]}
    if needed:
        held["learner"] = [record for record in held["learner"] if record.get("upn") in with_data]
    return held


def _fits(entity: str, record: Record, part: Part) -> bool:
    needs = [name.partition(".")[2] for name in part.needs if name.startswith(f"{entity}.")]
    asked = part.where.get(entity, {})
    return all(record.get(name) is not None for name in needs) and all(
        record.get(name) in values for name, values in asked.items()
    )


def _cut(entity: str, record: Record, part: Part) -> Record:
    if entity not in part.items:
        return record
    key = standard.load().entities[entity].key
    kept = {*key, *part.items[entity], "valid_from", "version"}
    return {name: value for name, value in record.items() if name in kept}


def _year_to_date(records: dict[str, list[Record]]) -> dict[str, list[Record]]:
    """Sessions of one school year added up, where they are kept term by term: the file has one figure a year."""
    years: dict[tuple[Any, ...], Record] = {}
    for record in records.get("attendance_summary", ()):
        start = str(record.get("start_date"))
        key = (record.get("school"), record.get("upn"), school_year(start))
        held = years.get(key)
        if held is None:
            years[key] = dict(record)
            continue
        held["start_date"] = min(str(held["start_date"]), start)
        held["end_date"] = max(str(held["end_date"]), str(record.get("end_date")))
        for name in _SESSIONS:
            if name in record or name in held:
                held[name] = (held.get(name) or 0) + (record.get(name) or 0)
    return {**records, "attendance_summary": list(years.values())} if years else records


def _mark_last_school(pupil: Record, school: School | None) -> None:
    """For the receiver the sender is the last school, and no other."""
    rows: list[Record] = pupil.get(_HISTORY, [])
    own = [row for row in rows if school and f"{row.get('LEA')}{row.get('Estab')}" == school.laestab]
    if not own:
        return
    last = max(own, key=lambda row: str(row.get("EntryDate") or ""))
    for row in rows:
        if row is last:
            row["LastSchool"] = "true"
        elif row.get("LastSchool") or row in own:
            row["LastSchool"] = "false"


def _header(rules: Engine, wanted: Outgoing, part: Part | None, school: School | None) -> Record:
    said: dict[str, str | None] = {
        **rules.collection.header,
        "CTFversion": rules.collection.codesets["ctf_version"].codes[-1].code,
        "DateTime": wanted.at.replace(microsecond=0, tzinfo=None).isoformat(),
        "DocumentQualifier": "partial" if part else "full",
        "DataQualifier": wanted.part,
        "DataDescriptor": part.title if part else None,
        "SupplierID": wanted.supplier,
        "SourceLEA": wanted.source[:3],
        "SourceEstab": wanted.source[3:],
        "SourceName": school.name if school and school.laestab == wanted.source else None,
        "AcademicYear": str(school_year(wanted.at.date().isoformat())),
        "DestLEA": wanted.destination[:3],
        "DestEstab": wanted.destination[3:],
    }
    return {name: value for name, value in said.items() if value}


def _checked(
    rules: Engine, content: Mapping[str, list[Record]], path: Path, left_out: Counter[str]
) -> TransferWritten:
    """Write the file aside, check it as its receiver will, and only then let it appear under its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=".new-", dir=path.parent))
    try:
        new = aside / path.name
        new.touch(0o600)
        with new.open("wb") as file:
            write_records(rules.collection, content, file.write)
            file.flush()
            os.fsync(file.fileno())
        with Session(rules) as session:
            session.load(new)
            report = session.check()
        if report.errors:
            return TransferWritten(report, None, left_out)
        try:
            os.link(new, path)
        except FileExistsError:
            raise _exists(path) from None
        return TransferWritten(report, path, left_out)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _exists(path: Path) -> Problem:
    remedy = "Take the next serial number: a file that may have been sent is never written over."
    return Problem(
        "CR-187", "a file of this name is there already", status=409, where=str(path), remedy=remedy
    )


def _schools(rows: csv.DictReader[str]) -> list[School]:
    headings = next(
        names for names in _HEADINGS if names[0] in (rows.fieldnames or ()) or names is _HEADINGS[-1]
    )
    urn, authority, number, name = headings
    found = []
    for row in rows:
        laestab = f"{row[authority] or ''}{(row[number] or '') if number else ''}"
        if row[urn] and _LAESTAB.fullmatch(laestab):
            found.append(School(row[urn], laestab, row.get(name) or ""))
    return found
