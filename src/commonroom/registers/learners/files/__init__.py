"""Files of learners: the LRS batch file, the transfer file and the school census read as one thing; the result file."""

from __future__ import annotations

from datetime import date
from pathlib import Path

from commonroom.registers.learners.files import lrs, opening, pupils
from commonroom.registers.learners.files.checks import judge
from commonroom.registers.learners.files.items import (
    AGE,
    BAD_FORMAT,
    INSUFFICIENT,
    TEMPORARY_ULN,
    BatchFile,
    Entry,
    Fault,
    FileForm,
    Learner,
)
from commonroom.registers.learners.files.results import Answer, Head, result_name, write_result

__all__ = [
    "AGE",
    "BAD_FORMAT",
    "INSUFFICIENT",
    "TEMPORARY_ULN",
    "Answer",
    "BatchFile",
    "Entry",
    "Fault",
    "FileForm",
    "Head",
    "Learner",
    "judge",
    "read",
    "read_content",
    "result_name",
    "write_result",
]


def read(path: Path, today: date) -> BatchFile:
    """Read a file of learners of any form we know. `today` is the day on which ages count.

    Raises Problem CR-240 to CR-242, and for transfer files and censuses CR-190 to CR-193, where the whole file is unusable.
    """
    return read_content(opening.content_of(path), path.name, today)


def read_content(content: bytes, name: str, today: date) -> BatchFile:
    """As `read`, of a file that has been opened."""
    form = opening.form_of(content, name)
    if form == "csv":
        return lrs.read_csv(content, name, today)
    if form == "xml":
        return lrs.read_xml(content, name, today)
    return pupils.read_pupils(content, form, name, today)
