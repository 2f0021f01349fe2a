"""The agent's status file: what a supervisor or a monitor may know of it. No personal data."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import msgspec

from commonroom.agent import outbox, recall, reports
from commonroom.agent.memory import Memory

FILE_NAME = "status.json"


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """`changes` and `loaded` are counts since the memory was made; `error` is the last fault, empty once it is over."""

    name: str
    looked_at: str | None = None  # ISO real time, UTC, at which the last look began
    changes: int = 0  # facts told of
    outbox_waiting: int = 0
    outbox_held: int = 0  # of those waiting: the hub would not take them yet
    outbox_refused: int = 0
    findings: int = 0
    acknowledged: int = 0  # reports that a recipient has loaded a letter
    refused: int = 0  # reports that a letter was refused, expired or could not be delivered
    loaded: int = 0  # messages
    error: str = ""


def read(memory: Memory, name: str, looked_at: datetime | None, error: str) -> Status:
    """The status as the memory has it."""
    counts = outbox.counts(memory)
    return Status(
        name=name,
        looked_at=looked_at.astimezone(UTC).isoformat() if looked_at else None,
        changes=int(memory.note("changes") or 0),
        outbox_waiting=counts["waiting"],
        outbox_held=outbox.count_held(memory),
        outbox_refused=counts["refused"],
        findings=recall.count_findings(memory),
        acknowledged=int(memory.note(reports.ACKNOWLEDGED) or 0),
        refused=int(memory.note(reports.NOT_LOADED) or 0),
        loaded=int(memory.note("loaded") or 0),
        error=error,
    )


def write(folder: Path, status: Status) -> None:
    """Put the status in the folder; a reader sees the old one or the new one, never half."""
    fresh = folder / f"{FILE_NAME}.new"
    fresh.write_bytes(msgspec.json.encode(status))
    fresh.replace(folder / FILE_NAME)
