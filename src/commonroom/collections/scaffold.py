"""Begins a collection: data files that are small, whole and right, for somebody to write on in."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path
from string import Template

from commonroom.problems import Problem, add_codes

add_codes({"CR-185": "The collection cannot be begun"})

_NAME = re.compile(r"[a-z][a-z0-9]*(?:[_-][a-z0-9]+)*")

_COLLECTION = Template("""\
# docs/collections.md says what each key means.
name: $name
year: $year
title: $title
# `proposed` until an official form exists.
status: proposed
description: What is returned, and what for.
returned_by: [school]
reference_date: $year-01-31
period: {start: $before-09-01, end: $year-08-31}
deadline: $year-02-28
header: {Collection: $code, Year: "$year"}
modules:
  - name: Header
    path: Message/Header
    many: false
    required: true
    description: Which return the file is, and of whom.
    items:
      - {name: Collection, path: CollectionDetails/Collection, required: true, description: Code of the collection.}
      - {name: Year, type: integer, path: CollectionDetails/Year, required: true, description: Year of the return.}
      - {name: Sender, path: Source/Sender, required: true, length: "20", description: Number of the sender.}
  - name: Record
    path: Message/Records/Record
    description: One record; call it what it is, such as Pupil.
    items:
      - {name: Reference, required: true, length: "20", description: The sender's own number of the record.}
      - {name: StartDate, type: date, required: true, description: When it began.}
      - {name: EndDate, type: date, description: When it ended.}
""")
_RULES = """\
# A rule says when a row fails. docs/collections.md has all shapes.
rules:
  - code: "1"
    severity: error
    title: The end is before the start
    for_each: Record
    fails_when: EndDate < StartDate
    point_at: [EndDate, StartDate]
    message: "It ended on {EndDate}, before it began on {StartDate}."
    examples:
      - {fails: true, Record: {StartDate: 2025-10-02, EndDate: 2025-10-01}}
      - {fails: false, Record: {StartDate: 2025-10-01, EndDate: 2025-10-01}}
      - {fails: false, Record: {}}
    mutate: {Record: {EndDate: 2001-01-01}}
"""
_VALID = Template("""\
# One whole return in which nothing is found: the rules' mutators start from it.
Header: {Collection: $code, Year: "$year", Sender: "1"}
Record:
  - {Reference: A1, StartDate: $before-09-05, EndDate: $before-12-12}
  - {Reference: A2, StartDate: $before-10-01}
""")


def begin(folder: Path, name: str, year: int | None = None) -> list[Path]:
    """Write the files of a new collection. Raises Problem CR-185 where the name does not do or the folder exists."""
    if not _NAME.fullmatch(name):
        remedy = "Use lower case letters and digits, with _ or - between words."
        raise Problem("CR-185", f"{name!r} is no name for a collection", remedy=remedy)
    chosen = year or datetime.now(UTC).year + 1
    made = folder / name / str(chosen)
    if made.exists():
        raise Problem(
            "CR-185", "the folder exists already", where=str(made), remedy="Choose another name or year."
        )
    made.mkdir(parents=True)
    words = re.split(r"[_-]", name)
    values = {
        "name": name,
        "year": str(chosen),
        "before": str(chosen - 1),
        "title": " ".join(words).capitalize(),
        "code": "".join(word[0] for word in words).upper() if len(words) > 1 else name.upper(),
    }
    files = {
        "collection.yaml": _COLLECTION.substitute(values),
        "rules.yaml": _RULES,
        "valid.yaml": _VALID.substitute(values),
    }
    for file, text in files.items():
        (made / file).write_text(text, "utf-8")
    return [made / file for file in files]
