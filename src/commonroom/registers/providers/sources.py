"""A register file of any kind to facts: extracts of GIAS and lists as CSV, answers of UKRLP as JSON or XML."""

from __future__ import annotations

from pathlib import Path

from commonroom.registers.providers import parse, ukrlp
from commonroom.registers.providers.files import MAX_BYTES, open_file
from commonroom.registers.providers.parse import Parsed, Progress


def read_file(path: Path, *, limit: int = MAX_BYTES, progress: Progress | None = None) -> Parsed:
    """Read one file. Raises Problem CR-080, CR-081 or CR-082 when the file as a whole cannot be used."""
    opened = open_file(path, limit)
    return ukrlp.parse(opened, progress) if ukrlp.is_ours(opened) else parse.parse(opened, progress)
