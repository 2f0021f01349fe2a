"""What a learner of a batch file is made of: the declared items, and the values that reading gives."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

import msgspec

from commonroom import declarations
from commonroom.problems import add_codes
from commonroom.registers.learners.matching.people import Details

add_codes(
    {
        "CR-240": "The batch file cannot be read",
        "CR-241": "The batch file is not one we know",
        "CR-242": "The batch file is too large",
    }
)

INSUFFICIENT, BAD_FORMAT, AGE = "RC006", "RC011", "RC013"
# Stands in a learner's record until a number is known; the register never takes it for one.
TEMPORARY_ULN = "9999999999"

FileForm = Literal["csv", "xml", "ctf", "census"]


class Item(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One item of a learner: its heading, longest text, form, and the item of `Details` it fills."""

    name: str
    length: int
    form: Literal["text", "name", "date", "birth", "postcode", "email", "uln", "code"] = "text"
    codes: tuple[str, ...] = ()
    required: bool = False
    fills: str | None = None


class Items(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The items of a version of the batch file, in the order of its headings."""

    version: str
    items: tuple[Item, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The headings, in order."""
        return tuple(item.name for item in self.items)


class Learner(msgspec.Struct, frozen=True, kw_only=True):
    """A record that can be used: what the matcher compares, and what else the register keeps."""

    details: Details
    verification_type: str
    ability_to_share: str
    uln: str | None = None
    notes: str | None = None
    # Items of the file that the matcher does not compare, by heading.
    others: dict[str, str] = {}


class Fault(msgspec.Struct, frozen=True):
    """Why a record cannot be used: LRS return code, item, and the reason in words without the value."""

    code: str
    item: str
    reason: str


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One record of a file: where it stands, what was written there, and the learner or the fault."""

    # From 1, among the records of the file.
    position: int
    # The line it begins on; for XML the element's.
    line: int
    values: dict[str, str]
    learner: Learner | None = None
    fault: Fault | None = None

    @property
    def mis_identifier(self) -> str:
        """The sender's own number for the learner."""
        return self.values.get("MISIdentifier", "")


class BatchFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that was read. `remarks` say what was odd and stopped nothing."""

    name: str
    form: FileForm
    ukprn: str | None
    entries: tuple[Entry, ...]
    remarks: tuple[str, ...] = ()
    # LEA and number of the school whose file it is; LRS files have none.
    laestab: str | None = None

    @property
    def good(self) -> tuple[Entry, ...]:
        """The records that can be used."""
        return tuple(entry for entry in self.entries if entry.learner is not None)

    @property
    def bad(self) -> tuple[Entry, ...]:
        """The records that cannot."""
        return tuple(entry for entry in self.entries if entry.fault is not None)


@cache
def lrs_items() -> Items:
    """The items of the batch file."""
    return declarations.load(Path(__file__).parent / "items.yaml", Items)
