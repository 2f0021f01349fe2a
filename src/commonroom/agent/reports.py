"""Reports: what the hub says of letters it accepted from us, written beside them in the outbox."""

from __future__ import annotations

from collections.abc import Sequence

from commonroom.agent.memory import Memory, add_to_note
from commonroom.exchange import Letter, Report, read_report

ACKNOWLEDGED = "reports_acknowledged"
NOT_LOADED = "reports_refused"

# A report may come twice, after a kill between this note and its acknowledgement: it is counted once.
KEEP = """
INSERT INTO fate (letter, recipient, state, reason, at) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING
"""


def keep(memory: Memory, letters: Sequence[Letter]) -> None:
    """Write down the ends that these letters report; counted in the status as acknowledged or refused."""
    with memory.transaction() as connection:
        for report in (read_report(letter.body) for letter in letters):
            if connection.execute(KEEP, _row(report)).rowcount:
                add_to_note(connection, ACKNOWLEDGED if report.state == "acknowledged" else NOT_LOADED, 1)


def _row(report: Report) -> tuple[str | None, ...]:
    return report.id, report.recipient, report.state, report.reason, report.at.isoformat()
