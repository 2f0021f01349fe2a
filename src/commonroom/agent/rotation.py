"""Rotation: the agent's signing key changes for a new one, while the agent runs or not."""

from __future__ import annotations

from commonroom.agent.config import Config
from commonroom.agent.enrolment import remembered
from commonroom.agent.memory import Memory
from commonroom.exchange import Client, Unreachable
from commonroom.problems import Problem


async def rotated(config: Config, retire_old: bool) -> str:
    """The name of the new key. A running agent takes it up by itself. Raises Problem (CR-071 when the hub is away)."""
    memory = Memory.open(config.memory_file)
    try:
        enrolment = remembered(memory)
    finally:
        memory.close()
    if enrolment is None:
        remedy = "Run `commonroom agent enrol` first."
        raise Problem("CR-071", "the agent is not enrolled", where=str(config.file), remedy=remedy)
    try:
        async with Client(config.hub, config.key_file, enrolment.end_point) as client:
            return await client.rotate_key(retire_old=retire_old)
    except Unreachable as error:
        detail = f"the hub cannot be reached ({error.reason})"
        remedy = "Repeat the command: it goes on where it stopped."
        raise Problem("CR-071", detail, where=config.hub, remedy=remedy) from error
