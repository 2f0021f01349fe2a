"""The LRS batch file, as CSV and as XML: read into records with their places. A bad record never stops the good ones."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from datetime import date

from lxml import etree

from commonroom.problems import Problem
from commonroom.registers.learners.files.checks import judge
from commonroom.registers.learners.files.items import (
    BAD_FORMAT,
    BatchFile,
    Entry,
    Fault,
    FileForm,
    Learner,
    lrs_items,
)
from commonroom.registers.learners.files.opening import MAX_RECORDS, remarks_on, text_of, too_many

# The heading of a file and of its records; the guide writes the former with spaces.
HEADER = ("FileVersion", "FileName", "UKPRN", "LearnerRecordCount")
_LONGEST_VALUE = 16 * 1024
_NEEDED = frozenset({"GivenName", "FamilyName", "DateOfBirth", "Gender"})
RECORD = "Learner"
# A row of the file: the line it begins on, its values, and what is wrong with the row itself.
Row = tuple[int, dict[str, str], str]


def read_csv(content: bytes, name: str, today: date) -> BatchFile:
    """Read the CSV form. Raises Problem CR-240 to CR-242 where the whole file cannot be used."""
    lines = _lines(text_of(content, name), name)
    _, headings = next(lines, (0, []))
    header: dict[str, str] = {}
    if [_plain(heading) for heading in headings[: len(HEADER)]] == list(HEADER):
        names = headings[len(HEADER) :]
        if any(names):
            # One table: the file's own four columns stand before those of its first record.
            return _one_table(lines, [heading.strip() for heading in names], name, today)
        _, values = next(lines, (0, []))
        header = dict(zip(HEADER, (value.strip() for value in values), strict=False))
        _, headings = next(lines, (0, []))
    names = [heading.strip() for heading in headings]
    _check_headings(names, name)
    rows = ((line, *_by_name(names, values)) for line, values in lines)
    return _batch("csv", name, header, rows, today)


def read_xml(content: bytes, name: str, today: date) -> BatchFile:
    """Read the XML form: every `Learner` element, whatever namespace it has. Raises Problem CR-240 to CR-242."""
    header: dict[str, str] = {}
    rows: list[Row] = []
    try:
        for _, element in etree.iterparse(
            io.BytesIO(content),
            events=("end",),
            resolve_entities=False,
            no_network=True,
            huge_tree=False,
            load_dtd=False,
            remove_comments=True,
            remove_pis=True,
        ):
            tag = etree.QName(element).localname
            if tag in HEADER and _above(element) != RECORD:
                header.setdefault(tag, (element.text or "").strip())
            elif tag == RECORD:
                rows.append((element.sourceline or 0, *_of_element(element)))
                element.clear(keep_tail=False)
            if len(rows) > MAX_RECORDS:
                raise too_many(name)
    except etree.XMLSyntaxError as error:
        where = f"{name}, line {error.lineno}" if error.lineno else name
        raise Problem(
            "CR-240", "it is not well-formed XML", where=where, remedy="Export it again."
        ) from error
    if not rows:
        raise Problem("CR-241", "it has no Learner element", where=name, remedy="See docs/learners.md.")
    return _batch("xml", name, header, iter(rows), today)


def entry(position: int, line: int, values: dict[str, str], fault: str, today: date) -> Entry:
    """A record with its judgement; `fault` is what is wrong with the row itself."""
    judged: Learner | Fault = Fault(BAD_FORMAT, "", fault) if fault else judge(values, today)
    if isinstance(judged, Fault):
        return Entry(position=position, line=line, values=values, fault=judged)
    return Entry(position=position, line=line, values=values, learner=judged)


def _one_table(lines: Iterator[tuple[int, list[str]]], names: list[str], name: str, today: date) -> BatchFile:
    _check_headings(names, name)
    header: dict[str, str] = {}
    rows: list[Row] = []
    for line, values in lines:
        own, rest = values[: len(HEADER)], values[len(HEADER) :]
        if not header and any(own):
            header = dict(zip(HEADER, (value.strip() for value in own), strict=False))
        if any(value.strip() for value in rest):
            rows.append((line, *_by_name(names, rest)))
    return _batch("csv", name, header, iter(rows), today)


def _batch(form: FileForm, name: str, header: dict[str, str], rows: Iterator[Row], today: date) -> BatchFile:
    entries: list[Entry] = []
    for line, values, fault in rows:
        if len(entries) >= MAX_RECORDS:
            raise too_many(name)
        entries.append(entry(len(entries) + 1, line, values, fault, today))
    _check_count(header.get("LearnerRecordCount", ""), len(entries), name)
    remarks = list(remarks_on(name))
    if header and header.get("FileVersion") != lrs_items().version:
        remarks.append(f"The file version is not {lrs_items().version}; it was read as if it were.")
    ukprn = header.get("UKPRN") or None
    return BatchFile(name=name, form=form, ukprn=ukprn, entries=tuple(entries), remarks=tuple(remarks))


def _check_count(said: str, found: int, name: str) -> None:
    if said and said != str(found):
        raise Problem(
            "CR-240",
            f"it says it has {said[:10]} records and has {found}",
            where=name,
            remedy="Correct LearnerRecordCount, or send the file that is whole.",
            extra={"answer": "WSRC0017"},
        )


def _lines(text: str, name: str) -> Iterator[tuple[int, list[str]]]:
    """Line and values of each row that is not empty; of a quoted row the line it begins on."""
    csv.field_size_limit(_LONGEST_VALUE)
    reader = csv.reader(io.StringIO(text, newline=""))
    begins = 1
    try:
        for values in reader:
            if any(value.strip() for value in values):
                yield begins, values
            begins = reader.line_num + 1
    except csv.Error as error:
        raise Problem(
            "CR-240",
            "it is not CSV, or a value is beyond all measure",
            where=f"{name}, line {begins}",
            remedy="Look for a quote that is never closed.",
        ) from error


def _check_headings(names: Sequence[str], name: str) -> None:
    unknown = [heading for heading in names if heading and heading not in lrs_items().names]
    lacking = sorted(_NEEDED - set(names))
    twice = sorted({heading for heading in names if heading and names.count(heading) > 1})
    if not (unknown or lacking or twice):
        return
    parts = [
        f"unknown headings {', '.join(heading[:40] for heading in unknown[:5])}" if unknown else "",
        f"no heading {', '.join(lacking)}" if lacking else "",
        f"headings that stand twice: {', '.join(twice)}" if twice else "",
    ]
    raise Problem(
        "CR-241",
        "; ".join(part for part in parts if part),
        where=name,
        remedy=f"Headings are told apart by capitals: {', '.join(lrs_items().names)}.",
    )


def _by_name(names: Sequence[str], values: Sequence[str]) -> tuple[dict[str, str], str]:
    made = {heading: value.strip() for heading, value in zip(names, values, strict=False) if heading}
    if len(values) < len(names) or any(value.strip() for value in values[len(names) :]):
        return made, f"The row has {len(values)} values; there are {len(names)} headings."
    return made, ""


def _of_element(element: etree._Element) -> tuple[dict[str, str], str]:
    values: dict[str, str] = {}
    fault = ""
    for child in element:
        tag = etree.QName(child).localname
        if tag not in lrs_items().names:
            fault = fault or f"{tag[:40]} is no item of a learner."
        elif tag in values:
            fault = fault or f"{tag} stands twice."
        else:
            values[tag] = (child.text or "").strip()
    return values, fault


def _above(element: etree._Element) -> str:
    parent = element.getparent()
    return "" if parent is None else etree.QName(parent).localname


def _plain(heading: str) -> str:
    """'File Version' and 'FileVersion' are the same."""
    return heading.replace(" ", "").strip()
