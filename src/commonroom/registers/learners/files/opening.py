"""Opening a batch file: its size, its name, its encoding, and which of the forms it is."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import Path

from lxml import etree

from commonroom.problems import Problem
from commonroom.registers.learners.files.items import FileForm

MAX_BYTES = 128 * 1024 * 1024
MAX_RECORDS = 200_000
NAME = re.compile(r"LRB_(?P<ukprn>[1-9][0-9]{7})_(?P<at>[0-9]{12})\.(?:CSV|XML)")
_CTF_ROOT = "CTfile"
_CENSUS_ROOT = "Message"
_LOOK = 64 * 1024


def content_of(path: Path) -> bytes:
    """The whole file. Raises Problem CR-240 and CR-242."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        reason = error.strerror or "it cannot be opened"
        raise Problem("CR-240", reason, where=path.name, remedy="Check the path.") from error
    if len(content) > MAX_BYTES:
        raise Problem(
            "CR-242", f"it has more than {MAX_BYTES:,} bytes", where=path.name, status=413, remedy="Split it."
        )
    return content


def form_of(content: bytes, name: str) -> FileForm:
    """Which form a file has: told from its beginning, for names lie. Raises Problem CR-240 and CR-241."""
    if not content.strip():
        raise Problem("CR-240", "the file is empty", where=name, remedy="Export it again.")
    if not content.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"<", b"\xff\xfe<", b"\xfe\xff\x00<")):
        return "csv"
    root = _root(content, name)
    if root == _CENSUS_ROOT:
        return "census"
    return "ctf" if root.casefold() == _CTF_ROOT.casefold() else "xml"


def remarks_on(name: str) -> tuple[str, ...]:
    """What is odd about a batch file's name; a file of another name is read all the same."""
    match = NAME.fullmatch(name)
    if match and _moment(match["at"]):
        return ()
    return ("The file is not called LRB_<UKPRN>_DDMMYYYYHHMM.CSV or .XML, with the extension in capitals.",)


def text_of(content: bytes, name: str) -> str:
    """The text of a CSV file: UTF-8, or else the Windows encoding. Raises Problem CR-240."""
    for encoding in ("utf-8-sig", "cp1252"):
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise Problem("CR-240", "it is neither UTF-8 nor cp1252", where=name, remedy="Save it as CSV UTF-8.")


def too_many(name: str) -> Problem:
    """The refusal of a file with more records than one batch may have."""
    return Problem(
        "CR-242", f"it has more than {MAX_RECORDS:,} records", where=name, status=413, remedy="Split it."
    )


def _moment(text: str) -> bool:
    try:
        datetime.strptime(text, "%d%m%Y%H%M")  # noqa: DTZ007 - only whether it is one
    except ValueError:
        return False
    return True


def _root(content: bytes, name: str) -> str:
    parser = etree.XMLPullParser(
        events=("start",), resolve_entities=False, no_network=True, huge_tree=False, load_dtd=False
    )
    try:
        parser.feed(content[:_LOOK])
        for _, element in parser.read_events():
            if element.getroottree().docinfo.doctype:
                raise Problem("CR-240", "it has a document type", where=name, remedy="Leave it out.")
            return str(etree.QName(element).localname)
    except etree.XMLSyntaxError as error:
        raise Problem("CR-240", "it is not XML", where=name, remedy="Export it again.") from error
    raise Problem("CR-241", "it has no element at its beginning", where=name, remedy="Export it again.")
