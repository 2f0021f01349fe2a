"""Pupils of a school's own files, the common transfer file and the school census, as records of a batch.

Those files say nothing of how the pupil was verified or whether the record may be shared: the school knows its pupils, and
a notice has been given with the census, so both have a declared value here.
"""

from __future__ import annotations

import io
import re
import tempfile
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
from lxml import etree

from commonroom.collections import Engine, Session, loader
from commonroom.collections.records import read_back
from commonroom.problems import Problem
from commonroom.registers.learners import forms
from commonroom.registers.learners.files.items import BAD_FORMAT, BatchFile, Entry, Fault, FileForm
from commonroom.registers.learners.files.lrs import entry
from commonroom.registers.learners.files.opening import MAX_RECORDS, too_many

# "Relationship with the school": see docs/learners.md on the numbers of verification types.
BY_SCHOOL, NOTICE_GIVEN = "1", "1"
GENDERS = {"M": "1", "F": "2", "1": "1", "2": "2", "0": "0", "9": "9"}
_ITEMS = {
    "UniqueLearnerNumber": "ULN",
    "Forename": "GivenName",
    "PreferredForename": "PreferredGivenName",
    "MiddleNames": "MiddleOtherName",
    "Surname": "FamilyName",
    "FormerSurname": "PreviousFamilyName",
    "DOB": "DateOfBirth",
    "PostCode": "LastKnownPostCode",
    "AddressLine1": "LastKnownAddressLine1",
    "Town": "LastKnownAddressTown",
    "Email": "EmailAddress",
}
_TERMS = {"AUT": "autumn", "SPR": "spring", "SUM": "summer"}
_PUPIL = "Pupil"
_HEAD = 64 * 1024
_SENDER = re.compile(rb"<LEA>\s*([0-9]{3})\s*</LEA>\s*<Estab>\s*([0-9]{4})\s*</Estab>")
_TAG = re.compile(rb"<(Collection|Term|Year)>\s*([A-Za-z0-9]{1,8})\s*</")


def read_pupils(content: bytes, form: FileForm, name: str, today: date) -> BatchFile:
    """Read a transfer file or a school census. Raises Problem CR-241, and CR-190 to CR-193 of the collection's reader."""
    collection, year = _collection(content, form, name)
    with tempfile.TemporaryDirectory(prefix="learners-") as folder:
        path = Path(folder) / "file.xml"
        path.write_bytes(content)
        with Session(Engine(loader.load(collection, year))) as session:
            session.load(path)
            pupils = read_back(session.tables)[_PUPIL]
    if not pupils:
        raise Problem(
            "CR-241",
            "it has no pupils where this kind of file has them",
            where=name,
            remedy="Export it again with the pupils; a return of another kind has none.",
        )
    if len(pupils) > MAX_RECORDS:
        raise too_many(name)
    lines = _lines_of(content)
    entries = tuple(
        _entry(number, lines[number - 1] if number <= len(lines) else 0, pupil, today)
        for number, pupil in enumerate(pupils, start=1)
    )
    return BatchFile(name=name, form=form, ukprn=None, entries=entries, laestab=sender_of(content))


def sender_of(content: bytes) -> str | None:
    """LEA and number of the school that made a census or a transfer file; it stands first in both headers."""
    found = _SENDER.search(content[:_HEAD])
    return (found[1] + found[2]).decode() if found else None


def _entry(position: int, line: int, pupil: Mapping[str, Any], today: date) -> Entry:
    flat = _flat(pupil)
    values = {ours: flat[theirs] for theirs, ours in _ITEMS.items() if flat.get(theirs)}
    if flat.get("PAON") and "LastKnownAddressLine1" not in values:
        values["LastKnownAddressLine1"] = f"{flat['PAON']} {flat.get('Street', '')}".strip()
    values |= {
        "MISIdentifier": flat.get("UPN", ""),
        "Gender": GENDERS.get(flat.get("Sex", ""), "0"),
        "VerificationType": BY_SCHOOL,
        "AbilityToShare": NOTICE_GIVEN,
    }
    made = entry(position, line, _shortened(values), "", today)
    return _with_upn(made, flat.get("UPN", ""))


def _with_upn(made: Entry, upn: str) -> Entry:
    if made.learner is None or not upn:
        return made
    if reason := forms.wrong("upn", upn):
        return msgspec.structs.replace(made, learner=None, fault=Fault(BAD_FORMAT, "UPN", f"UPN {reason}."))
    details = msgspec.structs.replace(made.learner.details, upn=upn)
    return msgspec.structs.replace(made, learner=msgspec.structs.replace(made.learner, details=details))


def _shortened(values: Mapping[str, str]) -> dict[str, str]:
    """Of names and addresses that these files allow to be longer, as much as the register holds."""
    lengths = {"GivenName": 35, "FamilyName": 35, "PreferredGivenName": 35, "MiddleOtherName": 35}
    lengths |= {"PreviousFamilyName": 35, "LastKnownAddressLine1": 50, "LastKnownAddressTown": 50}
    return {
        name: value[: lengths[name]].strip() if name in lengths else value for name, value in values.items()
    }


def _flat(pupil: Mapping[str, Any]) -> dict[str, str]:
    """A pupil's own items and those of the one-row modules below it that say who it is."""
    found = {name: value for name, value in pupil.items() if isinstance(value, str)}
    for module in ("BasicDetails", "Address"):
        for row in pupil.get(module, [])[:1]:
            found |= {
                name: value for name, value in row.items() if isinstance(value, str) and name not in found
            }
    return found


def _collection(content: bytes, form: FileForm, name: str) -> tuple[str, int]:
    if form == "ctf":
        return "ctf", loader.years("ctf")[-1]
    said = {tag.decode(): value.decode() for tag, value in reversed(_TAG.findall(content[:_HEAD]))}
    term, kind = _TERMS.get(said.get("Term", "").upper()), said.get("Collection", "").upper()
    if kind not in ("SC", "SCHOOLCENSUS", "PLASC") or term is None:
        raise Problem(
            "CR-241",
            "it is a return, and not a school census of autumn, spring or summer",
            where=name,
            remedy="Give a school census, a common transfer file or an LRS batch file.",
        )
    collection = f"school-census-{term}"
    years = loader.years(collection)
    year = int(said["Year"]) if said.get("Year", "").isdigit() else years[-1]
    # Who a pupil is has been written alike for years: a census of another year is read with the nearest form.
    return collection, min(years, key=lambda known: abs(known - year))


def _lines_of(content: bytes) -> list[int]:
    """The lines on which pupils begin, in order of the file."""
    wanted = {"Pupil", "PupilOnRoll", "PupilNoLongerOnRoll"}
    found = []
    for _, element in etree.iterparse(
        io.BytesIO(content), events=("end",), resolve_entities=False, no_network=True, huge_tree=False
    ):
        if etree.QName(element).localname in wanted:
            found.append(element.sourceline or 0)
            element.clear(keep_tail=False)
    return found
