"""Enrolment: how the agent becomes known to its hub, once, with a one-time code and its own key."""

from __future__ import annotations

import httpx2

from commonroom.agent.config import Config
from commonroom.agent.memory import Memory, set_note
from commonroom.exchange import Enrolment, enrol
from commonroom.problems import Problem

END_POINT = "end point"
PARTY = "party"


def remembered(memory: Memory) -> Enrolment | None:
    """The enrolment the memory holds."""
    end_point, party = memory.note(END_POINT), memory.note(PARTY)
    return Enrolment(end_point, party) if end_point and party else None


async def remembered_or_new(
    config: Config, memory: Memory, http: httpx2.AsyncClient | None = None
) -> Enrolment:
    """The remembered enrolment, or a new one by the configuration's code.

    A kill between the hub's answer and our note of it is harmless: the same code with the same key gives the same answer.
    Raises Unreachable, or Problem (CR-071 when there is no code; the hub's own when it does not take the code).
    """
    if (found := remembered(memory)) is not None:
        return found
    if not config.enrolment_code:
        raise Problem(
            "CR-071",
            "the agent is not enrolled and has no enrolment code",
            where=str(config.file),
            remedy="Ask the hub's operator for a code and write it as `enrolment_code:`.",
        )
    enrolment = await enrol(config.hub, config.enrolment_code, config.key_file, config.name, http=http)
    with memory.transaction() as connection:
        set_note(connection, END_POINT, enrolment.end_point)
        set_note(connection, PARTY, enrolment.party)
    return enrolment
