"""Opening a register file: gzip or plain, its encoding, its rows with line numbers. Knows nothing of columns.

A file is refused as a whole (Problem) only when nothing in it can be trusted; a broken row is given back with its
reason, and reading goes on at the next line.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import hashlib
import io
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from commonroom.problems import Problem, add_codes

add_codes(
    {
        "CR-080": "The register file cannot be read",
        "CR-081": "The file is not a register extract we know",
        "CR-082": "The register file lacks a column",
    }
)

MAX_BYTES = 256 * 1024 * 1024  # uncompressed; the full GIAS extract has about 65 MB
MAX_LINE = 1024 * 1024  # characters
MAX_LINES_OF_A_ROW = 20  # a quoted address may run over lines; a quote never closed may not eat the file
CHUNK = 1024 * 1024

_GZIP = b"\x1f\x8b"
_ZIP = b"PK\x03\x04"
_MARKS_OF_OTHERS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
# Two bytes that UTF-8 writes for a letter with an accent; in cp1252 they would be a capital A with tilde and a sign.
_UTF8_LETTER = re.compile(rb"[\xc3][\x80-\xbf]|\xe2\x80[\x93-\x9d]")


class Opened(msgspec.Struct, frozen=True):
    """A file in memory, uncompressed. `mixed_at` is the line of the byte that made a UTF-8 file unreadable as such."""

    name: str
    digest: bytes  # SHA-256 of the bytes as they stand on the disk
    encoding: str  # utf-8-sig or cp1252
    content: bytes
    mixed_at: int | None


class RawRow(msgspec.Struct, frozen=True):
    """One record of the CSV. `fault` says why it has no fields."""

    line: int
    fields: tuple[str, ...]
    fault: str = ""


def open_file(path: Path, limit: int = MAX_BYTES) -> Opened:
    """Read the whole file. Raises Problem CR-080: missing, empty, broken gzip, over the limit, no known encoding."""
    where = str(path)
    try:
        with path.open("rb") as file:
            packed = file.read(limit + 1)
    except OSError as error:
        reason = error.strerror or "it cannot be opened"
        raise _problem(
            where, f"the file cannot be read: {reason}", "Check the path and its permissions."
        ) from error
    content = _unpack(where, packed, limit) if packed.startswith(_GZIP) else packed
    if len(content) > limit:
        raise _problem(where, f"the file has more than {limit:,} bytes", "Split it, or raise the limit.")
    _refuse_other_formats(where, content)
    encoding, mixed_at = _encoding(where, content)
    return Opened(path.name, hashlib.sha256(packed).digest(), encoding, content, mixed_at)


def rows(opened: Opened) -> Iterator[RawRow]:
    """Every record of the file, the header first; `line` is the first line of the record, from 1."""
    lines = _Lines(opened)
    for number, line in lines:
        if '"' not in line:
            # The common case; a csv reader made for each line costs ten times as much.
            yield RawRow(number, tuple(line.rstrip("\n").split(",")))
        else:
            yield _quoted_row(number, line, lines)


def _unpack(where: str, packed: bytes, limit: int) -> bytes:
    """The bytes inside a gzip, no more than the limit however small the file is."""
    parts: list[bytes] = []
    size = 0
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(packed)) as stream:
            while part := stream.read(CHUNK):
                parts.append(part)
                size += len(part)
                if size > limit:
                    raise _problem(
                        where, f"it unpacks to more than {limit:,} bytes", "Split it, or raise the limit."
                    )
    except EOFError as error:
        raise _problem(where, "the gzip file ends too early", "Fetch or copy the file again.") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise _problem(
            where, f"the gzip file is damaged ({error})", "Fetch or copy the file again."
        ) from error
    return b"".join(parts)


def _refuse_other_formats(where: str, content: bytes) -> None:
    """Empty files, archives, workbooks and UTF-16 are named for what they are."""
    if not content.strip(b" \t\r\n,\xef\xbb\xbf"):
        raise _problem(where, "the file is empty", "Send an extract with a header line and rows.")
    if content.startswith(_ZIP):
        raise _problem(
            where, "this is a zip archive or a workbook", "Unpack it, or save the sheet as CSV UTF-8."
        )
    for mark, name in _MARKS_OF_OTHERS:
        if content.startswith(mark):
            raise _problem(where, f"the file is written in {name}", "Save it as CSV UTF-8 (comma delimited).")
    if b"\x00" in content.split(b"\n", 1)[0]:
        raise _problem(
            where, "the first line has NUL bytes: this is not a text file", "Save it as CSV UTF-8."
        )


def _encoding(where: str, content: bytes) -> tuple[str, int | None]:
    """Strict UTF-8 (with or without a mark), else strict cp1252; never a replacement character."""
    broken = _first_broken(content, "utf-8-sig")
    if broken is None:
        return "utf-8-sig", None
    undefined = _first_broken(content, "cp1252")
    if undefined is not None:
        line = content.count(b"\n", 0, undefined) + 1
        raise _problem(
            f"{where}, line {line}",
            f"byte {content[undefined]:#04x} is neither UTF-8 nor cp1252",
            "Save the file as CSV UTF-8.",
        )
    mixed = _UTF8_LETTER.search(content) is not None
    return "cp1252", content.count(b"\n", 0, broken) + 1 if mixed else None


def _first_broken(content: bytes, encoding: str) -> int | None:
    """Where the bytes stop being of this encoding, None when they all are."""
    decoder = codecs.getincrementaldecoder(encoding)("strict")
    for start in range(0, len(content) or 1, CHUNK):
        held = len(decoder.getstate()[0])
        try:
            decoder.decode(content[start : start + CHUNK], final=start + CHUNK >= len(content))
        except UnicodeDecodeError as error:
            return start - held + error.start
    return None


class _Lines:
    """Lines with their numbers, of which the last few can be put back."""

    def __init__(self, opened: Opened) -> None:
        # newline=None: old Mac, Unix and Windows line ends all become one.
        self._stream = io.TextIOWrapper(io.BytesIO(opened.content), encoding=opened.encoding, newline=None)
        self._name = opened.name
        self._number = 0
        self._back: list[tuple[int, str]] = []

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> tuple[int, str]:
        if self._back:
            return self._back.pop()
        while line := self._stream.readline(MAX_LINE + 1):
            self._number += 1
            if len(line) > MAX_LINE:
                where = f"{self._name}, line {self._number}"
                raise _problem(
                    where, f"the line is longer than {MAX_LINE:,} characters", "Is this a CSV file?"
                )
            if line != "\n":
                return self._number, line
        raise StopIteration

    def put_back(self, lines: list[tuple[int, str]]) -> None:
        self._back.extend(reversed(lines))


def _quoted_row(number: int, line: str, lines: _Lines) -> RawRow:
    """A record with quotes in it: takes further lines while a quote is open, gives them back when none closes it."""
    taken = [(number, line)]
    while True:
        try:
            (fields,) = csv.reader([part for _, part in taken], strict=True)
            return RawRow(number, tuple(fields))
        except csv.Error as error:
            if "unexpected end of data" not in str(error):
                break
        following = next(lines, None) if len(taken) < MAX_LINES_OF_A_ROW else None
        if following is None:
            lines.put_back(taken[1:])
            return RawRow(number, (), "a quote opened on this line is never closed")
        taken.append(following)
    lines.put_back(taken[1:])
    return _lenient_row(number, line)


def _lenient_row(number: int, line: str) -> RawRow:
    """A line with a quote in the middle of a quoted field: read as spreadsheets do; its width tells if that was right."""
    try:
        (fields,) = csv.reader([line])
    except csv.Error as error:
        return RawRow(number, (), f"the line is not CSV ({error})")
    return RawRow(number, tuple(fields))


def _problem(where: str, detail: str, remedy: str) -> Problem:
    return Problem("CR-080", f"{detail}.", where=where, remedy=remedy)
