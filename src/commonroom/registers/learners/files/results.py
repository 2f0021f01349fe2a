"""The result of a batch: as a file in the form that came in, and what was wrong with single records, in words."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence

import msgspec
from lxml import etree

from commonroom.registers.learners.files.items import Entry, FileForm, lrs_items
from commonroom.registers.learners.files.lrs import HEADER, RECORD

ROOT = "LearnerRegistrationBatch"
COUNTS = (
    "NewLearnersCount",
    "ExistsUpdatedLearnersCount",
    "PossibleMatchLearnersCount",
    "LearnersNotFoundCount",
    "RejectedLearnersCount",
)
ANSWER = ("ReturnCode", "MasterSubstituted", "Line", "Reason")
# A spreadsheet takes a value that begins so for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class Answer(msgspec.Struct, frozen=True):
    """What became of one record: the code, the number if there is one, and the reason in words if there is not."""

    code: str
    uln: str = ""
    reason: str = ""
    # Whether the number is that of the record which the learner's own was merged into.
    substituted: bool = False


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """What a result file says of the batch."""

    name: str
    ukprn: str
    counts: Mapping[str, int]


def result_name(name: str, form: FileForm) -> str:
    """'LRB_10037611_010920261200.CSV' -> 'LRB_10037611_010920261200_RESULT.CSV'."""
    stem = "".join(
        sign
        for sign in name.rpartition(".")[0] or name
        if sign.isascii() and (sign.isalnum() or sign in "_-")
    )
    return f"{stem[:80] or 'BATCH'}_RESULT.{'XML' if form == 'xml' else 'CSV'}"


def write_result(form: FileForm, head: Head, answered: Iterable[tuple[Entry, Answer]]) -> bytes:
    """The result file: XML for a batch that came as XML, CSV for all others."""
    rows = [(entry, answer) for entry, answer in answered]
    return _as_xml(head, rows) if form == "xml" else _as_csv(head, rows)


def _as_csv(head: Head, rows: Sequence[tuple[Entry, Answer]]) -> bytes:
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow([*HEADER, *COUNTS])
    writer.writerow([*_head(head, len(rows)), *(head.counts.get(name, 0) for name in COUNTS)])
    writer.writerow([*ANSWER, *lrs_items().names])
    for entry, answer in rows:
        writer.writerow([*_answer(entry, answer), *map(_safe, _values(entry, answer))])
    return out.getvalue().encode()


def _as_xml(head: Head, rows: Sequence[tuple[Entry, Answer]]) -> bytes:
    out = io.BytesIO()
    with etree.xmlfile(out, encoding="UTF-8") as file:
        file.write_declaration()
        with file.element(ROOT):
            for name, value in zip(HEADER, _head(head, len(rows)), strict=True):
                file.write(_element(name, value), pretty_print=True)
            for name in COUNTS:
                file.write(_element(name, str(head.counts.get(name, 0))), pretty_print=True)
            for entry, answer in rows:
                record = etree.Element(RECORD)
                names = [*ANSWER, *lrs_items().names]
                values = [*_answer(entry, answer), *_values(entry, answer)]
                record.extend(
                    _element(name, value) for name, value in zip(names, values, strict=True) if value
                )
                file.write(record, pretty_print=True)
    return out.getvalue()


def _head(head: Head, count: int) -> list[str]:
    return [lrs_items().version, head.name, head.ukprn, str(count)]


def _answer(entry: Entry, answer: Answer) -> list[str]:
    return [answer.code, "true" if answer.substituted else "", str(entry.line or ""), answer.reason]


def _values(entry: Entry, answer: Answer) -> list[str]:
    """The record as it was sent, with the number in its place."""
    given = entry.values | ({"ULN": answer.uln} if answer.uln else {})
    return [given.get(name, "") for name in lrs_items().names]


def _safe(value: str) -> str:
    # -1 is a code; whatever else begins so would run as a formula when the file is opened.
    return f"'{value}" if value.startswith(_FORMULA) and value != "-1" else value


def _element(name: str, text: str) -> etree._Element:
    made = etree.Element(name)
    made.text = "".join(sign for sign in text if sign.isprintable() or sign == "\n")
    return made
