"""A guard against false withdrawals: a table that is suddenly empty is more often a fault than the truth.

A restored backup, a broken view or a purged year would withdraw a school's whole history from every receiver. Such a look
withdraws nothing until somebody confirms it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

import msgspec

from commonroom.agent.changes import Changes
from commonroom.agent.findings import Finding
from commonroom.agent.memory import Memory
from commonroom.agent.recall import RowFinding

LEAST_KEYS = 50
HELD_BACK = "withdrawals held back"  # the note that names the entities
ACCEPTED = (
    "withdrawals accepted"  # the note with a JSON object: entity, how many keys may vanish in the next look
)


class Loss(msgspec.Struct, frozen=True):
    """How many of the keys that the source showed before have vanished."""

    keys: int = 0
    before: int = 0

    def is_sudden(self, rows: int) -> bool:
        """True when so much vanished that somebody must confirm it. `rows`: how many the query shows now."""
        return self.keys > 0 and (rows == 0 or (self.keys >= LEAST_KEYS and self.keys * 2 > self.before))


def loss(changes: Changes, shown_before: Mapping[bytes, str], shown: Collection[bytes]) -> Loss:
    """What the withdrawals of a look mean: keys of which nothing is left. Rows are digests."""
    if not changes.withdrawn:
        return Loss()
    left = {key for row, key in shown_before.items() if row in shown}
    left |= {sent.fresh.key for sent in changes.sent} | {one.key for one in changes.reread}
    lost = {gone.key for gone in changes.withdrawn} - left
    return Loss(len(lost), len(set(shown_before.values())))


def lost_much(entity: str, mapping: str, lost: Loss, config: Path) -> RowFinding:
    """The finding that says what vanished and how to confirm it."""
    finding = Finding(
        mapping=mapping,
        entity=entity,
        rule="withdrawals-held",
        message=f"{lost.keys} of {lost.before} records vanished at once; none of them was withdrawn.",
        remedy="Mend the school system or the mapping; if they are really gone, confirm it with: "
        f"commonroom agent look {config} --accept-withdrawals",
    )
    return RowFinding(finding)


def accept_losses(memory: Memory, held_back: Mapping[str, int]) -> None:
    """Let the next look withdraw as many keys of each entity, and no more."""
    memory.write_note(ACCEPTED, msgspec.json.encode(held_back).decode())


def accepted_losses(memory: Memory) -> dict[str, int]:
    """How many keys of each entity the next look may withdraw."""
    return msgspec.json.decode(memory.note(ACCEPTED) or "{}", type=dict[str, int])
