"""What a hub accepted and where it went, read from its own tables; movements for an agent's letters."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import asyncpg
import msgspec

from commonroom.exchange import RecordSet, decode
from commonroom.hub.bodies import open_body
from commonroom.hub.master_keys import MasterKeys
from commonroom.identity import issue_enrolment_code
from commonroom.settings import Settings

MOVEMENTS = """
movements:
  - id: school-record
    title: The school's record
    from: {kind: school}
    to: [its local authority, the department's warehouse]
    types: [commonroom.learner.changed, commonroom.enrolment.changed, commonroom.attendance-mark.changed]
    purpose: To test
    legal_basis: Invented for tests
    content: Learners, enrolments, marks
    frequency: {how: on_change}
    classification: confidential
    retention_days: "30"
    active_from: 2020-01-01
  - id: transfers
    title: Pupils who change school
    from: {kind: school}
    to: [the addressed school]
    types: [commonroom.transfer.sent]
    purpose: To test
    legal_basis: Invented for tests
    content: One pupil
    frequency: {how: on_change}
    classification: confidential
    retention_days: "30"
    active_from: 2020-01-01
"""

ACCEPTED = """
SELECT message.id AS message_id, message.type, message.envelope, body.body, body.master, body.wrapped
FROM hub.message AS message JOIN hub.body AS body ON body.message = message.position
ORDER BY message.position
"""


class Accepted(msgspec.Struct, frozen=True):
    """One message that the hub has."""

    type: str
    envelope: dict[str, Any]
    records: RecordSet


async def code_for(connection: Any, party: str) -> str:
    """A one-time enrolment code for an end point of this party."""
    return await issue_enrolment_code(connection, party, "test", timedelta(hours=1))


async def accepted(pool: asyncpg.Pool, settings: Settings) -> list[Accepted]:
    """Every message the hub accepted, in its order."""
    master_keys = MasterKeys(settings)
    return [
        Accepted(
            row["type"],
            row["envelope"],
            decode(open_body(master_keys, row) or b"", row["envelope"]["datacontenttype"]),
        )
        for row in await pool.fetch(ACCEPTED)
    ]
